import EventLoop
import HTTP
import JSON
import Jobs
import Logging
import Pools
import Store

/// Joins the trades: feeds the scheduler with what happens, and does what it answers.
///
/// ```
///   handlers ─ submit, cancel ─┐                       ┌─► journal ─ persisted, recorded ┐
///   pools ──── reports ────────┼─► Scheduler ─ actions ┼─► pools                         │
///   timer ──── becameDue ──────┘        ▲              └─► events ─► streams, waiters    │
///                                       └────────────────────────────────────────────────┘
/// ```
///
/// Confined to the first loop: no lock and no hop on the hot path. Nothing calls backwards: what an action leads to comes
/// back as an event, after the present one.
package final class Engine {
    package let loop: EventLoop
    package let registry: TaskRegistry
    let options: ServerOptions
    let logger: Logger
    let metrics = Metrics()
    let streams: Streams
    let store: any JobStore
    let journal: Journal
    private(set) var live = LiveJobs()
    private(set) var scheduler: Scheduler
    private(set) var pools: [any Pool] = []
    var isDraining = false
    /// The server has been told to end; it may still take what is on its way.
    var isStopping = false
    var queueMeters: [String: QueueMeter] = [:]
    private var lastMeter = QueueMeter(of: "")

    /// What the wall clock says beyond the monotonic one.
    var clockOffset: Int64
    var turnTime: Int64 = 0
    private var ids: JobIDSource
    private var pending: [Event] = []
    private var actions: [Action] = []
    private var isFeeding = false
    /// A job that an earlier server has left, while it takes its place again.
    var standing: LiveJob?
    /// Jobs of tasks that are not there any more, until the disk has their ends.
    var leaving: Set<JobID> = []
    /// While what an earlier server has left is not all there.
    var restoration: Restoration?
    private var newlyAccepted: [LiveJob] = []
    private var wakeTimer: Deadline?
    private var ticker: Ticker?
    let historian: Historian
    private let throttle = Throttle()
    let monitor = Monitor()
    let lists: JobLists
    let startedAt: Instant
    /// Tells this server from those before it and after it.
    let ownName: String
    var whenIdle: (() -> Void)?
    /// What is to happen once nothing runs any more and the disk knows it.
    var whenRecorded: (() -> Void)?
    var lastWait: Deadline?
    /// Told when a fleet's tasks are known, or why they are not.
    var whenDescribed: ((_ fleet: String, _ why: String?) -> Void)?
    let isDurable: Bool

    /// - Parameter lastID: The greatest id that any job of the store ever had.
    package init(
        _ options: ServerOptions, tasks: [TaskDefinition], _ store: any JobStore, lastID: JobID? = nil,
        on loop: EventLoop, logger: Logger
    ) throws {
        self.options = options
        self.loop = loop
        self.logger = logger
        self.store = store
        isDurable = store.durability == .fsync
        registry = TaskRegistry(tasks)
        let wall = wallNanoseconds()
        startedAt = Instant(nanoseconds: wall)
        ownName = String(wall, radix: 36)
        clockOffset = wall - monotonicNanoseconds()
        scheduler = Scheduler(seed: UInt64.random(in: 0...UInt64.max), isDurable: isDurable)
        streams = Streams(limits: options.limits, on: loop)
        ids = JobIDSource(after: lastID)
        journal = Journal(store, on: loop)
        lists = JobLists(store)
        historian = Historian(journal, streams, on: loop)
        // What the engine owns does not outlive it: no count is kept of what happens a million times a minute.
        journal.settle = { [unowned(unsafe) self] in settle($0, $1) }
        throttle.engine = self
        monitor.engine = self
        lists.live = { [unowned(unsafe) self] in live.newest($0) }
        try openPools()
        ticker = try Ticker(every: .seconds(1), on: loop) { [unowned self] in tick() }
        loop.atEndOfTurn { [unowned(unsafe) self] in endTurn() }
    }

    private func openPools() throws {
        let report: (Report) -> Void = { [unowned(unsafe) self] in receive($0) }
        var processes = ProcessPoolOptions(
            slots: options.slots(.process), fleets: options.fleets, work: options.work)
        processes.limits = options.childLimits
        processes.starts = options.starts
        processes.owner = options.owner
        pools = [
            LoopPool(slots: options.slots(.loop), on: loop, report: report),
            ThreadPool(slots: options.slots(.thread), on: loop, report: report),
            try ProcessPool(processes, on: loop, report: report) { [unowned self] in receive($0) },
        ]
        for pool in pools { feed(.poolResized(pool.name, slots: pool.slots, ahead: pool.ahead)) }
    }

    /// The server's clock, read once a turn: all that happens in one turn happens at the same time.
    package var now: Instant {
        if turnTime == 0 { turnTime = clockOffset + monotonicNanoseconds() }
        return Instant(nanoseconds: turnTime)
    }

    /// They stand in the order of their names' indices.
    func pool(_ name: PoolName) -> (any Pool)? { name.index < pools.count ? pools[name.index] : nil }

    /// A job that may be seen, live or finished, if it is in memory.
    func record(of id: JobID) -> JobRecord? {
        if let job = live[id] { return job.isAccepted ? job.record : nil }
        return store[id]
    }

    /// A job that may be seen, wherever it is.
    func find(_ id: JobID, _ then: @escaping (Result<JobRecord?, StoreFailure>) -> Void) {
        if let record = record(of: id) { return then(.success(record)) }
        if live[id] != nil { return then(.success(nil)) }
        guard !leaving.contains(id) else { return whenStored(of: id) { [unowned self] in find(id, then) } }
        store.find(id, then)
    }

    // MARK: For handlers

    /// Takes a submission. Whether and when it is accepted, its waiters hear.
    func submit(_ submission: Submission, _ identity: Identity? = nil) -> LiveJob {
        let now = self.now
        let task = submission.entry.task
        let notBefore = submission.notBefore(now)
        let record = JobRecord(
            id: ids.next(at: now), task: task.name, pool: submission.pool, queue: submission.queue,
            priority: submission.priority, maxAttempts: submission.maxAttempts ?? task.maxAttempts,
            timeout: submission.timeout ?? task.timeout, key: submission.key, labels: submission.labels,
            input: submission.inputBytes, createdAt: now, notBefore: notBefore, poolReason: submission.poolReason)
        let job = LiveJob(record, submission.entry, submission.input)
        job.identity = identity
        job.followsWall = submission.runAt != nil
        if isDurable { record.events.reserved = EventLog.firstReserve }
        live.add(job)
        feed(.submitted(spec(of: job, notBefore: notBefore)))
        return job
    }

    func cancel(_ id: JobID, grace: Duration = Engine.defaultGrace) {
        feed(.cancelRequested(id, grace: grace))
    }

    /// How long a cancelled attempt is only asked to end.
    static let defaultGrace = Duration.seconds(5)

    /// Somebody has begun to follow a job.
    func follow(_ id: JobID) {
        if isDurable, let job = live[id] { historian.look(at: job) }
    }

    /// Calls `done` once everything that has been decided so far, of a job if one is given, is on disk.
    func whenStored(of job: JobID? = nil, _ done: @escaping () -> Void) {
        journal.write(.reached(job), then: .then(done))
    }

    /// Lets a client wait for a job; false when the job has ended or is unknown.
    func wait(for id: JobID, _ waiter: Waiter) -> Bool {
        guard let job = live[id] else { return false }
        job.add(waiter)
        return true
    }

    /// Since when the oldest job of a queue that waits for a pool has been there.
    func oldestWaiting(in queue: String) -> Instant? {
        scheduler.heads(of: queue).compactMap { live[$0]?.record.createdAt }.min()
    }

    /// Bytes that jobs hold which have not ended.
    var liveBytes: Int { live.bytes }

    /// The job holds more, or less, than when it was counted.
    func weigh(_ job: LiveJob) { live.weigh(job) }

    // MARK: Events and actions

    /// Feeds one event, and all that its actions lead to.
    func feed(_ event: Event) {
        guard !isFeeding else { return pending.append(event) }
        isFeeding = true
        handle(event)
        while let last = pending.popLast() {
            // Nearly always one leads to one.
            guard !pending.isEmpty else {
                handle(last)
                continue
            }
            var batch: [Event] = []
            swap(&batch, &pending)
            batch.append(last)
            for event in batch { handle(event) }
        }
        isFeeding = false
        // Whoever waits for the acceptance is to see where the job stands by now.
        while let job = newlyAccepted.popLast() { job.tell(.accepted) { $0.wantsAccepted } }
    }

    private func handle(_ event: Event) {
        scheduler.handle(event, at: now, into: &actions)
        // What an action leads to is fed, and so waits: nobody adds to the actions meanwhile.
        if actions.count == 1 {
            perform(actions.removeLast())
        } else {
            for index in 0..<actions.count { perform(actions[index]) }
            actions.removeAll(keepingCapacity: true)
        }
        // Looking at every job after every event: in debug builds, and while that is affordable.
        assert(scheduler.liveCount > 200 || scheduler.brokenInvariant() == nil, scheduler.brokenInvariant() ?? "")
    }

    private func perform(_ action: Action) {
        switch action {
        case .persist(let id, let attempt): persist(id, attempt)
        case .persistStart(let id, let attempt, let grant):
            if let job = live[id] { noteStart(of: job, grant) }
            journal.write(.started(id, attempt: attempt, grant: grant, at: now), then: .start(id, grant: grant))
        case .answer(let id): accepted(id)
        case .start(let id, let attempt, let grant, let pool):
            start(AttemptID(job: id, grant: grant), number: attempt, in: pool)
        case .stop(let id, let grant, let pool, let reason, let grace):
            live[id]?.stopReason = reason
            self.pool(pool)?.stop(AttemptID(job: id, grant: grant), grace: grace)
        case .hold(let id, let grant, let pool, let isHeld):
            self.pool(pool)?.hold(AttemptID(job: id, grant: grant), isHeld)
        case .publish(let id, let notice): publish(id, notice)
        case .record(let id, let conclusion): conclude(id, conclusion)
        case .conclude(let id, _): announceEnd(of: id)
        case .wake(let time):
            wakeTimer = Deadline(after: max(time - now, .zero), on: loop) { [unowned self] in feed(.becameDue) }
        }
    }

    private func persist(_ id: JobID, _ attempt: Int) {
        guard let job = live[id] else { return }
        if attempt > 0 { noteStart(of: job, attempt) }
        // What has to wait is not to weigh more than its bytes meanwhile.
        if attempt == 0 { job.dropInput() }
        journal.write(.submitted(job.record, attempt: attempt, job.identity), then: .submission(id))
    }

    private func accepted(_ id: JobID) {
        guard let job = live[id] else { return }
        metrics.submitted += 1
        live.accept(job)
        if let identity = job.identity { store.note(identity, id, at: now) }
        // As a later server has it, for which the disk keeps no more of it than that.
        append(.accepted, to: job, at: job.record.createdAt)
        if job.hasWaiters { newlyAccepted.append(job) }
    }

    private func start(_ id: AttemptID, number: Int, in name: PoolName) {
        guard let job = live[id.job] else { return }
        job.stopReason = nil
        let attempt = Attempt(
            id: id, number: number, task: job.entry.task, input: job.takeInput(),
            timeout: job.record.timeout, isQuick: job.entry.isQuick(in: name), cell: job.cell)
        pool(name)?.start(attempt)
    }

    private func publish(_ id: JobID, _ notice: Notice) {
        guard let job = live[id] else { return }
        let record = job.record
        switch notice {
        case .scheduled(let due):
            job.stand(.scheduled)
            record.dueAt = due
        case .blocked: job.stand(.blocked)
        case .queued(let position):
            job.stand(.queued)
            append(.queued(position: position), to: job, isNews: job !== standing)
        case .started(let attempt, let time):
            releaseStart(of: job)
            if job.state != .cancelling { job.stand(.running) }
            record.attempt = attempt
            record.startedAt = time
            record.progress = nil
            monitor.began(job)
            append(.started(pool: record.pool, worker: record.worker), to: job)
        case .retrying(let due, let tally):
            monitor.attemptEnded(job, .retried)
            requeued(job, tally, due: due)
            job.stand(.scheduled)
            record.dueAt = due
            append(.retrying(job.failure, due: due), to: job)
        // The disk is to know, or a restart would take it for lost.
        case .handedBack(let tally): handedBack(job, tally)
        case .cancelling:
            job.beginState()
            journal.write(.cancelRequested(id), then: .state(id))
            job.stand(.cancelling)
            append(.cancelling, to: job)
        case .suspended:
            job.stand(.suspended)
            append(.suspended, to: job)
        case .resumed:
            job.stand(.running)
            append(.resumed, to: job)
        }
        live.changed(job)
        if !job.isStateUnderway { job.tell(.changed) { $0.wantsChanges } }
    }

    private func conclude(_ id: JobID, _ conclusion: Conclusion) {
        guard let job = live[id] else { return }
        let outcome = job.outcome(conclusion, at: now, isWritten: isDurable)
        monitor.attemptEnded(job, Span.Ending(outcome.state))
        job.outcome = outcome
        job.cell.keep()
        journal.write(
            .ended(job.record, outcome, grant: job.storedGrant, hasHistory: job.hasHistory), then: .end(id))
    }

    // MARK: What becomes of jobs

    /// The job never was.
    func drop(_ id: JobID, _ cause: Waiter.Cause) {
        guard let job = live.remove(id) else { return }
        releaseStart(of: job)
        feed(.persistFailed(id))
        job.tell(cause)
    }

    /// The outcome is stored: now it may be told.
    private func announceEnd(of id: JobID) {
        guard let job = live.remove(id) else { return }
        releaseStart(of: job)
        let record = job.record
        metrics.events += 1
        lists.left(record)
        store.keep(record)
        metrics.ended(record)
        monitor.ended(record)
        job.entry.noteEnd(record.state)
        meter(of: record.queue).finished += 1
        job.tell(.ended)
        streams.ended(record)
        monitor.changed(record)
        checkIdle()
    }

    private func meter(of queue: String) -> QueueMeter {
        if lastMeter.queue == queue { return lastMeter }
        lastMeter = queueMeters[queue] ?? QueueMeter(of: queue)
        queueMeters[queue] = lastMeter
        return lastMeter
    }

    /// - Parameter isNews: Whether the disk is to hear of it before something else happens to the job.
    func append(_ kind: JobEvent.Kind, to job: LiveJob, at time: Instant? = nil, isNews: Bool = true) {
        job.record.events.append(kind, at: time ?? now, attempt: job.record.attempt)
        metrics.events += 1
        if isDurable, isNews { historian.note(job) }
        streams.touch(job.record)
        monitor.changed(job.record)
    }

    // MARK: Reports

    /// What the pools say. A report about an attempt that is no longer current is dropped: the fence.
    private func receive(_ report: Report) {
        switch report {
        case .began(let id, let worker, let time):
            guard let job = current(id) else { return }
            job.record.worker = worker
            feed(.began(id.job, grant: id.grant, at: time == 0 ? now : moment(time, notBefore: job.record.createdAt)))
        case .progress(let id, let progress):
            guard let job = current(id) else { return }
            throttle.progress(job, progress)
        case .output(let id, let json):
            guard let job = current(id) else { return }
            append(.output(json), to: job)
            weigh(job)
        case .log(let id, let stream, let level, let text):
            guard let job = current(id) else { return }
            throttle.log(job, stream, level, text)
        case .ended(let id, let result): attemptEnded(id, result)
        case .childStarted(let pid):
            journal.write(.childStarted(ChildMark(pid: pid, startedAt: bootNanoseconds())), then: .nothing(nil))
        case .childEnded(let pid): journal.write(.childEnded(pid: pid), then: .nothing(nil))
        }
    }

    private func attemptEnded(_ id: AttemptID, _ result: AttemptResult) {
        if let job = current(id) {
            throttle.finish(job)
            job.lastResult = result
            if result.end == .succeeded {
                job.entry.note(result.usage, in: job.record.pool)
            } else if result.end == .crashed {
                job.entry.noteCrash()
            }
        } else {
            logger.notice("stale end refused", metadata: ["job": "\(id.job)", "grant": "\(id.grant)"])
        }
        feed(.attemptEnded(id.job, grant: id.grant, result.end))
        if isDraining { checkIdle() }
    }

    /// A reading of the monotonic clock by the server's own: of something that has happened to a job since it came.
    private func moment(_ nanoseconds: Int64, notBefore start: Instant) -> Instant {
        min(max(Instant(nanoseconds: clockOffset + nanoseconds), start), now)
    }

    private func current(_ id: AttemptID) -> LiveJob? {
        guard scheduler.isCurrent(id.job, grant: id.grant) else { return nil }
        return live[id.job]
    }

    // MARK: Time

    private func endTurn() {
        if isDurable {
            historian.endTurn()
            store.flush()
        }
        streams.flush(now: now)
        monitor.endTurn()
        if turnTime != 0 { monitor.turned(clockOffset + monotonicNanoseconds() - turnTime) }
        turnTime = 0
    }

    private func tick() {
        followClock()
        tickQueues()
        restoration?.tick()
        streams.heartbeat(now: now)
        monitor.tick()
        store.tick(at: now)
    }

    // MARK: Starting again

    /// Makes room for so many jobs at once: tables that grow while jobs come in stop the loop.
    func expectRestored(_ count: Int) {
        live.reserve(count)
        scheduler.reserve(count)
    }

    /// Makes known a job that an earlier server had accepted.
    func restore(_ job: LiveJob) { live.restore(job) }
    /// - Returns: Whether there is more to do before all are restored.
    func settleRestored() -> Bool { !live.settle(atMost: LiveJobs.settled) }
}
