import Glibc

/// A file descriptor that somebody owns: closed exactly once, when the owner lets it go.
///
/// A copy would be a second owner, and its close would hit whoever has the number by then: so there is none.
package struct Descriptor: ~Copyable, Sendable {
    /// For system calls; not to be kept beyond the owner's life.
    package let number: CInt

    /// - Parameter number: What a system call has just returned, and nobody else owns.
    package init(owning number: CInt) { self.number = number }

    /// - Returns: nil for what is no descriptor: the system call has failed, and `errno` says why.
    package init?(ifOpen number: CInt) {
        guard number >= 0 else { return nil }
        self.number = number
    }

    deinit { close(number) }

    /// Hands it to somebody who will close it.
    package consuming func release() -> CInt {
        let number = self.number
        discard self
        return number
    }
}

extension Optional where Wrapped == Descriptor {
    /// For system calls; -1 for none.
    package var number: CInt {
        switch self {
        case .some(let descriptor): descriptor.number
        case .none: -1
        }
    }
}
