import Glibc

/// A text that is another one only byte for byte: the names of an object's members are, as RFC 8259 has them.
///
/// A `String` counts as the same what Unicode holds for equivalent: then two members would be one.
package struct ExactText: Hashable, Sendable {
    package let text: String

    package init(_ text: String) { self.text = text }

    package static func == (left: ExactText, right: ExactText) -> Bool { left.text.isExactly(right.text) }

    package func hash(into hasher: inout Hasher) {
        var text = text
        text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }
}

extension String {
    private typealias Bits = (UInt64, UInt64)

    /// Whether both have the same bytes.
    package func isExactly(_ other: String) -> Bool {
        // A short text lies in its value itself: most names are the same bit for bit, or of another length.
        if unsafeBitCast(self, to: Bits.self) == unsafeBitCast(other, to: Bits.self) { return true }
        guard utf8.count == other.utf8.count else { return false }
        var (left, right) = (self, other)
        return left.withUTF8 { left in
            right.withUTF8 { right in
                // Without an address there are no bytes.
                guard let first = left.baseAddress, let second = right.baseAddress else { return true }
                return memcmp(first, second, left.count) == 0
            }
        }
    }
}
