import CSpindle
import Glibc
import Jobs
import Testing

@testable import Pools

/// What a dead worker's calls became, by what it had said.
@Suite struct AutopsyTests {
    typealias Fate = Autopsy.Fate

    struct Death: CustomTestStringConvertible {
        let testDescription: String
        var line: [Int] = []
        var beside: [Int] = []
        var said: Autopsy.Said?
        var stopped: Set<Int> = []
        var diedByItself = true
        let fates: [Int: Fate]
    }

    static let deaths = [
        Death(
            testDescription: "the call that had begun, and no other", line: [3, 4, 5], said: .init(begun: 3),
            fates: [3: .killer, 4: .returned, 5: .returned]),
        Death(
            testDescription: "not the first in line: what was before it is answered", line: [4, 5],
            said: .init(begun: 4),
            fates: [4: .killer, 5: .returned]),
        Death(
            testDescription: "none had begun: the first may have killed it as it was read", line: [3, 4],
            said: .init(begun: 2), fates: [3: .suspect, 4: .returned]),
        Death(
            testDescription: "none had begun, and somebody else killed it", line: [3, 4], said: .init(begun: 2),
            diedByItself: false, fates: [3: .returned, 4: .returned]),
        Death(
            testDescription: "the coroutine whose step ran", beside: [1, 2, 3, 4], said: .init(besideBegun: 3, step: 2),
            fates: [1: .bystander, 2: .killer, 3: .bystander, 4: .returned]),
        Death(
            testDescription: "between the steps of coroutines nobody can say", beside: [1, 2, 3],
            said: .init(besideBegun: 2), fates: [1: .killer, 2: .killer, 3: .returned]),
        Death(
            testDescription: "a call of the line, beside coroutines that waited", line: [5], beside: [1, 2],
            said: .init(begun: 5, besideBegun: 2), fates: [5: .killer, 1: .bystander, 2: .bystander]),
        Death(
            testDescription: "killed for one that was to stop: those beside it are spared", beside: [1, 2, 3],
            said: .init(besideBegun: 3, step: 1), stopped: [2], diedByItself: false,
            fates: [1: .bystander, 2: .killer, 3: .bystander]),
        Death(
            testDescription: "killed for one that waited behind a loop that does not move: who ran is spared",
            line: [9],
            beside: [1, 2, 3], said: .init(begun: 9, besideBegun: 2, step: 1), stopped: [3], diedByItself: false,
            fates: [9: .bystander, 1: .bystander, 2: .bystander, 3: .returned]),
        Death(
            testDescription: "of a worker that says nothing the first in line ran", line: [7],
            fates: [7: .killer]),
        Death(
            testDescription: "words that make no sense harm nobody", line: [3], beside: [1],
            said: .init(begun: .max, besideBegun: .max, step: .max), fates: [3: .killer, 1: .bystander]),
    ]

    @Test(arguments: deaths)
    func `who ran is told from who waited, and who killed from who stood by`(_ death: Death) {
        let autopsy = Autopsy(
            line: death.line, beside: death.beside, said: death.said, stopped: death.stopped,
            diedByItself: death.diedByItself)
        for (call, fate) in death.fates { #expect(autopsy.fate(of: call) == fate, "call \(call)") }
    }
}

@Suite struct WorkerStateTests {
    /// Both sides of one piece of memory.
    private static func pair() throws -> (server: WorkerState, worker: WorkerState) {
        let descriptor = spindle_shared_memory(WorkerState.size)
        defer { close(descriptor) }
        return (try #require(WorkerState(mapping: descriptor)), try #require(WorkerState(mapping: descriptor)))
    }

    @Test func `what is posted arrives whole and in order, by the socket or from where it lies`() throws {
        let (server, worker) = try Self.pair()
        var ends: (CInt, CInt) = (-1, -1)
        let made = withUnsafeMutableBytes(of: &ends) { spindle_socketpair($0.bindMemory(to: CInt.self).baseAddress) }
        try #require(made == 0)
        defer {
            close(ends.0)
            close(ends.1)
        }
        _ = fcntl(ends.0, F_SETFL, O_NONBLOCK)
        var random = SeededRandom(seed: 7)
        var posted: [UInt8] = []
        var arrived: [UInt8] = []
        func drain() {
            var buffer = [UInt8](repeating: 0, count: 1 << 16)
            while case let count = read(ends.0, &buffer, buffer.count), count > 0 { arrived += buffer[..<count] }
        }
        for _ in 0..<5000 {
            let size = Int.random(in: 1...(Bool.random(using: &random) ? 200 : 40_000), using: &random)
            let line = (0..<size).map { _ in UInt8.random(in: 32...126, using: &random) } + [10]
            posted += line
            #expect(worker.post(line, to: ends.1))
            drain()
            // All that has been posted is here, or lies in the outbox: nothing would be lost with the worker.
            let unsent = try #require(server.bytes(server.unsent))
            #expect(arrived.count + unsent.count == posted.count)
            if Int.random(in: 0..<8, using: &random) == 0 {
                #expect(worker.flush(to: ends.1))
                #expect(worker.isEmpty)
                drain()
            }
        }
        let rest = try #require(server.bytes(server.unsent))
        #expect(arrived + rest == posted)
    }

    @Test func `what was written over while it was read is not taken for what lay there`() throws {
        let (server, worker) = try Self.pair()
        var ends: (CInt, CInt) = (-1, -1)
        _ = withUnsafeMutableBytes(of: &ends) { spindle_socketpair($0.bindMemory(to: CInt.self).baseAddress) }
        defer {
            close(ends.0)
            close(ends.1)
        }
        #expect(worker.post(Array("old\n".utf8), to: ends.1))
        let seen = server.unsent
        for _ in 0..<3 {
            #expect(worker.flush(to: ends.1))
            #expect(worker.post([UInt8](repeating: 65, count: 16_000), to: ends.1))
        }
        #expect(server.bytes(seen) == nil)
    }

    @Test func `whatever a worker writes there, reading it is harmless`() throws {
        let (server, worker) = try Self.pair()
        var random = SeededRandom(seed: 11)
        let edges: [UInt64] = [0, 1, UInt64(WorkerState.capacity), 1 << 53, .max - 1, .max, 1 << 63]
        for _ in 0..<20_000 {
            for word in [WorkerState.Word.begun, .since, .besideBegun, .step, .written, .sent] {
                worker[word] = Bool.random(using: &random) ? edges.randomElement(using: &random)! : random.next()
            }
            let said = server.said
            #expect(said.begun >= 0 && said.besideBegun >= 0 && said.step >= 0)
            let unsent = server.unsent
            #expect(unsent.count <= WorkerState.capacity)
            _ = server.bytes(unsent)
        }
    }

    @Test func `the memory cannot be made shorter under its reader`() throws {
        let descriptor = spindle_shared_memory(WorkerState.size)
        defer { close(descriptor) }
        #expect(ftruncate(descriptor, 0) == -1)
        #expect(WorkerState(mapping: STDIN_FILENO) == nil)
    }
}
