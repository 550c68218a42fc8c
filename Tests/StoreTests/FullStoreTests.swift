import EventLoop
import GRDB
import Jobs
import Testing

@testable import Store

/// A disk that fills and has room again at any moment.
@Suite struct FullStoreTests {
    @Test(arguments: 1..<9)
    func `what is answered is on disk, in its order, and nothing else is, however a disk fills and empties`(_ seed: Int)
        throws
    {
        let life = try LifeOnFullDisk(seed: UInt64(seed))
        for _ in 0..<120 { try life.step() }
        try life.makeRoom()
        #expect(life.isAllAnswered, "there is room, and some are still not told")
        #expect(life.refused > 0 && life.heldUp > 0, "the disk was never full")
        try life.checkAfterRestart()
    }

    @Test func `a job's end takes along what waits of it, and its history is written by nobody any more`() throws {
        let bench = try StoreBench(.memory)
        let job = bench.job()
        var backlog = Backlog()
        backlog.take(1, .started(job.id, attempt: 1, grant: 1, at: bench.start))
        backlog.take(2, .happened(job.id, [], reserved: 9))
        #expect(backlog.due().isEmpty && backlog.due(startsToo: true).map(\.number) == [1])
        backlog.take(3, .ended(job, Outcome(.failed, of: job, at: bench.start), grant: 1, hasHistory: true))
        backlog.take(4, .reached(job.id))
        #expect(backlog.due().map(\.number) == [1, 3])
        #expect(backlog.takeReached() == [])
        #expect(backlog.due().map { backlog.remove($0) } == [[], [2]])
        #expect(backlog.takeReached() == [4] && backlog.isEmpty)
    }

    @Test func `a heavy end waits behind the light ones and gets no more of the reserve than its share`() throws {
        let bench = try StoreBench(.memory)
        let jobs = (0..<4).map { bench.job(milliseconds: $0) }
        var backlog = Backlog()
        for (number, (job, bytes)) in zip(jobs, [900_000, 100, 400_000, 100]).enumerated() {
            let outcome = Outcome(.succeeded, of: job, at: bench.start, result: Array(repeating: 0x31, count: bytes))
            backlog.take(number, .ended(job, outcome, grant: 1, hasHistory: false))
        }
        backlog.heavyShare = 1_000_000
        #expect(backlog.due().map(\.number) == [1, 3, 2])
        for entry in backlog.due() { _ = backlog.remove(entry) }
        #expect(backlog.due().isEmpty && backlog.due(heavyToo: true).map(\.number) == [0])
        // Whoever asks about another job does not wait for it.
        backlog.take(4, .reached(jobs[1].id))
        backlog.take(5, .reached(nil))
        #expect(backlog.takeReached() == [4])
    }

    @Test func `a history without progress and log is a history with gaps`() {
        var log = EventLog()
        let now = Instant(nanoseconds: 1)
        let kinds: [JobEvent.Kind] = [
            .accepted, .progress(Progress(1, of: 4), left: nil), .log(stream: "stdout", text: "x"), .output([0x31]),
            .progress(Progress(2, of: 4), left: nil), .cancelling,
        ]
        for kind in kinds { log.append(kind, at: now, attempt: 1) }
        let brief = log.brief
        #expect(brief.map(\.seq) == [1, 3, 4, 5, 6])
        #expect(brief[1].kind == .gap(from: 2, reason: "the disk was full"))
        #expect(EventLog(stored: brief).index(after: 2) == 1)
    }
}

/// Jobs as the engine has them, on a store whose file may not grow now and then, and what they must find in it.
private final class LifeOnFullDisk {
    private final class Job {
        let record: JobRecord
        /// What the store was told of it, but for histories.
        var told: [(number: Int, change: Change)] = []
        var grant = 0
        var isRunning = false
        var hasEnd = false
        init(_ record: JobRecord) { self.record = record }
    }

    private let bench: StoreBench
    /// The bench's, which it lets go of at a restart.
    private weak var store: SQLiteStore!
    private var random: SeededRandom
    private var jobs: [Job] = []
    private var histories: [Int] = []
    private var wishes: [(number: Int, job: Job?)] = []
    private var receipts: [Int: Receipt] = [:]
    private var written = 0
    private(set) var refused = 0
    /// Changes that were not answered at once.
    private(set) var heldUp = 0

    init(seed: UInt64) throws {
        bench = try StoreBench(.sqlite)
        let store = try #require(bench.store as? SQLiteStore)
        self.store = store
        _ = try store.begin(boot: "boot", name: "name")
        random = SeededRandom(seed: seed)
        store.receive = { [unowned self] new in
            for (number, receipt) in new {
                #expect(receipts.updateValue(receipt, forKey: number) == nil, "answered twice")
            }
        }
    }

    var isAllAnswered: Bool { receipts.count == written }

    func step() throws {
        switch random.next() % 16 {
        case 0: try setBound(1)
        case 1: try setBound(1 << 30)
        case 2: wishes.append((write(.reached(nil)), nil))
        case 3...7: submit()
        default: for _ in 0..<4 { advance() }
        }
        if random.next() % 3 == 0 { try settle() }
    }

    private func submit() {
        let job = Job(bench.job(maxAttempts: 9, milliseconds: jobs.count))
        let attempt = Int(random.next() % 2)
        if attempt == 1 { (job.grant, job.isRunning) = (1, true) }
        tell(job, .submitted(job.record, attempt: attempt, nil))
        jobs.append(job)
    }

    /// Lets something happen to some job that can.
    private func advance() {
        guard let job = jobs.randomElement(using: &random), !job.hasEnd, receipt(of: job.told[0]) == .stored else {
            return
        }
        let id = job.record.id
        // Nothing happens to an attempt before its start is stored, but that it is called off.
        if case .started? = job.told.last?.change, receipt(of: job.told.last!) == nil {
            if random.next() % 4 == 0 { tell(job, .cancelRequested(id)) }
            return
        }
        guard job.told.allSatisfy({ if case .started = $0.change { receipt(of: $0) == .stored } else { true } }) else {
            return
        }
        switch (job.isRunning, random.next() % 4) {
        case (false, 0): end(job)
        case (false, _):
            job.grant += 1
            job.isRunning = true
            tell(job, .started(id, attempt: job.grant, grant: job.grant, at: bench.start))
        case (true, 0):
            job.isRunning = false
            tell(job, .requeued(id, Tally(attempt: job.grant), grant: job.grant, due: bench.start))
        case (true, 1):
            job.record.events.append(
                .progress(Progress(1, of: 2, message: "m"), left: 1), at: bench.start, attempt: 1)
            histories.append(write(.happened(id, job.record.events.all, reserved: 300)))
        case (true, _): end(job)
        }
    }

    private func end(_ job: Job) {
        job.hasEnd = true
        let result = Array(repeating: UInt8(0x31), count: Int(random.next() % 9000) + 1)
        let outcome = Outcome(.succeeded, of: job.record, at: bench.start, result: result)
        tell(job, .ended(job.record, outcome, grant: job.grant, hasHistory: true))
        if random.next() % 4 == 0 { wishes.append((write(.reached(job.record.id)), job)) }
    }

    private func tell(_ job: Job, _ change: Change) { job.told.append((write(change), change)) }

    private func write(_ change: Change) -> Int {
        #expect(store.write(change) == nil)
        defer { written += 1 }
        return written
    }

    private func receipt(of entry: (number: Int, change: Change)) -> Receipt? { receipts[entry.number] }

    // MARK: The disk

    /// The file may have so many pages; it always may have those that it has.
    private func setBound(_ pages: Int) throws {
        try store.database.writeWithoutTransaction { try $0.execute(sql: "PRAGMA max_page_count = \(pages)") }
    }

    /// Waits until the store has done what it can, and has said so.
    private func drain() {
        store.flush()
        store.database.writeWithoutTransaction { _ in }
        bench.loop.submit { [loop = bench.loop] in loop.stop() }
        bench.loop.run()
    }

    private func settle() throws {
        drain()
        heldUp += written - receipts.count
        try check()
    }

    func makeRoom() throws {
        try setBound(1 << 30)
        bench.run { [self] in
            store.tick(at: bench.start)
            store.flush()
            bench.loop.submit { [loop = bench.loop] in loop.stop() }
            return isAllAnswered
        }
        try check()
    }

    // MARK: What must be there

    private struct Stored {
        var live: [Int64: Row] = [:]
        var finished: [Int64: Int] = [:]
    }

    private func check() throws {
        let stored = try store.database.read { db in
            var stored = Stored()
            for row in try Row.fetchAll(db, sql: "SELECT id, grants, running, cancelled FROM live") {
                stored.live[row["id"]] = row
            }
            for row in try Row.fetchAll(db, sql: "SELECT id, length(result) AS bytes FROM finished") {
                stored.finished[row["id"]] = row["bytes"]
            }
            return stored
        }
        for job in jobs { check(job, stored) }
        for wish in wishes where receipts[wish.number] != nil {
            for job in jobs where wish.job == nil || wish.job === job {
                for entry in job.told where entry.number < wish.number {
                    if case .started = entry.change { continue }
                    #expect(receipt(of: entry) != nil, "what was reached had not been")
                }
            }
        }
    }

    private func check(_ job: Job, _ stored: Stored) {
        let id = job.record.id.column
        let answers = job.told.map { receipt(of: $0) }
        let firstOpen = answers.firstIndex(of: nil) ?? answers.count
        #expect(answers[firstOpen...].allSatisfy { $0 == nil }, "one change of a job has overtaken another")
        if answers[0] == .refused {
            refused += 1
            #expect(stored.live[id] == nil && stored.finished[id] == nil, "what was refused is there")
            return
        }
        #expect(answers[..<firstOpen].allSatisfy { $0 == .stored })
        var (grant, isRunning, isCancelled, bytes) = (0, false, false, Int?.none)
        for (entry, answer) in zip(job.told, answers) where answer == .stored {
            switch entry.change {
            case .submitted(_, let attempt, _): (grant, isRunning) = (attempt, attempt > 0)
            case .started(_, _, let new, _): (grant, isRunning) = (new, true)
            case .requeued: isRunning = false
            case .cancelRequested: isCancelled = true
            case .ended(_, let outcome, _, _): bytes = outcome.result.count
            case .happened, .childStarted, .childEnded, .controlled, .reached: break
            }
        }
        #expect(stored.finished[id] == bytes, "an end is told that is not there, or the other way round")
        let row = stored.live[id]
        #expect((row == nil) == (bytes != nil || answers[0] == nil))
        guard let row else { return }
        #expect(row["grants"] == grant && row["running"] == isRunning && row["cancelled"] == isCancelled)
    }

    func checkAfterRestart() throws {
        _ = try bench.reopen()
        let found = try bench.left().sorted { $0.record.id < $1.record.id }
        let waiting = jobs.filter { !$0.hasEnd && receipt(of: $0.told[0]) == .stored }
        #expect(found.map(\.record.id) == waiting.map(\.record.id).sorted())
        for (job, there) in zip(waiting, found) {
            #expect(there.remains.grant == job.grant && there.remains.wasRunning == job.isRunning)
        }
    }
}
