import EventLoop

/// What a worker's process writes to its stdout and stderr, and whose it is, where that is certain.
///
/// A library speaks through the worker protocol, and says of each line which call it belongs to. What comes by the pipes
/// has no name on it: it is a call's own only if no other call can have written it since the pipes were last seen empty.
/// All else is the worker's, never another job's.
///
/// ```
///   call 1 ──── writes ──── ended ─► the pipes are read: all of it is call 1's, and nobody's is left
///   call 2        in the line behind it: whose, nobody knows, until both have ended and the pipes are empty
/// ```
final class WorkerOutput {
    /// Bytes of one entry in the server's log.
    private static let longestEntry = 4096
    /// Bytes of one line; longer ones are cut into several.
    private static let maximumLine = 64 * 1024

    /// Calls that may have written what has not been read.
    private enum Suspects {
        case nobody
        case one(Int)
        /// Which ones, does not matter: they are cleared together, when nobody is left that can have written anything.
        case several
    }

    private var readers: [LineReader] = []
    private var suspects = Suspects.nobody
    private let state: WorkerState?
    private let heard: (_ call: Int?, _ stream: String, _ text: String) -> Void

    /// - Parameter heard: Called with a line, or, when it is nobody's, with all lines of one reading, cut to a bound.
    init(
        _ spawned: SpawnedChild, on loop: EventLoop,
        heard: @escaping (_ call: Int?, _ stream: String, _ text: String) -> Void
    ) throws(LoopError) {
        self.heard = heard
        state = spawned.state
        readers = [
            try reader(spawned.takeOutput(), "stdout", on: loop), try reader(spawned.takeErrors(), "stderr", on: loop),
        ]
    }

    private func reader(
        _ descriptor: consuming Descriptor, _ stream: String, on loop: EventLoop
    ) throws(LoopError) -> LineReader {
        try LineReader(
            descriptor, maximumBytes: Self.maximumLine, isText: true, on: loop,
            onLines: { [unowned self] in take($0, stream) }, onProblem: { _ in })
    }

    /// From now on it may be this call's.
    func began(_ call: Int) {
        switch suspects {
        case .nobody: suspects = .one(call)
        case .one(call): break
        case .one, .several: suspects = .several
        }
    }

    /// - Parameter isIdle: Whether no other call is in hand.
    func ended(_ call: Int, isIdle: Bool) {
        // One that is not suspected, beside one that is, clears nobody.
        if !isIdle { guard case .one(call) = suspects else { return } }
        // It was written before the answer, which we have.
        if catchUp() { suspects = .nobody }
    }

    /// The process is gone: what it has written last.
    func finish() {
        for reader in readers { reader.drain() }
    }

    func close() {
        for reader in readers { reader.close() }
    }

    private func catchUp() -> Bool {
        if LineReader.isNothingThere(in: readers) {
            for reader in readers { reader.showRest() }
            return true
        }
        var isEmpty = true
        for reader in readers {
            if reader.catchUp() { reader.showRest() } else { isEmpty = false }
        }
        return isEmpty
    }

    private func take(_ lines: [[UInt8]], _ stream: String) {
        // A thread that an earlier call has left writes as well as the call that is in hand.
        if case .one(let call) = suspects, state?[.shared] ?? 0 == 0 {
            for line in lines { heard(call, stream, String(decoding: line, as: UTF8.self)) }
            return
        }
        let bytes = Array(lines.joined(separator: [0x0A]))
        let more = bytes.count > Self.longestEntry ? "… (\(bytes.count - Self.longestEntry) bytes more)" : ""
        heard(nil, stream, String(decoding: bytes.prefix(Self.longestEntry), as: UTF8.self) + more)
    }
}
