@testable import Jobs

/// One made-up history of a server, decided by a seed: submissions, slow disks, workers that die, cancels, timeouts.
///
/// After every event the scheduler's invariants are checked, and the simulation keeps a ledger of its own: a job that was
/// accepted ends exactly once, never runs twice at the same time, and never more often than it may.
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

    private let seed: UInt64
    private var random: SeededRandom
    private var scheduler: Scheduler
    private var now = Instant(nanoseconds: 0)
    private var step = 0
    private var ids = JobIDSource()
    private var specs: [JobID: JobSpec] = [:]
    private var running: [JobID: Running] = [:]
    private var staged: [PoolName: [JobID]] = [:]
    private var unpersisted: [JobID] = []
    private var unrecorded: [JobID] = []
    private var accepted: Set<JobID> = []
    private var dropped: Set<JobID> = []
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
        case 28..<44: try persistOne()
        case 44..<66: try endOne()
        case 66..<74: try recordOne()
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

    private mutating func persistOne() throws {
        guard let id = unpersisted.popLast() else { return }
        if Int.random(in: 0..<20, using: &random) == 0 {
            dropped.insert(id)
            try feed(.persistFailed(id))
        } else {
            try feed(.persisted(id))
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

    private mutating func recordOne() throws {
        guard let id = unrecorded.popLast() else { return }
        try feed(.recorded(id))
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
        if Bool.random(using: &random) {
            try feed(.queuePaused("bulk", Bool.random(using: &random)))
        } else {
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
        case .persist(let id): unpersisted.append(id)
        case .answer(let id):
            guard accepted.insert(id).inserted else { throw failure("\(id) accepted twice") }
        case .start(let id, let attempt, let pool):
            guard accepted.contains(id) else { throw failure("\(id) started before it was accepted") }
            guard running[id] == nil else { throw failure("\(id) started while it runs") }
            starts[id] = attempt
            running[id] = Running(attempt: attempt, pool: pool)
            staged[pool, default: []].append(id)
        case .publish(let id, .started):
            guard let run = running[id] else { throw failure("\(id) began without a start") }
            running[id]!.hasBegun = true
            staged[run.pool]!.removeAll { $0 == id }
        case .stop(let id, let attempt, _, _, _):
            guard running[id]?.attempt == attempt else { throw failure("asked to stop \(id), which does not run") }
            running[id]!.asked = true
        case .record(let id, let conclusion):
            guard concluded[id] == nil else { throw failure("\(id) ended twice") }
            concluded[id] = conclusion
            unrecorded.append(id)
        case .conclude(let id, let conclusion):
            guard concluded[id] == conclusion else { throw failure("\(id) told another end than was recorded") }
        case .publish, .wake: break
        }
    }

    /// Nothing new comes in: everything accepted must come to an end.
    private mutating func settle() throws {
        try feed(.queuePaused("bulk", false))
        for _ in 0..<10_000 {
            while !unpersisted.isEmpty { try persistOne() }
            if let id = running.keys.sorted().first(where: { running[$0]!.hasBegun }) { try finish(id, .succeeded) }
            while !unrecorded.isEmpty { try recordOne() }
            now = now + .seconds(400)
            try feed(.becameDue)
            if running.isEmpty, unpersisted.isEmpty, unrecorded.isEmpty, scheduler.liveCount == 0 { return }
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
    }

    private func failure(_ what: String) -> Failure { Failure(seed: seed, step: step, what: what) }
}
