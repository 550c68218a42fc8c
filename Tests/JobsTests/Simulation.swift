@testable import Jobs

/// One made-up history of a server, decided by a seed: submissions, slow disks, workers that die, cancels, timeouts, and
/// servers that are killed and start again from what had reached the disk.
///
/// After every event the scheduler's invariants are checked, and the simulation keeps a ledger of its own: a job that was
/// accepted ends exactly once, never runs twice at the same time, never more often than it may, and only once when it may
/// run only once, whatever is killed.
struct Simulation: ~Copyable {
    struct Failure: Error, CustomStringConvertible {
        let seed: UInt64
        let step: Int
        let what: String
        var description: String { "SPINDLE_SEED=\(seed) swift test --filter Simulation: step \(step): \(what)" }
    }

    private struct Running {
        let attempt: Int
        let pool: PoolName
        var asked = false
        var hasBegun = false
    }

    /// What the disk is told, in order.
    private enum Write {
        case submit(JobID, attempt: Int)
        case start(JobID, attempt: Int, isAwaited: Bool)
        case retry(JobID, due: Instant, crashes: Int)
        case cancel(JobID)
        case end(JobID, Conclusion)
    }

    private let seed: UInt64
    private var random: SeededRandom
    private var scheduler: Scheduler
    private var now = Instant(nanoseconds: 0)
    private var step = 0
    private var ids = JobIDSource()
    private var specs: [JobID: JobSpec] = [:]
    private var running: [JobID: Running] = [:]
    private var staged: [PoolName: [JobID]] = [:]
    private var writes: [Write] = []
    private var disk: [JobID: Remains] = [:]
    private var dueOnDisk: [JobID: Instant] = [:]
    private var endedOnDisk: [JobID: Conclusion] = [:]
    private(set) var crashes = 0
    private var accepted: Set<JobID> = []
    private var dropped: Set<JobID> = []
    private var ran: Set<JobID> = []
    private var concluded: [JobID: Conclusion] = [:]
    private var slots: [PoolName: Int] = [:]
    private(set) var starts: [JobID: Int] = [:]

    init(seed: UInt64) {
        self.seed = seed
        random = SeededRandom(seed: seed)
        scheduler = Scheduler(seed: seed)
    }

    /// Plays up to `steps` events, then lets everything come to its end.
    mutating func play(steps: Int) throws {
        for pool in [PoolName.thread, .process] {
            slots[pool] = Int.random(in: 1...3, using: &random)
            try feed(.poolResized(pool, slots: slots[pool]!, ahead: Int.random(in: 0...2, using: &random)))
        }
        for _ in 0..<steps { try playOne() }
        try settle()
        try checkLedger()
    }

    private mutating func playOne() throws {
        now = now + .milliseconds(Int.random(in: 0...400, using: &random))
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<28: try submit()
        case 28..<48: try commit()
        case 48..<73: try endOne()
        case 73: try crash()
        case 74..<82: try feed(.becameDue)
        case 82..<90: try cancelOne()
        case 90..<94: try sendStaleEnd()
        case 94..<97: try loseWorker()
        default: try pauseOrResize()
        }
    }

    private mutating func submit() throws {
        let id = ids.next(at: now)
        var spec = JobSpec(id: id, pool: Bool.random(using: &random) ? .thread : .process)
        spec.queue = ["default", "bulk", "mail"].randomElement(using: &random)!
        spec.priority = Int.random(in: -1...1, using: &random)
        spec.maxAttempts = Int.random(in: 1...5, using: &random)
        spec.isQuick = Bool.random(using: &random)
        if Int.random(in: 0..<4, using: &random) == 0 {
            spec.timeout = .milliseconds(Int.random(in: 1...2000, using: &random))
        }
        if Int.random(in: 0..<5, using: &random) == 0 {
            spec.notBefore = now + .milliseconds(Int.random(in: 1...3000, using: &random))
        }
        if Int.random(in: 0..<5, using: &random) == 0 { spec.key = ["a", "b"].randomElement(using: &random)! }
        specs[id] = spec
        try feed(.submitted(spec))
    }

    /// Some of what waits reaches the disk, in one go; then the scheduler hears of it.
    private mutating func commit() throws {
        guard !writes.isEmpty else { return }
        let batch = writes.prefix(Int.random(in: 1...writes.count, using: &random))
        writes.removeFirst(batch.count)
        let isFull = Int.random(in: 0..<20, using: &random) == 0
        for write in batch {
            if isFull, case .submit = write { continue }
            apply(write)
        }
        for write in batch {
            switch write {
            case .submit(let id, _) where isFull:
                dropped.insert(id)
                try feed(.persistFailed(id))
            case .submit(let id, _): try feed(.persisted(id))
            case .start(let id, let attempt, true): try feed(.startPersisted(id, attempt: attempt))
            case .end(let id, _): try feed(.recorded(id))
            case .start, .retry, .cancel: break
            }
        }
    }

    private mutating func apply(_ write: Write) {
        switch write {
        case .submit(let id, let attempt): disk[id] = Remains(attempt: attempt, wasRunning: attempt > 0)
        case .start(let id, let attempt, _):
            disk[id]?.attempt = attempt
            disk[id]?.wasRunning = true
        case .retry(let id, let due, let crashes):
            disk[id]?.crashes = crashes
            disk[id]?.wasRunning = false
            dueOnDisk[id] = due
        case .cancel(let id): disk[id]?.wasCancelled = true
        case .end(let id, let conclusion):
            disk[id] = nil
            endedOnDisk[id] = conclusion
        }
    }

    /// The server is killed, with all that it ran, and starts again.
    private mutating func crash() throws {
        crashes += 1
        // Some of it had reached the disk without anybody hearing of it.
        for write in writes.prefix(Int.random(in: 0...writes.count, using: &random)) { apply(write) }
        for case .submit(let id, _) in writes where disk[id] == nil && endedOnDisk[id] == nil { dropped.insert(id) }
        writes = []
        running = [:]
        staged = [:]
        // An outcome that had not reached the disk never was; one that had is final, though nobody was told.
        concluded = endedOnDisk
        scheduler = Scheduler(seed: random.next())
        for (pool, count) in slots.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            try feed(.poolResized(pool, slots: count, ahead: 1))
        }
        let order = disk.sorted { ($0.value.attempt == 0 ? 1 : 0, $0.key) < ($1.value.attempt == 0 ? 1 : 0, $1.key) }
        for (id, remains) in order {
            accepted.insert(id)
            var spec = specs[id]!
            if let due = dueOnDisk[id] { spec.notBefore = due }
            try feed(.restored(spec, remains))
        }
    }

    private mutating func endOne() throws {
        guard let id = running.keys.sorted().randomElement(using: &random), running[id]!.hasBegun else { return }
        let end: AttemptEnd =
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<5: .succeeded
            case 5..<7: .failed(canRetry: Bool.random(using: &random))
            case 7: .crashed
            default: running[id]!.asked ? .stopped(.sigterm) : .succeeded
            }
        try finish(id, end)
    }

    private mutating func finish(_ id: JobID, _ end: AttemptEnd) throws {
        let run = running.removeValue(forKey: id)!
        staged[run.pool]?.removeAll { $0 == id }
        try feed(.attemptEnded(id, attempt: run.attempt, end))
        // The pool starts the next one that waits inside it, and says so.
        if run.hasBegun, let next = staged[run.pool]?.first { try begin(next) }
    }

    private mutating func begin(_ id: JobID) throws {
        staged[running[id]!.pool]!.removeAll { $0 == id }
        running[id]!.hasBegun = true
        try feed(.began(id, attempt: running[id]!.attempt))
    }

    /// A worker dies: what it ran has crashed, what waited in it comes back.
    private mutating func loseWorker() throws {
        guard let id = running.keys.sorted().randomElement(using: &random) else { return }
        try finish(id, running[id]!.hasBegun ? .crashed : .returned)
    }

    private mutating func cancelOne() throws {
        guard let id = specs.keys.sorted().randomElement(using: &random) else { return }
        try feed(.cancelRequested(id, grace: .seconds(5)))
    }

    private mutating func sendStaleEnd() throws {
        guard let id = specs.keys.sorted().randomElement(using: &random) else { return }
        let attempt = (running[id]?.attempt ?? starts[id] ?? 0) + (Bool.random(using: &random) ? 1 : -1)
        let before = scheduler.state(of: id)
        try feed(.attemptEnded(id, attempt: attempt, .succeeded))
        guard scheduler.state(of: id) == before else { throw failure("a stale end changed \(id)") }
    }

    private mutating func pauseOrResize() throws {
        switch Int.random(in: 0..<4, using: &random) {
        case 0, 1: try feed(.queuePaused("bulk", Bool.random(using: &random)))
        case 2:
            try feed(.queueLimited("mail", Bool.random(using: &random) ? 3 : nil))
            try feed(.queuesTidied(idleSince: now))
        default:
            slots[.process] = Int.random(in: 1...4, using: &random)
            try feed(.poolResized(.process, slots: slots[.process]!, ahead: Int.random(in: 0...2, using: &random)))
        }
    }

    // MARK: The world's side

    private mutating func feed(_ event: Event) throws {
        step += 1
        for action in scheduler.handle(event, at: now) { try perform(action) }
        if let broken = scheduler.brokenInvariant() { throw failure("after \(event): \(broken)") }
    }

    private mutating func perform(_ action: Action) throws {
        switch action {
        case .persist(let id, let attempt): writes.append(.submit(id, attempt: attempt))
        case .persistStart(let id, let attempt):
            writes.append(.start(id, attempt: attempt, isAwaited: true))
        case .answer(let id):
            guard accepted.insert(id).inserted else { throw failure("\(id) accepted twice") }
        case .start(let id, let attempt, let pool):
            guard accepted.contains(id) else { throw failure("\(id) started before it was accepted") }
            guard running[id] == nil else { throw failure("\(id) started while it runs") }
            if specs[id]!.maxAttempts == 1 {
                guard disk[id]?.wasRunning == true else { throw failure("\(id) started before the disk knew") }
                guard !ran.contains(id) else { throw failure("\(id) may run once and ran twice") }
            } else {
                writes.append(.start(id, attempt: attempt, isAwaited: false))
            }
            starts[id] = attempt
            running[id] = Running(attempt: attempt, pool: pool)
            staged[pool, default: []].append(id)
        case .publish(let id, .started):
            guard let run = running[id] else { throw failure("\(id) began without a start") }
            running[id]!.hasBegun = true
            ran.insert(id)
            staged[run.pool]!.removeAll { $0 == id }
        case .publish(let id, .retrying(let due, let crashes)):
            writes.append(.retry(id, due: due, crashes: crashes))
        case .publish(let id, .cancelling): writes.append(.cancel(id))
        case .stop(let id, let attempt, _, _, _):
            guard running[id]?.attempt == attempt else { throw failure("asked to stop \(id), which does not run") }
            running[id]!.asked = true
        case .record(let id, let conclusion):
            guard concluded[id] == nil else { throw failure("\(id) ended twice") }
            concluded[id] = conclusion
            writes.append(.end(id, conclusion))
        case .conclude(let id, let conclusion):
            guard endedOnDisk[id] == conclusion else { throw failure("\(id) told another end than is on disk") }
        case .publish, .wake, .hold: break
        }
    }

    /// Nothing new comes in: everything accepted must come to an end.
    private mutating func settle() throws {
        try feed(.queuePaused("bulk", false))
        for _ in 0..<10_000 {
            while !writes.isEmpty { try commit() }
            if let id = running.keys.sorted().first(where: { running[$0]!.hasBegun }) { try finish(id, .succeeded) }
            while !writes.isEmpty { try commit() }
            now = now + .seconds(400)
            try feed(.becameDue)
            if running.isEmpty, writes.isEmpty, scheduler.liveCount == 0 { return }
        }
        throw failure("never came to rest: \(scheduler.liveCount) jobs left")
    }

    private func checkLedger() throws {
        for id in accepted where concluded[id] == nil { throw failure("\(id) was accepted and never ended") }
        for id in concluded.keys where !accepted.contains(id) { throw failure("\(id) ended without being accepted") }
        for (id, attempt) in starts where attempt > specs[id]!.maxAttempts {
            throw failure("\(id) ran \(attempt) times")
        }
        for id in dropped where starts[id] != nil { throw failure("\(id) ran though it was never stored") }
        for id in accepted where dropped.contains(id) { throw failure("\(id) was accepted and lost") }
    }

    private func failure(_ what: String) -> Failure { Failure(seed: seed, step: step, what: what) }
}
