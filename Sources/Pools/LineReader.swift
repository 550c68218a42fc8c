import EventLoop
import Glibc

/// Cuts a stream of bytes into lines.
struct LineSplitter {
    let maximumBytes: Int
    /// Whether a line over the bound becomes several.
    let cutsLongLines: Bool
    private var partial: [UInt8] = []
    /// The line goes on that was cut last.
    private var wasCut = false

    init(maximumBytes: Int, cutsLongLines: Bool = false) {
        self.maximumBytes = maximumBytes
        self.cutsLongLines = cutsLongLines
    }

    /// - Parameter line: Called for each complete line, without its line feed.
    /// - Returns: False when a line is longer than allowed; what was held of it is dropped.
    mutating func feed(_ bytes: UnsafeBufferPointer<UInt8>, line: ([UInt8]) -> Void) -> Bool {
        var start = 0
        while start < bytes.count {
            let rest = bytes.count - start
            guard let found = memchr(bytes.baseAddress! + start, 0x0A, rest) else {
                partial.append(contentsOf: UnsafeBufferPointer(rebasing: bytes[start...]))
                break
            }
            let end = UnsafeRawPointer(found) - UnsafeRawPointer(bytes.baseAddress!)
            let piece = UnsafeBufferPointer(rebasing: bytes[start..<end])
            start = end + 1
            let isRest = wasCut
            wasCut = false
            if partial.isEmpty {
                // A line that was cut at its very end is no line more.
                if !isRest || !piece.isEmpty { line(Array(piece)) }
            } else {
                partial.append(contentsOf: piece)
                var whole: [UInt8] = []
                swap(&whole, &partial)
                line(whole)
            }
        }
        guard partial.count > maximumBytes else { return true }
        var whole: [UInt8] = []
        swap(&whole, &partial)
        if cutsLongLines { line(whole) }
        wasCut = cutsLongLines
        return cutsLongLines
    }

    /// What stands after the last line feed.
    mutating func takeRest() -> [UInt8] {
        defer { partial = [] }
        return partial
    }
}

/// Reads a child's descriptor line by line, on the loop, and owns it.
final class LineReader {
    enum Problem: Equatable {
        /// End of file, or the descriptor broke.
        case ended
        /// A line over the bound.
        case tooLong
    }

    private static let readBytes = 64 * 1024

    let descriptor: CInt
    private var splitter: LineSplitter
    private let onBytes: ((UnsafeBufferPointer<UInt8>) -> Void)?
    private let onLines: ([[UInt8]]) -> Void
    private let onProblem: (Problem) -> Void
    private var watch: Watch?
    private(set) var isClosed = false

    /// - Parameters:
    ///   - onBytes: Called with what one read brought, as it is.
    ///   - onLines: Called with all lines of one read.
    ///   - onProblem: Called once; nothing is read afterwards.
    init(
        _ descriptor: CInt, maximumBytes: Int, cutsLongLines: Bool = false, on loop: EventLoop,
        onBytes: ((UnsafeBufferPointer<UInt8>) -> Void)? = nil,
        onLines: @escaping ([[UInt8]]) -> Void, onProblem: @escaping (Problem) -> Void
    ) throws(LoopError) {
        self.descriptor = descriptor
        splitter = LineSplitter(maximumBytes: maximumBytes, cutsLongLines: cutsLongLines)
        self.onBytes = onBytes
        self.onLines = onLines
        self.onProblem = onProblem
        let watch = try Watch(descriptor, for: .readable, on: loop) { [unowned self] _ in readOnce() }
        try watch.start()
        self.watch = consume watch
    }

    deinit { close() }

    func close() {
        guard !isClosed else { return }
        isClosed = true
        watch = nil
        Glibc.close(descriptor)
    }

    /// Reads what is there now, without waiting for the loop to say so.
    func drain() {
        while !isClosed, readOnce() {}
    }

    /// - Returns: Whether more may be there.
    @discardableResult
    private func readOnce() -> Bool {
        withUnsafeTemporaryAllocation(byteCount: Self.readBytes, alignment: 1) { buffer in
            let count = read(descriptor, buffer.baseAddress, buffer.count)
            if count < 0, errno == EAGAIN || errno == EINTR { return false }
            guard count > 0 else {
                let rest = splitter.takeRest()
                if !rest.isEmpty { onLines([rest]) }
                fail(.ended)
                return false
            }
            var lines: [[UInt8]] = []
            let bytes = UnsafeBufferPointer(rebasing: buffer[..<count].bindMemory(to: UInt8.self)[...])
            onBytes?(bytes)
            let fits = splitter.feed(bytes) { lines.append($0) }
            if !lines.isEmpty { onLines(lines) }
            if !fits { fail(.tooLong) }
            return fits
        }
    }

    private func fail(_ problem: Problem) {
        guard !isClosed else { return }
        close()
        onProblem(problem)
    }
}
