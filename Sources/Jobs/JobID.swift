/// A job's name: 64 bits, newer jobs greater, written as 13 characters of Crockford's base 32 in lower case.
///
/// 42 bits are milliseconds since 1970, 22 tell jobs of one millisecond apart. It is no secret.
/// Source of the alphabet: crockford.com/base32.html.
public struct JobID: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let rawValue: UInt64

    @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// - Parameter text: Exactly 13 characters of the alphabet; nil for anything else.
    package init?(_ text: some StringProtocol) {
        var value: UInt64 = 0
        var count = 0
        for byte in text.utf8 {
            guard let digit = alphabet.firstIndex(of: byte), count > 0 || digit < 16 else { return nil }
            value = value << 5 | UInt64(digit)
            count += 1
        }
        guard count == 13 else { return nil }
        rawValue = value
    }

    public static func < (left: JobID, right: JobID) -> Bool { left.rawValue < right.rawValue }

    public var description: String {
        String(unsafeUninitializedCapacity: 13) { buffer in
            writeDigits { index, digit in buffer[index] = digit }
            return 13
        }
    }

    package func write(to out: inout [UInt8]) {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 13) { digits in
            writeDigits { index, digit in digits[index] = digit }
            out.append(contentsOf: digits)
        }
    }

    private func writeDigits(_ write: (Int, UInt8) -> Void) {
        alphabet.withUnsafeBufferPointer { alphabet in
            for index in 0..<13 {
                write(index, alphabet[Int(truncatingIfNeeded: rawValue >> UInt64(60 - 5 * index)) & 31])
            }
        }
    }
}

private let alphabet = Array("0123456789abcdefghjkmnpqrstvwxyz".utf8)

/// Hands out ids that only grow.
package struct JobIDSource: Sendable {
    private var last: UInt64 = 0

    /// - Parameter last: The greatest id that was ever given; the clock may have been set back since.
    package init(after last: JobID? = nil) { self.last = last?.rawValue ?? 0 }

    package mutating func next(at now: Instant) -> JobID {
        let fresh = UInt64(max(now.nanoseconds, 0) / 1_000_000) << 22
        last = max(last.adding(saturating: 1), fresh)
        return JobID(rawValue: last)
    }
}
