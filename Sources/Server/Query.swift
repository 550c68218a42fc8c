import HTTP
import JSON

/// The parameters of a query string, as the API wants them.
struct Query {
    let items: [(name: String, value: String)]

    /// - Throws: ``Problem`` 400 when an escape is no UTF-8, 422 when a parameter comes twice: which one was meant?
    init(_ text: String) throws(Problem) {
        do throws(QueryItems.Failure) {
            items = try QueryItems(text).items
        } catch {
            switch error {
            case .noText: throw .noText
            case .twice(let name): throw .invalid("/\(escapedPointer(name))", "is there twice")
            }
        }
    }

    subscript(name: String) -> String? { items.first { $0.name == name }?.value }

    /// The label that `label.NAME` is about; nil for any other parameter. By bytes: a name may begin with what joins the dot.
    static func label(in name: String) -> String? {
        guard name.utf8.starts(with: "label.".utf8) else { return nil }
        return String(decoding: name.utf8.dropFirst(6), as: UTF8.self)
    }

    /// - Throws: ``Problem`` 422 naming the first parameter that is none of these, and no label where those are taken.
    func allow(only names: [String], labels: Bool) throws(Problem) {
        for item in items where !names.contains(where: { $0.isExactly(item.name) }) {
            if labels, Self.label(in: item.name) != nil { continue }
            let near = nearest(to: item.name, among: names).map { "; did you mean \"\($0)\"?" } ?? ""
            throw .invalid("/\(escapedPointer(item.name))", "unknown parameter" + near)
        }
    }

    /// - Throws: ``Problem`` 422 when it is no whole number within bounds.
    func integer(_ parameter: QueryParameter) throws(Problem) -> Int? {
        let name = parameter.name
        guard let bounds = parameter.bounds, let text = self[name] else { return nil }
        guard let value = Int(text), bounds.contains(value) else {
            throw .invalid("/\(name)", "must be a whole number from \(bounds.lowerBound) to \(bounds.upperBound)")
        }
        return value
    }
}

/// Resolves the escapes of a part of a path.
func decode(_ text: String) throws(Problem) -> String {
    var text = text
    guard let decoded = text.withUTF8({ unescaped($0) }) else { throw .noText }
    return decoded
}

extension Problem {
    fileprivate static let noText = Problem(400, "malformed-request", "an escape in the address is no UTF-8 text")
}
