import Jobs

/// The end of a job's log, as text; what came before is counted.
package struct LogTail: Sendable {
    /// At least this much of the end is kept, in bytes, and not much more.
    package static let kept = 1024 * 1024
    private static let pieceBytes = 64 * 1024

    /// Full ones, older ones first.
    private var pieces: [[UInt8]] = []
    private var last: [UInt8] = []
    private var count = 0
    /// Bytes that are no longer here.
    package private(set) var dropped = 0

    package init() {}

    /// - Parameter dropped: Bytes that came before these and are no longer here.
    package init(_ bytes: [UInt8], dropped: Int) {
        last = bytes
        count = bytes.count
        self.dropped = dropped.asCount
    }

    /// The last bytes, at most as many as are promised.
    package var tail: [UInt8] { tail(atMost: Self.kept) }

    func tail(atMost bytes: Int) -> [UInt8] { read(from: end - min(count, bytes), limit: bytes).bytes }

    /// What is kept, in bytes, where there is hardly any room.
    static let brief = 16 * 1024

    /// One past the last byte, counted from the log's beginning.
    package var end: Int { dropped + count }

    package mutating func append(line: String) {
        let before = last.count
        last.append(contentsOf: line.utf8)
        last.append(0x0A)
        count += last.count - before
        guard last.count >= Self.pieceBytes else { return }
        pieces.append(last)
        last = []
        while let first = pieces.first, count - first.count >= Self.kept {
            pieces.removeFirst()
            count -= first.count
            dropped += first.count
        }
    }

    /// At most `limit` bytes from `offset` on, or from the first one that is still here.
    package func read(from offset: Int, limit: Int) -> (bytes: [UInt8], next: Int) {
        let start = min(max(offset, dropped), end)
        let stop = min(start + limit, end)
        var bytes: [UInt8] = []
        guard start < stop else { return (bytes, end) }
        bytes.reserveCapacity(stop - start)
        var place = dropped
        for piece in pieces + [last] {
            let (low, high) = (max(start - place, 0), min(stop - place, piece.count))
            if low < high { bytes += piece[low..<high] }
            place += piece.count
        }
        return (bytes, stop)
    }
}
