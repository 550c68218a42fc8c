/// The end of a job's log, as text; what came before is counted.
package struct LogTail: Sendable {
    /// At least this much of the end is kept, in bytes.
    package static let kept = 1024 * 1024

    private var bytes: [UInt8] = []
    /// Bytes that are no longer here.
    package private(set) var dropped = 0

    package init() {}

    /// - Parameter dropped: Bytes that came before these and are no longer here.
    package init(_ bytes: [UInt8], dropped: Int) {
        self.bytes = bytes
        self.dropped = dropped
    }

    /// The last bytes, at most as many as are promised.
    package var tail: ArraySlice<UInt8> { bytes.suffix(Self.kept) }

    /// One past the last byte, counted from the log's beginning.
    package var end: Int { dropped + bytes.count }

    package mutating func append(line: String) {
        bytes.append(contentsOf: line.utf8)
        bytes.append(0x0A)
        guard bytes.count >= 2 * Self.kept else { return }
        let surplus = bytes.count - Self.kept
        bytes.removeFirst(surplus)
        dropped += surplus
    }

    /// At most `limit` bytes from `offset` on, or from the first one that is still here.
    package func read(from offset: Int, limit: Int) -> (bytes: ArraySlice<UInt8>, next: Int) {
        let start = max(offset, dropped) - dropped
        let stop = min(start + limit, bytes.count)
        guard start < stop else { return ([], end) }
        return (bytes[start..<stop], dropped + stop)
    }
}
