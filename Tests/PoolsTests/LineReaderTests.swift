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
}
