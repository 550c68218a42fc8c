import EventLoop
import Glibc

/// By what a child and all that descends from it is known, whoever is its parent by then and whatever session it is in.
///
/// Twice: `SPINDLE_CHILD=…` in the environment, which a process may clear, and keeps to itself when it is not to be dumped; and
/// a number in a limit that Linux has not asked for since 2.4, which everybody can read and nobody has a reason to lower.
/// Source: getrlimit(2), RLIMIT_LOCKS; proc(5), `limits`.
struct Mark: Sendable {
    static let name = "SPINDLE_CHILD"

    let value: String
    /// Stands in RLIMIT_LOCKS.
    let brand: UInt64

    /// Whether a process has it.
    ///
    /// - Parameter other: The process's brand.
    func isOn(_ pid: pid_t, branded other: UInt64?) -> Bool {
        other == brand || ProcessTree.carries(pid, "\(Self.name)=\(value)")
    }
}

/// Whose child a process is, as a number of 63 bits: 38 for the server, 25 for its child.
///
/// Children count downwards, because a limit can only be lowered, and a worker that is forked from another one lowers it. They
/// begin again after 33 million. A server that is itself a child, and not root's, can mark its own by environment alone.
struct Brand: Sendable {
    private static let childBits: UInt64 = 25

    private let server: UInt64

    /// - Parameter owner: The server's name: a random number of 64 bits to base 36.
    init(of owner: String) { server = (UInt64(owner, radix: 36) ?? .random(in: 0...(.max))) >> 26 }

    func ofChild(_ number: Int) -> UInt64 {
        let last = UInt64(1) << Self.childBits - 1
        return server << Self.childBits | (last - UInt64(truncatingIfNeeded: number) & last)
    }

    /// Whether a process descends from one of the server's children.
    func isOn(_ pid: pid_t) -> Bool { ProcessTree.brand(of: pid).map { $0 >> Self.childBits == server } ?? false }
}
