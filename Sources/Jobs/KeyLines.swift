/// Who holds a key, and who stands in line for it, first come, first served. Keys are told apart by their bytes, as a store
/// does: what Unicode holds for equivalent are two.
struct KeyLines {
    private struct Key: Hashable {
        let text: String

        init(_ text: String) { self.text = text }

        static func == (left: Key, right: Key) -> Bool {
            left.text == right.text && left.text.utf8.elementsEqual(right.text.utf8)
        }

        func hash(into hasher: inout Hasher) {
            var text = text
            text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
        }
    }

    private struct Line {
        /// The first one holds the key.
        var jobs = FIFO<JobID>()
        /// Of the others, those that have ended where they stood.
        var gone = 0
    }

    private var lines: [Key: Line] = [:]

    /// Gone jobs that a line may hold beyond those that wait.
    private static let tolerated = 64
    /// Lines from which on the table's memory is given back after a peak.
    private static let manyLines = 4096

    /// - Returns: Whether the job holds the key.
    @discardableResult
    mutating func join(_ key: String, _ id: JobID) -> Bool {
        let key = Key(key)
        lines[key, default: Line()].jobs.append(id)
        return lines[key]?.jobs.first == id
    }

    /// One that waited has ended.
    mutating func leave(_ key: String, isWaiting: (JobID) -> Bool) {
        let key = Key(key)
        guard let count = lines[key]?.jobs.count else { return }
        lines[key]!.gone += 1
        guard lines[key]!.gone > Self.tolerated, lines[key]!.gone * 2 > count else { return }
        lines[key]!.jobs.keep(where: isWaiting)
        lines[key]!.gone = 0
    }

    /// The holder has ended.
    ///
    /// - Returns: Who holds the key now.
    mutating func passOn(_ key: String, from holder: JobID, isWaiting: (JobID) -> Bool) -> JobID? {
        let key = Key(key)
        guard lines[key]?.jobs.first == holder else { return nil }
        _ = lines[key]!.jobs.popFirst()
        while let next = lines[key]!.jobs.first {
            if isWaiting(next) { return next }
            _ = lines[key]!.jobs.popFirst()
            lines[key]!.gone = max(lines[key]!.gone - 1, 0)
        }
        lines[key] = nil
        if lines.capacity > Self.manyLines, lines.count * 16 < lines.capacity {
            lines = Dictionary(lines.map { ($0.key, $0.value) }, uniquingKeysWith: { first, _ in first })
        }
        return nil
    }

    // MARK: For the invariants

    var keys: [String] { lines.keys.map(\.text) }
    func holder(of key: String) -> JobID? { lines[Key(key)]?.jobs.first }
    func contains(_ id: JobID, inLineFor key: String) -> Bool { lines[Key(key)]?.jobs.contains(id) ?? false }
    /// Places in lines, of those that are gone too.
    var places: Int { lines.values.reduce(0) { $0 + $1.jobs.count } }
}
