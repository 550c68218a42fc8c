import EventLoop
import Glibc

/// Reads a child's descriptor line by line, on the loop, and owns it.
///
/// A child that writes as fast as it can gets its share of the loop and no more: so much is read in one turn, and a turn
/// that took long is followed by a pause. Meanwhile its pipe fills, and it waits. What was asked for is no flood: a turn of
/// nothing but answers may take its time, and any answer as long as a short turn.
final class LineReader {
    enum Problem: Equatable {
        /// End of file, or the descriptor broke.
        case ended
        /// A line over the bound.
        case tooLong
    }

    /// Read in one turn, in bytes.
    private static let turnBytes = 64 * 1024
    /// Turns to catch up in.
    private static let someTurns = 4
    /// Lines handed on in one turn.
    private static let turnLines = 256
    /// One child takes no more than one part in this many of the loop's time, but for answers and for turns as short as
    /// this, in nanoseconds.
    private static let share: Int64 = 3
    private static let shortTurn: Int64 = 100_000
    /// What a worker that is gone has written last is shown up to so many lines.
    private static let lastLines = 4096

    /// nil once it is closed.
    private var owned: Descriptor?
    let descriptor: CInt
    private let loop: EventLoop
    private let isText: Bool
    private var splitter: LineSplitter
    private let onBytes: ((UnsafeBufferPointer<UInt8>) -> Void)?
    private let onLines: ([[UInt8]]) -> Void
    private let onProblem: (Problem) -> Void
    private var watch: Watch?
    /// Read, but not yet cut into lines.
    private var held: [UInt8] = []
    private var pause: Deadline?
    /// Bytes that are still to be read, once the child is gone; nil: all that come.
    private var left: Int?
    /// Answers in this turn to what its owner has asked, as the owner counts them, and all lines of the turn.
    var answers = 0
    private var handedOn = 0
    var isClosed: Bool { owned == nil }
    /// Whether the child has to wait until it is read again.
    var isPausing: Bool { pause != nil }

    /// - Parameters:
    ///   - isText: For people: long lines are cut, one that has not ended counts, and of a flood the beginning is enough. Else
    ///     they are messages, of which only whole ones count, and all of them.
    ///   - onBytes: Called with what one read brought, as it is.
    ///   - onLines: Called with all lines of one turn.
    ///   - onProblem: Called once; nothing is read afterwards.
    init(
        _ descriptor: consuming Descriptor, maximumBytes: Int, isText: Bool = false, on loop: EventLoop,
        onBytes: ((UnsafeBufferPointer<UInt8>) -> Void)? = nil,
        onLines: @escaping ([[UInt8]]) -> Void, onProblem: @escaping (Problem) -> Void
    ) throws(LoopError) {
        self.descriptor = descriptor.number
        owned = consume descriptor
        self.loop = loop
        self.isText = isText
        splitter = LineSplitter(maximumBytes: maximumBytes, cutsLongLines: isText)
        self.onBytes = onBytes
        self.onLines = onLines
        self.onProblem = onProblem
        let watch = try Watch(self.descriptor, for: .readable, on: loop) { [unowned self] _ in turn() }
        try watch.start()
        self.watch = consume watch
    }

    deinit { close() }

    func close() {
        // What watches it goes first.
        watch = nil
        pause = nil
        owned = nil
    }

    /// The writer is gone: reads what is there now, in as many turns as that takes, and ends. Whoever else still writes is
    /// not listened to any more.
    func finish() {
        guard !isClosed, left == nil else { return }
        left = unread
        if pause == nil { turn() }
    }

    /// Hands on what is there now, at once: of a flood of text the first lines, and how many more bytes there were.
    func drain() {
        guard !isClosed else { return }
        left = unread
        pause = nil
        // Messages are no more than the kernel holds, and one read.
        var lines = isText ? Self.lastLines : .max
        while !isClosed, lines > 0, held.isEmpty == false || (left ?? 0) > 0 {
            let most = min(lines, Self.turnLines)
            lines -= most
            guard step(lines: most) else { break }
        }
        guard isText, !isClosed, held.count + (left ?? 0) > 0 else { return }
        onLines([Array("… and \(held.count + (left ?? 0)) bytes more".utf8)])
    }

    /// Reads what is there now, within bounds, while the writer goes on.
    ///
    /// - Returns: Whether nothing more is there.
    func catchUp() -> Bool {
        for _ in 0..<Self.someTurns where !isClosed && (!held.isEmpty || unread > 0) { step(lines: Self.turnLines) }
        return isClosed || held.isEmpty && unread == 0
    }

    /// Whether there is certainly nothing to catch up with, in any of them: one system call, where each alone needs several.
    static func isNothingThere(in readers: [LineReader]) -> Bool {
        guard readers.allSatisfy({ $0.held.isEmpty }) else { return false }
        return withUnsafeTemporaryAllocation(of: pollfd.self, capacity: readers.count) { polled in
            for (index, reader) in readers.enumerated() {
                let descriptor = reader.isClosed ? -1 : reader.descriptor
                polled.initializeElement(at: index, to: pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0))
            }
            return poll(polled.baseAddress, nfds_t(polled.count), 0) == 0
        }
    }

    /// Hands on a line that has not ended yet.
    func showRest() {
        let rest = splitter.takeRest()
        if !rest.isEmpty { onLines([rest]) }
    }

    /// What the kernel holds for us, in bytes.
    private var unread: Int {
        var count: CInt = 0
        return ioctl(descriptor, UInt(FIONREAD), &count) == 0 ? Int(max(count, 0)) : 0
    }

    // MARK: One turn

    private func turn() {
        pause = nil
        answers = 0
        handedOn = 0
        let began = monotonicNanoseconds()
        step(lines: Self.turnLines)
        guard !isClosed else { return }
        if left == 0, held.isEmpty { return end() }
        let took = monotonicNanoseconds() - began
        let isShort =
            took <= Self.shortTurn * Int64(max(answers, 1)) || handedOn > 0 && answers == handedOn
        guard !isShort || !held.isEmpty || left != nil else { return }
        watch?.pause()
        let wait = !isShort ? took * (Self.share - 1) : 0
        pause = Deadline(after: .nanoseconds(wait), on: loop) { [unowned self] in
            // The event exists since init; adding it again allocates nothing.
            try? watch?.start()
            turn()
        }
    }

    /// Reads once, unless something is held, and hands on some lines.
    ///
    /// - Returns: False when nothing was there.
    @discardableResult
    private func step(lines: Int) -> Bool {
        if held.isEmpty { return read(lines: lines) }
        var bytes: [UInt8] = []
        swap(&bytes, &held)
        bytes.withUnsafeBufferPointer { cut($0, lines: lines) }
        return true
    }

    private func read(lines: Int) -> Bool {
        let most = min(Self.turnBytes, left ?? .max)
        guard most > 0 else { return false }
        return withUnsafeTemporaryAllocation(byteCount: Self.turnBytes, alignment: 1) { buffer in
            let count = Glibc.read(descriptor, buffer.baseAddress, most)
            if count < 0, errno == EAGAIN || errno == EINTR {
                left = left.map { _ in 0 }
                return false
            }
            guard count > 0 else {
                end()
                return false
            }
            left = left.map { $0 - count }
            let bytes = UnsafeBufferPointer(rebasing: buffer[..<count].bindMemory(to: UInt8.self)[...])
            onBytes?(bytes)
            cut(bytes, lines: lines)
            return true
        }
    }

    private func cut(_ bytes: UnsafeBufferPointer<UInt8>, lines most: Int) {
        var lines: [[UInt8]] = []
        let (fits, used) = splitter.feed(bytes, atMost: most) { lines.append($0) }
        if used < bytes.count { held = Array(bytes[used...]) }
        handedOn += lines.count
        if !lines.isEmpty { onLines(lines) }
        if !fits { fail(.tooLong) }
    }

    private func end() {
        if isText { showRest() }
        fail(.ended)
    }

    private func fail(_ problem: Problem) {
        guard !isClosed else { return }
        close()
        onProblem(problem)
    }
}
