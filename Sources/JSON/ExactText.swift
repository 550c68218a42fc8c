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
    /// Whether both have the same bytes.
    package func isExactly(_ other: String) -> Bool {
        // Most texts differ, and that is found out quickly.
        self == other && utf8.elementsEqual(other.utf8)
    }
}
