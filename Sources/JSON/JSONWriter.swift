import Glibc

/// JSON written by hand into a buffer: the hot path's envelope costs what its bytes cost.
extension [UInt8] {
    /// Text that is already JSON, or punctuation.
    @inline(__always)
    package mutating func append(_ text: StaticString) {
        append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    /// The UTF-8 bytes of `text` as they are.
    package mutating func append(utf8 text: String) {
        var text = text
        text.withUTF8 { append(contentsOf: $0) }
    }

    /// A quoted string. Control characters, quotes and backslashes are escaped; invalid UTF-8 can't occur in a `String`.
    package mutating func append(jsonString text: String) {
        var text = text
        append(UInt8(ascii: "\""))
        text.withUTF8 { appendEscaped($0) }
        append(UInt8(ascii: "\""))
    }

    private mutating func appendEscaped(_ bytes: UnsafeBufferPointer<UInt8>) {
        var plain = 0
        for index in 0..<bytes.count {
            let byte = bytes[index]
            if byte >= 0x20, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\"), byte != 0x7F { continue }
            append(contentsOf: UnsafeBufferPointer(rebasing: bytes[plain..<index]))
            plain = index + 1
            switch byte {
            case UInt8(ascii: "\""): append("\\\"")
            case UInt8(ascii: "\\"): append("\\\\")
            case 0x0A: append("\\n")
            case 0x0D: append("\\r")
            case 0x09: append("\\t")
            default:
                append("\\u00")
                append(hexDigits[Int(byte >> 4)])
                append(hexDigits[Int(byte & 15)])
            }
        }
        append(contentsOf: UnsafeBufferPointer(rebasing: bytes[plain...]))
    }

    package mutating func append(integer value: Int) {
        if value < 0 {
            append(UInt8(ascii: "-"))
        }
        var magnitude = value.magnitude
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digits in
            var start = 20
            repeat {
                start -= 1
                digits[start] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: magnitude % 10)
                magnitude /= 10
            } while magnitude > 0
            append(contentsOf: UnsafeBufferPointer(rebasing: digits[start..<20]))
        }
    }

    /// The shortest decimal that reads back as the same number; `null` for what JSON cannot say (NaN, infinities).
    package mutating func append(number value: Double) {
        guard value.isFinite else { return append("null") }
        if let whole = Int(exactly: value), whole.magnitude < 1 << 53 { return append(integer: whole) }
        append(utf8: value.description)
    }

    /// Seconds with six decimals at most, from nanoseconds: `1.5`, `0.000042`.
    package mutating func append(seconds nanoseconds: Int64) {
        let microseconds = (Swift.min(Swift.max(nanoseconds, 0), .max - 500) + 500) / 1000
        append(integer: Int(microseconds / 1_000_000))
        var fraction = UInt32(truncatingIfNeeded: microseconds % 1_000_000)
        guard fraction > 0 else { return }
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 7) { digits in
            digits[0] = UInt8(ascii: ".")
            var end = 7
            for place in (1...6).reversed() {
                if fraction % 10 == 0, end == place + 1 { end = place }
                digits[place] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: fraction % 10)
                fraction /= 10
            }
            append(contentsOf: UnsafeBufferPointer(rebasing: digits[..<end]))
        }
    }
}

private let hexDigits = Array("0123456789abcdef".utf8)

/// The same JSON text on one line: space outside strings dropped, everything else byte for byte.
///
/// - Parameter bytes: Valid JSON.
package func onOneLine(_ bytes: [UInt8]) -> [UInt8] {
    guard bytes.contains(where: { $0 == 0x0A || $0 == 0x0D }) else { return bytes }
    var line: [UInt8] = []
    line.reserveCapacity(bytes.count)
    var inString = false
    var escaped = false
    for byte in bytes {
        if inString {
            if escaped {
                escaped = false
            } else if byte == UInt8(ascii: "\\") {
                escaped = true
            } else if byte == UInt8(ascii: "\"") {
                inString = false
            }
        } else if byte == UInt8(ascii: "\"") {
            inString = true
        } else if byte <= 0x20 {
            continue
        }
        line.append(byte)
    }
    return line
}
