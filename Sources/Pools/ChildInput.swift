import EventLoop
import Glibc

/// The writing end of a child's standard input: takes bytes as fast as the child does, and a bounded amount more.
///
/// Loop-confined. Owns the descriptor.
final class ChildInput {
    /// Bytes that may wait for the child.
    private static let bound = 1 << 20

    /// nil once it is closed.
    private var owned: Descriptor?
    private let descriptor: CInt
    private let loop: EventLoop
    private var waiting: [UInt8] = []
    private var closes = false
    private var writable: Watch?

    init(_ descriptor: consuming Descriptor, on loop: EventLoop) {
        self.descriptor = descriptor.number
        owned = consume descriptor
        self.loop = loop
    }

    deinit { close() }

    private var isClosed: Bool { owned == nil }

    /// - Parameter closing: Whether these are the last bytes.
    func write(_ bytes: [UInt8], closing: Bool) -> InputAnswer {
        guard !isClosed, !closes else { return .closed }
        guard waiting.isEmpty || waiting.count + bytes.count <= Self.bound else { return .full }
        waiting += bytes
        closes = closing
        flush()
        return .taken
    }

    private func flush() {
        while !waiting.isEmpty {
            let count = Glibc.write(descriptor, waiting, waiting.count)
            if count < 0, errno == EAGAIN { return waitUntilWritable() }
            if count < 0, errno == EINTR { continue }
            // The child has closed its end: what is left has no reader.
            guard count > 0 else { return close() }
            waiting.removeFirst(count)
        }
        if closes { close() }
    }

    private func waitUntilWritable() {
        guard writable == nil else { return }
        // Without memory for a watch the next write tries again.
        guard
            let watch = try? Watch(
                descriptor, for: .writable, on: loop,
                fire: { [unowned self] _ in
                    writable = nil
                    flush()
                }), (try? watch.start()) != nil
        else { return }
        writable = consume watch
    }

    private func close() {
        writable = nil
        waiting = []
        owned = nil
    }
}
