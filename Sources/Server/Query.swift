import JSON

/// The parameters of a query string, decoded.
///
/// Source: WHATWG URL, 5.1 "application/x-www-form-urlencoded parsing".
struct Query {
    let items: [(name: String, value: String)]

    /// - Throws: ``Problem`` 400 when an escape is no UTF-8, 422 when a parameter comes twice: which one was meant?
    init(_ text: String) throws(Problem) {
        var items: [(name: String, value: String)] = []
        // By bytes: to look for characters costs several times as much, and both separators are ASCII.
        var rest = text.utf8[...]
        var names: Set<String> = []
        while !rest.isEmpty {
            let pair = rest.prefix { $0 != UInt8(ascii: "&") }
            rest = rest[pair.endIndex...].dropFirst()
            if pair.isEmpty { continue }
            let name = pair.prefix { $0 != UInt8(ascii: "=") }
            let value = pair[name.endIndex...].dropFirst()
            let key = try decode(Substring(name), plusIsSpace: true)
            guard names.insert(key).inserted else { throw .invalid("/\(escapedPointer(key))", "is there twice") }
            items.append((key, try decode(Substring(value), plusIsSpace: true)))
        }
        self.items = items
    }

    subscript(name: String) -> String? { items.first { $0.name == name }?.value }

    /// - Throws: ``Problem`` 422 naming the first parameter that is none of these.
    func allow(only names: [String], orBeginningWith prefix: String? = nil) throws(Problem) {
        for item in items where !names.contains(item.name) {
            if let prefix, item.name.hasPrefix(prefix), item.name != prefix { continue }
            let near = nearest(to: item.name, among: names).map { "; did you mean \"\($0)\"?" } ?? ""
            throw .invalid("/\(escapedPointer(item.name))", "unknown parameter" + near)
        }
    }

    /// - Throws: ``Problem`` 422 when it is no whole number within bounds.
    func integer(_ name: String, in bounds: ClosedRange<Int>) throws(Problem) -> Int? {
        guard let text = self[name] else { return nil }
        guard let value = Int(text), bounds.contains(value) else {
            throw .invalid("/\(name)", "must be a whole number from \(bounds.lowerBound) to \(bounds.upperBound)")
        }
        return value
    }
}

/// Resolves percent-escapes.
func decode(_ text: some StringProtocol, plusIsSpace: Bool = false) throws(Problem) -> String {
    guard text.utf8.contains(where: { $0 == UInt8(ascii: "%") || $0 == UInt8(ascii: "+") }) else { return String(text) }
    let bytes = Array(text.utf8)
    var decoded: [UInt8] = []
    var index = 0
    while index < bytes.count {
        if bytes[index] == UInt8(ascii: "%"), index + 2 < bytes.count,
            let value = UInt8(String(decoding: bytes[index + 1...index + 2], as: UTF8.self), radix: 16)
        {
            decoded.append(value)
            index += 3
        } else {
            decoded.append(plusIsSpace && bytes[index] == UInt8(ascii: "+") ? 0x20 : bytes[index])
            index += 1
        }
    }
    guard decoded.withUnsafeBufferPointer({ isValidUTF8($0) }), !decoded.contains(0) else {
        throw Problem(400, "malformed-request", "an escape in the address is no UTF-8 text")
    }
    return String(decoding: decoded, as: UTF8.self)
}
