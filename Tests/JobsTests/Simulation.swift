@testable import Jobs

/// One made-up history of a server, decided by a seed: submissions, slow disks, pools with a will of their own, cancels,
/// timeouts, suspensions, and servers that are killed, or stop in order, and start again from what had reached the disk.
///
/// After every event the scheduler's invariants are checked, and the simulation keeps ledgers of its own: a job that was
/// accepted ends exactly once, as an attempt of it really ended; its code never runs twice under one number, never more
/// often than it may, and only once when it may run only once, whatever is killed; no deadline comes due for what never
/// began, and none is missing for what did; whoever wants a job cancelled gets it cancelled, and every end is told once.
///
/// Without a disk a kill takes everything along, and nothing is left of a server that has stopped in order: everybody has
/// been told.
struct Simulation: ~Copyable {
    struct Failure: Error, CustomStringConvertible {
        let seed: UInt64
        let step: Int
        let what: String
        var description: String { "SPINDLE_SEED=\(seed) swift test --filter Simulation: step \(step): \(what)" }
    }

    /// What the disk is told, in order.
    private enum Write {
        case submit(JobID, attempt: Int)
        case start(JobID, attempt: Int, grant: Int)
        case requeue(JobID, due: Instant, Tally)
        case cancel(JobID)
        case end(JobID, Conclusion)
    }

    /// An attempt as the scheduler has given it out.
    private struct Given {
        let grant: Int
        let attempt: Int
        let pool: PoolName
        /// When it was told that it has begun.
        var heardAt: Instant?
        var isStopped = false
        /// Its pool has told that it has ended.
        var isOver = false
    }

    private let seed: UInt64
    private let telling: ModelPool.Telling
    private let isDurable: Bool
    /// Whether all that is written is there at once, as it is where it only has to stand in memory.
    private let isPrompt: Bool
    /// How many of six jobs for the process pool may run beside others: where few do, hardly any dies of another's work.
    private let lightShare: Int
    private var random: SeededRandom
    private var scheduler: Scheduler
    private var now = Instant(nanoseconds: 0)
    private var step = 0
    private var ids = JobIDSource()
    private var specs: [JobID: JobSpec] = [:]
    private var pools: [PoolName: ModelPool] = [:]
    private var slots: [PoolName: Int] = [:]
    private var given: [JobID: Given] = [:]
    private var ledger = EffectLedger()
    private var writes: [Write] = []
    private var disk: [JobID: Remains] = [:]
    private var dueOnDisk: [JobID: Instant] = [:]
    private var endedOnDisk: [JobID: Conclusion] = [:]
    private(set) var crashes = 0
    private var accepted: Set<JobID> = []
    private var dropped: Set<JobID> = []
    private var concluded: [JobID: Conclusion] = [:]
    private var told: Set<JobID> = []
    /// Somebody wanted them cancelled before they had ended.
    private var unwanted: Set<JobID> = []
    /// The number that was shown as started.
    private var shown: [JobID: Int] = [:]
    private var isStopping = false

    init(seed: UInt64, telling: ModelPool.Telling = .said, isDurable: Bool = true) {
        self.seed = seed
        self.telling = telling
        self.isDurable = isDurable
        var random = SeededRandom(seed: seed)
        isPrompt = isDurable ? false : Bool.random(using: &random)
        lightShare = [1, 2, 5].randomElement(using: &random)!
        self.random = random
        scheduler = Scheduler(seed: seed, isDurable: isDurable)
    }

    /// Plays up to `steps` events, then lets everything come to its end.
    mutating func play(steps: Int) throws {
        for pool in [PoolName.thread, .process] { slots[pool] = Int.random(in: 1...3, using: &random) }
        try openPools()
        for _ in 0..<steps { try playOne() }
        try settle()
        try checkLedger()
    }

    private mutating func openPools() throws {
        for (pool, count) in slots.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            pools[pool] = ModelPool(telling)
            try resize(pool, to: count)
        }
    }

    private mutating func resize(_ pool: PoolName, to count: Int) throws {
        slots[pool] = count
        let ahead = Int.random(in: 0...2, using: &random)
        // The scheduler's idea of what waits inside need not be the pool's.
        pools[pool]!.resize(to: count, ahead: pool == .process ? ahead : 0)
        try feed(.poolResized(pool, slots: count, ahead: ahead))
        if pool == .process { try feed(.lightRoomResized(slots: 3 * count)) }
    }

    private mutating func playOne() throws {
        now = now + .milliseconds(Int.random(in: 0...400, using: &random))
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<22: try submit()
        case 22..<40: try commit()
        case 40..<58: try letPoolsWork()
        case 58..<74: try hear()
        case 74: try crash()
        case 75: try stopInOrder()
        case 76..<83: try passTime()
        case 83..<89: try cancelOne()
        case 89..<92: try sendStaleEnd()
        case 92..<96: try holdOne()
        default: try pauseOrResize()
        }
        if isPrompt { try commitAll() }
    }

    private mutating func submit() throws {
        let id = ids.next(at: now)
        var spec = JobSpec(id: id, pool: Bool.random(using: &random) ? .thread : .process)
        spec.queue = ["default", "bulk", "mail"].randomElement(using: &random)!
        spec.priority = Int.random(in: -1...1, using: &random)
        spec.maxAttempts = [1, 1, 2, 3, 5].randomElement(using: &random)!
        spec.isLight = spec.pool == .process && Int.random(in: 0..<6, using: &random) < lightShare
        spec.isQuick = !spec.isLight && Bool.random(using: &random)
        if Int.random(in: 0..<3, using: &random) == 0 {
            spec.timeout = .milliseconds(Int.random(in: 1...2000, using: &random))
        }
        if Int.random(in: 0..<5, using: &random) == 0 {
            spec.notBefore = now + .milliseconds(Int.random(in: 1...3000, using: &random))
        }
        if Int.random(in: 0..<5, using: &random) == 0 { spec.key = ["a", "b"].randomElement(using: &random)! }
        specs[id] = spec
        try feed(.submitted(spec))
    }

    private mutating func cancelOne() throws {
        guard let id = specs.keys.sorted().randomElement(using: &random) else { return }
        if concluded[id] == nil { unwanted.insert(id) }
        try feed(.cancelRequested(id, grace: .seconds(5)))
        if let run = given[id], !run.isOver, !run.isStopped {
            throw failure("\(id) is to be cancelled, and its attempt goes on")
        }
    }

    private mutating func holdOne() throws {
        guard let id = given.keys.sorted().randomElement(using: &random) else { return }
        try feed(Bool.random(using: &random) ? .suspendRequested(id) : .resumeRequested(id))
    }

    private mutating func sendStaleEnd() throws {
        guard let id = specs.keys.sorted().randomElement(using: &random) else { return }
        let grant = (given[id]?.grant ?? 1) + (Bool.random(using: &random) ? 1 : -1)
        let before = scheduler.state(of: id)
        try feed(.attemptEnded(id, grant: grant, .succeeded))
        guard scheduler.state(of: id) == before else { throw failure("a stale end changed \(id)") }
    }

    private mutating func pauseOrResize() throws {
        switch Int.random(in: 0..<4, using: &random) {
        case 0, 1: try feed(.queuePaused("bulk", Bool.random(using: &random)))
        case 2:
            try feed(.queueLimited("mail", Bool.random(using: &random) ? 3 : nil))
            try feed(.queuesTidied(idleSince: now))
            try setClock(by: .milliseconds(Int.random(in: -2000...2000, using: &random)))
        default:
            try resize(Bool.random(using: &random) ? .process : .thread, to: Int.random(in: 1...4, using: &random))
        }
    }

    /// Somebody sets the wall clock; who measures time goes on from there.
    private mutating func setClock(by step: Duration) throws {
        now = now + step
        ledger.clockStepped(by: step)
        for id in given.keys { given[id]!.heardAt = given[id]!.heardAt.map { $0 + step } }
        try feed(.clockStepped(by: step))
    }

    /// Everything that is due, is; whatever has begun and may not run any longer must have been asked to stop.
    private mutating func passTime() throws {
        try feed(.becameDue)
        for (id, run) in given {
            guard let heardAt = run.heardAt, let timeout = specs[id]!.timeout, !run.isStopped, now >= heardAt + timeout
            else { continue }
            throw failure("\(id) runs beyond its timeout, and nobody minds")
        }
    }

    // MARK: The disk

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
            case .start(let id, _, let grant): try feed(.startPersisted(id, grant: grant))
            case .end(let id, _): try feed(.recorded(id))
            case .requeue, .cancel: break
            }
        }
    }

    private mutating func commitAll() throws { while !writes.isEmpty { try commit() } }

    private mutating func apply(_ write: Write) {
        switch write {
        case .submit(let id, let attempt):
            disk[id] = Remains(Tally(attempt: attempt), grant: attempt, wasRunning: attempt > 0)
        case .start(let id, let attempt, let grant):
            disk[id]?.tally.attempt = attempt
            disk[id]?.grant = grant
            disk[id]?.wasRunning = true
        case .requeue(let id, let due, let tally):
            disk[id]?.tally = tally
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
        guard isDurable else { return try beginAnew() }
        // Some of it had reached the disk without anybody hearing of it.
        for write in writes.prefix(Int.random(in: 0...writes.count, using: &random)) { apply(write) }
        for case .submit(let id, _) in writes where disk[id] == nil && endedOnDisk[id] == nil { dropped.insert(id) }
        writes = []
        try restart()
    }

    /// The server lets end what ends, stops the rest, and starts again.
    private mutating func stopInOrder() throws {
        defer { isStopping = false }
        // Nobody would go on with what waits where there is no disk: as long as there is time for it, it goes on.
        if isDurable {
            try feed(.drained)
            isStopping = true
        }
        try goOn()
        isStopping = true
        try feed(.shutDown(grace: .seconds(5)))
        for (id, run) in given where !run.isOver && !run.isStopped {
            throw failure("\(id) runs, and nobody tells it that the server ends")
        }
        try goOn()
        for _ in 0..<10_000 {
            if pools.values.allSatisfy(\.isEmpty) { break }
            try finishRuns()
        }
        try commitAll()
        guard pools.values.allSatisfy(\.isEmpty) else { throw failure("the attempts of a server that ends never end") }
        for (id, remains) in disk where remains.wasRunning { throw failure("\(id) runs on in a server that has ended") }
        if isDurable { return try restart() }
        guard scheduler.liveCount == 0 else {
            throw failure("\(scheduler.liveCount) jobs are left in a server that has ended")
        }
        try checkLedger()
        try beginAnew()
    }

    /// What still happens in a server that takes no more jobs.
    private mutating func goOn() throws {
        for _ in 0..<Int.random(in: 0...20, using: &random) {
            now = now + .milliseconds(Int.random(in: 0...400, using: &random))
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<4: try letPoolsWork()
            case 4, 5: try commit()
            case 6, 7: try hear()
            case 8: try passTime()
            default: try cancelOne()
            }
            if isPrompt { try commitAll() }
        }
    }

    /// Another server, which knows nothing of this one.
    private mutating func beginAnew() throws {
        (accepted, dropped, concluded, told, unwanted) = ([], [], [:], [], [])
        (given, shown, specs, writes) = ([:], [:], [:], [])
        (disk, dueOnDisk, endedOnDisk) = ([:], [:], [:])
        ledger = EffectLedger()
        scheduler = Scheduler(seed: random.next(), isDurable: isDurable)
        try openPools()
    }

    private mutating func restart() throws {
        given = [:]
        // An outcome that had not reached the disk never was; one that had is final, though nobody was told.
        concluded = endedOnDisk
        told = Set(endedOnDisk.keys)
        // Nor was a cancellation that had not.
        unwanted = Set(disk.filter(\.value.wasCancelled).keys)
        scheduler = Scheduler(seed: random.next())
        try openPools()
        let order = disk.sorted {
            ($0.value.tally.attempt == 0 ? 1 : 0, $0.key) < ($1.value.tally.attempt == 0 ? 1 : 0, $1.key)
        }
        try feed(.restoring)
        for (id, remains) in order {
            accepted.insert(id)
            var spec = specs[id]!
            if let due = dueOnDisk[id] { spec.notBefore = due }
            try feed(.restored(spec, remains))
            // It takes its time, and what it leads to reaches the disk meanwhile.
            guard Int.random(in: 0..<4, using: &random) == 0 else { continue }
            now = now + .milliseconds(Int.random(in: 0...400, using: &random))
            try feed(.becameDue)
            if !writes.isEmpty { try commit() }
        }
        try feed(.allRestored)
    }

    // MARK: The pools

    private mutating func letPoolsWork() throws {
        for pool in pools.keys.sorted(by: { $0.rawValue < $1.rawValue }) {
            for _ in 0..<Int.random(in: 1...4, using: &random) { pools[pool]!.step(&random) }
        }
        try checkFacts()
    }

    /// Notes what has really happened.
    private mutating func checkFacts() throws {
        for pool in pools.keys {
            for fact in pools[pool]!.takeFacts() {
                switch fact {
                case .began(let call):
                    guard !isDurable || disk[call.id].map({ $0.wasRunning && $0.grant >= call.grant }) == true else {
                        throw failure("\(call.id) runs as attempt \(call.attempt), which the disk does not know")
                    }
                    if let wrong = ledger.begin(call, of: specs[call.id]!, at: now) { throw failure(wrong) }
                case .ended(let call, let end): ledger.end(call, end)
                }
            }
        }
    }

    /// The scheduler hears the next of what a pool has told.
    @discardableResult
    private mutating func hear() throws -> Bool {
        let talking = pools.keys.filter { !pools[$0]!.mail.isEmpty }.sorted { $0.rawValue < $1.rawValue }
        guard let pool = talking.randomElement(using: &random), let report = pools[pool]!.takeMail() else {
            return false
        }
        switch report {
        case .began(let id, let grant):
            if given[id]?.grant == grant { given[id]?.heardAt = ledger.beginning(of: id, grant: grant) }
            try feed(.began(id, grant: grant, at: ledger.beginning(of: id, grant: grant) ?? now))
        case .ended(let id, let grant, let end):
            if given[id]?.grant == grant { (given[id]!.heardAt, given[id]!.isOver) = (nil, true) }
            try feed(.attemptEnded(id, grant: grant, end))
        }
        return true
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
        case .persistStart(let id, let attempt, let grant):
            writes.append(.start(id, attempt: attempt, grant: grant))
        case .answer(let id):
            guard accepted.insert(id).inserted else { throw failure("\(id) accepted twice") }
        case .start(let id, let attempt, let grant, let pool):
            guard accepted.contains(id) else { throw failure("\(id) started before it was accepted") }
            guard !isStopping else { throw failure("\(id) started in a server that stops") }
            given[id] = Given(grant: grant, attempt: attempt, pool: pool)
            pools[pool]!.start(id, attempt: attempt, grant: grant, isLight: specs[id]!.isLight)
        case .publish(let id, let notice): try take(notice, of: id)
        case .stop(let id, let grant, let pool, let reason, _):
            guard given[id]?.grant == grant else { throw failure("asked to stop \(id), which nobody has started") }
            if reason == .timeout, ledger.beginning(of: id, grant: grant) == nil {
                throw failure("the deadline of \(id) has come, and it has never begun")
            }
            given[id]!.isStopped = true
            pools[pool]!.stop(id, grant: grant)
        case .hold(let id, let grant, let pool, let isHeld): pools[pool]!.hold(id, grant: grant, isHeld)
        case .record(let id, let conclusion): try record(id, conclusion)
        case .conclude(let id, let conclusion):
            guard endedOnDisk[id] == conclusion else { throw failure("\(id) told another end than is on disk") }
            guard told.insert(id).inserted else { throw failure("the end of \(id) is told twice") }
        case .wake: break
        }
    }

    private mutating func take(_ notice: Notice, of id: JobID) throws {
        switch notice {
        case .started(let attempt, _):
            guard let run = given[id], ledger.beginning(of: id, grant: run.grant) != nil else {
                throw failure("\(id) is said to have started, and has not")
            }
            shown[id] = attempt
        case .retrying(let due, let tally): writes.append(.requeue(id, due: due, tally))
        case .handedBack(let tally): writes.append(.requeue(id, due: now, tally))
        case .cancelling: writes.append(.cancel(id))
        case .scheduled, .blocked, .queued, .suspended, .resumed: break
        }
    }

    private mutating func record(_ id: JobID, _ conclusion: Conclusion) throws {
        guard concluded[id] == nil else { throw failure("\(id) ended twice") }
        concluded[id] = conclusion
        writes.append(.end(id, conclusion))
        guard (conclusion.state == .cancelled) == unwanted.contains(id) else {
            throw failure("\(id) was \(unwanted.contains(id) ? "" : "not ")to be cancelled, and is \(conclusion)")
        }
        let run = given.removeValue(forKey: id)
        guard ledger.bears(out: conclusion, of: id, grant: run?.grant ?? 0) else {
            let truth = ledger.end(of: id, grant: run?.grant ?? 0)
            throw failure("\(id) is recorded as \(conclusion), but its attempt: \(String(describing: truth))")
        }
        if conclusion == .succeeded, shown[id] != run?.attempt { throw failure("\(id) succeeded and never started") }
    }

    /// Nothing new comes in: everything accepted must come to an end.
    private mutating func settle() throws {
        try feed(.queuePaused("bulk", false))
        for _ in 0..<10_000 {
            try commitAll()
            try finishRuns()
            now = now + .seconds(400)
            try feed(.becameDue)
            if writes.isEmpty, scheduler.liveCount == 0, pools.values.allSatisfy(\.isEmpty) { return }
        }
        throw failure("never came to rest: \(scheduler.liveCount) jobs left")
    }

    /// The pools do what they have in hand, and all of it is heard.
    private mutating func finishRuns() throws {
        for pool in pools.keys.sorted(by: { $0.rawValue < $1.rawValue }) { pools[pool]!.rest(&random) }
        try checkFacts()
        while try hear() {}
        try commitAll()
    }

    private func checkLedger() throws {
        for id in specs.keys where !accepted.contains(id) && !dropped.contains(id) {
            throw failure("\(id) was neither accepted nor refused")
        }
        for id in concluded.keys where !told.contains(id) { throw failure("the end of \(id) was told nobody") }
        for id in accepted where concluded[id] == nil { throw failure("\(id) was accepted and never ended") }
        for id in concluded.keys where !accepted.contains(id) { throw failure("\(id) ended without being accepted") }
        for id in dropped where ledger.runs(of: id) > 0 { throw failure("\(id) ran though it was never stored") }
        for id in accepted where dropped.contains(id) { throw failure("\(id) was accepted and lost") }
    }

    private func failure(_ what: String) -> Failure { Failure(seed: seed, step: step, what: what) }
}
