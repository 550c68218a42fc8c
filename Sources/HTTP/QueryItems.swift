/// The names and values of a query, decoded: what stands between `&`, around `=`.
///
/// Source: WHATWG URL, 5.1 "application/x-www-form-urlencoded parsing", but that what is no text is refused.
package struct QueryItems: Sendable {
    package enum Failure: Error, Equatable {
        /// An escape is no UTF-8, or a zero.
        case noText
        /// Two items have this name.
        case twice(String)
    }

    package private(set) var items: [(name: String, value: String)] = []

    /// - Parameter text: What follows the `?`, as it came.
    package init(_ text: String) throws(Failure) {
        // By bytes: to look for characters costs several times as much, and both separators are ASCII.
        var rest = text.utf8[...]
        var names: Set<String> = []
        while !rest.isEmpty {
            let pair = rest.prefix { $0 != UInt8(ascii: "&") }
            rest = rest[pair.endIndex...].dropFirst()
            if pair.isEmpty { continue }
            let name = pair.prefix { $0 != UInt8(ascii: "=") }
            let value = pair[name.endIndex...].dropFirst()
            guard let name = unescaped(name, plusIsSpace: true), let value = unescaped(value, plusIsSpace: true) else {
                throw .noText
            }
            guard names.insert(name).inserted else { throw .twice(name) }
            items.append((name, value))
        }
    }
}

/// Resolves percent-escapes; a `%` without two hexadecimal digits stands for itself.
///
/// - Returns: nil when the result is no UTF-8, or holds a zero.
package func unescaped(_ text: some Collection<UInt8>, plusIsSpace: Bool = false) -> String? {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.count)
    var index = text.startIndex
    while index < text.endIndex {
        var byte = text[index]
        index = text.index(after: index)
        if byte == UInt8(ascii: "%"), let (value, next) = escape(in: text, at: index) {
            byte = value
            index = next
        } else if plusIsSpace, byte == UInt8(ascii: "+") {
            byte = UInt8(ascii: " ")
        }
        guard byte != 0 else { return nil }
        bytes.append(byte)
    }
    return String(validating: bytes, as: UTF8.self)
}

private func escape<Text: Collection<UInt8>>(in text: Text, at index: Text.Index) -> (value: UInt8, next: Text.Index)? {
    guard index < text.endIndex, let high = Grammar.hexDigit(text[index]) else { return nil }
    let second = text.index(after: index)
    guard second < text.endIndex, let low = Grammar.hexDigit(text[second]) else { return nil }
    return (high << 4 | low, text.index(after: second))
}
