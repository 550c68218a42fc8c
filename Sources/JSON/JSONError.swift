/// Where a text stops being JSON, and why.
package struct JSONError: Error, Equatable, CustomStringConvertible {
    /// Bytes before the offending one.
    package let offset: Int
    /// From 1; counted by line feeds.
    package let line: Int
    /// From 1, in bytes.
    package let column: Int
    package let reason: String

    package init(_ reason: String, at offset: Int, in bytes: UnsafeBufferPointer<UInt8>) {
        self.offset = offset
        self.reason = reason
        var line = 1
        var lineStart = 0
        for index in 0..<min(offset, bytes.count) where bytes[index] == UInt8(ascii: "\n") {
            line += 1
            lineStart = index + 1
        }
        self.line = line
        column = offset - lineStart + 1
    }

    package var description: String { "\(reason) at line \(line), column \(column)" }
}
