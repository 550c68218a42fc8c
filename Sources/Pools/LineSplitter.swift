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

    /// - Parameters:
    ///   - most: Lines that are taken at most.
    ///   - line: Called for each complete line, without its line feed.
    /// - Returns: Whether no line is longer than allowed, else what was held of it is dropped; and how many bytes were taken.
    mutating func feed(
        _ bytes: UnsafeBufferPointer<UInt8>, atMost most: Int = .max, line: ([UInt8]) -> Void
    ) -> (fits: Bool, used: Int) {
        var start = 0
        var lines = 0
        while start < bytes.count, lines < most {
            let rest = bytes.count - start
            guard let found = memchr(bytes.baseAddress! + start, 0x0A, rest) else {
                partial.append(contentsOf: UnsafeBufferPointer(rebasing: bytes[start...]))
                start = bytes.count
                break
            }
            let end = UnsafeRawPointer(found) - UnsafeRawPointer(bytes.baseAddress!)
            let piece = UnsafeBufferPointer(rebasing: bytes[start..<end])
            start = end + 1
            lines += 1
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
        guard partial.count > maximumBytes else { return (true, start) }
        var whole: [UInt8] = []
        swap(&whole, &partial)
        if cutsLongLines { line(whole) }
        wasCut = cutsLongLines
        return (cutsLongLines, start)
    }

    /// What stands after the last line feed.
    mutating func takeRest() -> [UInt8] {
        defer { partial = [] }
        return partial
    }
}
