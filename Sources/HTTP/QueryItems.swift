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
        items = try text.utf8.span.withUnsafeBufferPointer { (bytes) throws(Failure) in try Self.items(in: bytes) }
    }

    /// By bytes: to look for characters costs several times as much, and both separators are ASCII.
    private static func items(
        in bytes: UnsafeBufferPointer<UInt8>
    ) throws(Failure) -> [(name: String, value: String)] {
        var items: [(name: String, value: String)] = []
        var names: Set<[UInt8]> = []
        var start = 0
        while start < bytes.count {
            let end = bytes[start...].firstIndex(of: UInt8(ascii: "&")) ?? bytes.count
            let pair = start..<end
            start = end + 1
            if pair.isEmpty { continue }
            let middle = bytes[pair].firstIndex(of: UInt8(ascii: "=")) ?? end
            let value = min(middle + 1, end)..<end
            guard
                let name = unescaped(UnsafeBufferPointer(rebasing: bytes[pair.lowerBound..<middle]), plusIsSpace: true),
                let value = unescaped(UnsafeBufferPointer(rebasing: bytes[value]), plusIsSpace: true)
            else { throw .noText }
            // Few names are looked through faster than they are hashed.
            if items.count == few { names = Set(items.map { Array($0.name.utf8) }) }
            let isNew =
                items.count < few
                ? !items.contains { $0.name.utf8.elementsEqual(name.utf8) } : names.insert(Array(name.utf8)).inserted
            guard isNew else { throw .twice(name) }
            items.append((name, value))
        }
        return items
    }

    private static let few = 8
}

/// Resolves percent-escapes; a `%` without two hexadecimal digits stands for itself.
///
/// - Returns: nil when the result is no UTF-8, or holds a zero.
package func unescaped(_ text: UnsafeBufferPointer<UInt8>, plusIsSpace: Bool = false) -> String? {
    let isPlain = text.allSatisfy { $0 != UInt8(ascii: "%") && $0 != UInt8(ascii: "+") && $0 != 0 && $0 < 0x80 }
    if isPlain { return String(decoding: text, as: UTF8.self) }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.count)
    var index = 0
    while index < text.count {
        var byte = text[index]
        index += 1
        if byte == UInt8(ascii: "%"), let value = escape(in: text, at: index) {
            byte = value
            index += 2
        } else if plusIsSpace, byte == UInt8(ascii: "+") {
            byte = UInt8(ascii: " ")
        }
        guard byte != 0 else { return nil }
        bytes.append(byte)
    }
    return String(validating: bytes, as: UTF8.self)
}

private func escape(in text: UnsafeBufferPointer<UInt8>, at index: Int) -> UInt8? {
    guard index + 1 < text.count, let high = Grammar.hexDigit(text[index]), let low = Grammar.hexDigit(text[index + 1])
    else { return nil }
    return high << 4 | low
}
