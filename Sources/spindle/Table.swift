/// Rows under headings, in columns that line up; numbers to the right.
struct Table {
    private let headings: [String]
    private var rows: [[String]] = []

    init(_ headings: String...) { self.headings = headings }

    mutating func add(_ cells: String...) { rows.append(cells.map(visible)) }

    var text: String {
        let all = [headings] + rows
        let widths = headings.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
        let isNumber = headings.indices.map { column in
            // Characters: what a person sees.
            !rows.isEmpty && rows.allSatisfy { $0[column] == "-" || Double($0[column].prefix { $0 != " " }) != nil }
        }
        return all.map { row in
            let cells = row.indices.map { column in
                let gap = String(repeating: " ", count: widths[column] - row[column].count)
                return isNumber[column] ? gap + row[column] : row[column] + gap
            }
            var line = cells.joined(separator: "  ")
            while line.last == " " { line.removeLast() }
            return line
        }.joined(separator: "\n")
    }
}
