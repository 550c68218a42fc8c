import EventLoop
import HTTP
import JSON
import Jobs
import Logging
import Testing

@testable import Pools
@testable import Server
@testable import Store

/// A store that refuses what is said of an attempt, because it is not current: nothing may wait for it any longer.
@Suite struct RefusedWriteTests {
    @Test func `a state whose write was refused is shown, and its cell is free again`() throws {
        let loop = try EventLoop()
        loop.adopt()
        let schema = try JSONSchema(JSONReader.value(of: Array("{}".utf8)))
        let task = TaskDefinition(
            name: "t", kind: .cpu, description: "", input: schema, output: nil, pools: [.thread],
            body: .command(CommandDefinition(argv: ["true"])))
        var options = ServerOptions()
        options.threads = 0
        options.processes = 0
        let starts = try #require(StartList(of: StartList.Owner(store: "s", path: "/nowhere/s", epoch: 1)))
        defer { starts.remove() }
        options.starts = starts
        let store = RefusingStore()
        let engine = try Engine(
            options, tasks: [task], store, on: loop, logger: Logger(label: "t") { _ in SwiftLogNoOpLogHandler() })
        for (number, hands) in [true, false, true].enumerated() {
            let job = LiveJob(
                JobRecord(
                    id: JobID(rawValue: UInt64(number + 1)), task: "t", pool: .thread, queue: "default", priority: 0,
                    maxAttempts: 3, timeout: nil, key: nil, labels: [], input: [], createdAt: engine.now),
                try #require(engine.registry["t"]))
            engine.restore(job)
            job.stand(.running)
            engine.noteStart(of: job, 1)
            let cell = job.cell
            if hands {
                engine.handedBack(job, Tally())
            } else {
                engine.requeued(job, Tally(), due: engine.now)
            }
            job.stand(.queued)
            #expect(job.record.state == .running && job.isStateUnderway)
            store.answer(.stale)
            #expect(job.record.state == .queued && !job.isStateUnderway, "what it is, nobody is ever told")
            #expect(engine.metrics.staleWrites == number + 1)
            // That of an attempt that was not handed back is its job's until the next one begins.
            engine.releaseStart(of: job)
            let next = starts.note(AttemptID(job: job.record.id, grant: 2))
            #expect(next.words == cell.words && !next.isNone, "a cell is never free again")
            starts.release(next)
        }
    }
}

/// Answers everything alike, when it is told to.
private final class RefusingStore: TestStore {
    private var written = 0
    private var answered = 0

    func answer(_ receipt: Receipt) {
        let waiting = answered..<written
        answered = written
        receive(waiting.map { ($0, receipt) })
    }

    var receive: ([(number: Int, receipt: Receipt)]) -> Void = { _ in }

    func write(_: Change) -> Receipt? {
        written += 1
        return nil
    }
}
