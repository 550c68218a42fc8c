import EventLoop
import Glibc
import Testing

@testable import Pools

@Suite struct LineReaderTests {
    /// A pipe that does not block, with a reader on a loop.
    private func withPipe(_ body: (EventLoop, _ reading: CInt, _ writing: CInt) throws -> Void) throws {
        let loop = try EventLoop()
        loop.adopt()
        var ends: [CInt] = [-1, -1]
        try #require(pipe(&ends) == 0)
        for end in ends { _ = fcntl(end, F_SETFL, O_NONBLOCK) }
        try body(loop, ends[0], ends[1])
    }

    @Test func `a flood of lines is handed on in portions, and not a line of it is lost`() throws {
        try withPipe { loop, reading, writing in
            let flood = [UInt8](repeating: 0x0A, count: 60_000)
            #expect(write(writing, flood, flood.count) == flood.count)
            close(writing)
            var portions: [Int] = []
            let reader = try LineReader(
                Descriptor(owning: reading), maximumBytes: 1024, on: loop, onLines: { portions.append($0.count) },
                onProblem: { _ in loop.stop() })
            loop.run()
            #expect(portions.reduce(0, +) == flood.count)
            #expect(portions.max() ?? 0 <= 256)
            withExtendedLifetime(reader) {}
        }
    }

    @Test func `what another still writes into the pipe keeps nobody from ending`() throws {
        try withPipe { loop, reading, writing in
            #expect(write(writing, "first\nrest", 10) == 10)
            var lines: [String] = []
            let reader = try LineReader(
                Descriptor(owning: reading), maximumBytes: 1024, isText: true, on: loop,
                onLines: { taken in
                    lines += taken.map { String(decoding: $0, as: UTF8.self) }
                    // A survivor that never stops.
                    _ = write(writing, "more\n", 5)
                }, onProblem: { _ in loop.stop() })
            reader.finish()
            if !reader.isClosed { loop.run() }
            #expect(lines == ["first", "rest"])
            close(writing)
        }
    }

    @Test func `of what a dead worker has flooded us with, the beginning is shown, and how much more there was`() throws
    {
        try withPipe { loop, reading, writing in
            let flood = [UInt8](repeating: 0x0A, count: 60_000)
            #expect(write(writing, flood, flood.count) == flood.count)
            var lines: [[UInt8]] = []
            let reader = try LineReader(
                Descriptor(owning: reading), maximumBytes: 1024, isText: true, on: loop, onLines: { lines += $0 },
                onProblem: { _ in })
            reader.drain()
            #expect(lines.count == 4097)
            #expect(String(decoding: lines.last ?? [], as: UTF8.self) == "… and \(60_000 - 4096) bytes more")
            close(writing)
        }
    }

    @Test func `of a dead worker's messages all that are whole count, and no half of one`() throws {
        try withPipe { loop, reading, writing in
            let flood = Array(repeating: Array("{}\n".utf8), count: 10_000).joined() + Array("{\"half".utf8)
            #expect(write(writing, Array(flood), flood.count) == flood.count)
            var lines: [[UInt8]] = []
            let reader = try LineReader(
                Descriptor(owning: reading), maximumBytes: 1024, on: loop, onLines: { lines += $0 }, onProblem: { _ in }
            )
            reader.drain()
            #expect(lines.count == 10_000)
            close(writing)
        }
        try withPipe { loop, reading, writing in
            #expect(write(writing, "{}\n{\"half", 9) == 9)
            close(writing)
            var lines: [[UInt8]] = []
            let reader = try LineReader(
                Descriptor(owning: reading), maximumBytes: 1024, on: loop, onLines: { lines += $0 },
                onProblem: { _ in loop.stop() })
            loop.run()
            #expect(lines == [Array("{}".utf8)])
            withExtendedLifetime(reader) {}
        }
    }

    /// Reads three lines, which takes longer than a turn may, and then one that has come meanwhile.
    ///
    /// - Parameter answers: So many of the three are answers.
    /// - Returns: Whether the reader paused after them, and whether it had the other line in the very next turn.
    private func readLong(answers: Int) throws -> (paused: Bool, wentOn: Bool) {
        var paused: Bool?
        var wentOn: Bool?
        try withPipe { loop, reading, writing in
            var lines = 0
            var reader: LineReader?
            #expect(write(writing, "1\n2\n3\n", 6) == 6)
            reader = try LineReader(
                Descriptor(owning: reading), maximumBytes: 1024, on: loop,
                onLines: { taken in
                    lines += taken.count
                    guard lines == 3 else { return }
                    reader?.answers += answers
                    let end = monotonicNanoseconds() + 20_000_000
                    while monotonicNanoseconds() < end {}
                    #expect(write(writing, "4\n", 2) == 2)
                    // Wakes the loop, whether the reader watches its pipe or not.
                    loop.submit {}
                }, onProblem: { _ in })
            loop.atEndOfTurn {
                if paused != nil, wentOn == nil {
                    wentOn = lines == 4
                    loop.stop()
                } else if lines == 3 {
                    paused = reader?.isPausing
                }
            }
            loop.run()
            close(writing)
        }
        return (try #require(paused as Bool?), try #require(wentOn as Bool?))
    }

    @Test func `after answers the next ones are read at once, however long it took to take them`() throws {
        let next = try readLong(answers: 3)
        #expect(!next.paused && next.wentOn)
    }

    @Test(arguments: [0, 1]) func `after a long turn of more than answers the writer has to wait`(answers: Int) throws {
        #expect(try readLong(answers: answers).paused)
    }
}
