import EventLoop
import Glibc
import Testing

@testable import Pools

/// The loop and those who wait, and the thread that stands at it.
private final class Turnstile: Sendable {
    private let reading: Descriptor
    private let writing: Descriptor

    init() {
        var ends: [CInt] = [-1, -1]
        precondition(pipe(&ends) == 0)
        reading = Descriptor(owning: ends[0])
        writing = Descriptor(owning: ends[1])
    }

    func wait() {
        var byte: UInt8 = 0
        while read(reading.number, &byte, 1) < 0, errno == EINTR {}
    }

    func open() {
        var byte: UInt8 = 1
        precondition(write(writing.number, &byte, 1) == 1)
    }
}

@Suite struct ErrandsTests {
    /// Runs errands until the last has been told; nil: until it is too late.
    private func run(threads: Int, _ give: (Errands, EventLoop, _ note: @escaping (Int) -> Void) -> Int) throws
        -> [Int]?
    {
        let loop = try EventLoop()
        loop.adopt()
        var told: [Int] = []
        var count = Int.max
        var isLate = false
        let deadline = Deadline(after: .seconds(30), on: loop) {
            isLate = true
            loop.stop()
        }
        count = give(Errands("test", threads: threads), loop) { number in
            told.append(number)
            if told.count == count { loop.stop() }
        }
        loop.run()
        withExtendedLifetime(deadline) {}
        return isLate ? nil : told
    }

    @Test func `an errand that takes long keeps no other waiting while there is a second thread`() throws {
        let gate = Turnstile()
        let told = try run(threads: 2) { errands, loop, note in
            errands.run(on: loop) {
                gate.wait()
            } then: {
                note(0)
            }
            errands.run(on: loop) {
            } then: {
                note(1)
            }
            errands.run(on: loop) {
                gate.open()
            } then: {
                note(2)
            }
            return 3
        }
        #expect(told.map(Set.init) == [0, 1, 2])
    }

    @Test func `errands of one thread are done in the order in which they were given`() throws {
        let told = try run(threads: 1) { errands, loop, note in
            for number in 0..<1000 {
                errands.run(on: loop) {
                } then: {
                    note(number)
                }
            }
            return 1000
        }
        #expect(told == Array(0..<1000))
    }
}

@Suite struct TimerTests {
    @Test func `timers fire however many different durations are called shared`() throws {
        let loop = try EventLoop()
        loop.adopt()
        var left = 600
        var timers: [Ticker] = []
        let deadline = Deadline(after: .seconds(30), on: loop) { loop.stop() }
        for microseconds in 1...600 {
            var hasFired = false
            timers.append(
                try Ticker(every: .microseconds(microseconds), on: loop) {
                    if !hasFired { left -= 1 }
                    hasFired = true
                    if left == 0 { loop.stop() }
                })
        }
        loop.run()
        withExtendedLifetime((timers, deadline)) {}
        #expect(left == 0)
    }
}
