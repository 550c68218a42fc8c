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
///   handlers ─ submit, cancel ─┐                       ┌─► store ─ persisted, recorded ─┐
///   pools ──── reports ────────┼─► Scheduler ─ actions ┼─► pools                        │
///   timer ──── becameDue ──────┘        ▲              └─► events ─► streams, waiters   │
///                                       └───────────────────────────────────────────────┘
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
    private(set) var store: MemoryStore!
    private(set) var live = JobTable<LiveJob>()
    private(set) var scheduler: Scheduler
    private(set) var pools: [any Pool] = []
    private(set) var isDraining = false
    var idempotency = IdempotencyKeys()
    private(set) var queueMeters: [String: QueueMeter] = [:]

    private let clockOffset: Int64
    private var turnTime: Int64 = 0
    private var ids = JobIDSource()
    private var pending: [Event] = []
    private var actions: [Action] = []
    private var isFeeding = false
    private var wakeTimer: Deadline?
    private var ticker: Ticker?
    private var whenIdle: (() -> Void)?

    package init(_ options: ServerOptions, tasks: [TaskDefinition], on loop: EventLoop, logger: Logger) throws {
        self.options = options
        self.loop = loop
        self.logger = logger
        registry = TaskRegistry(tasks)
        clockOffset = wallNanoseconds() - monotonicNanoseconds()
        scheduler = Scheduler(seed: UInt64.random(in: 0...UInt64.max), isDurable: false)
        streams = Streams(limits: options.limits)
        store = MemoryStore { [unowned self] in live[$0] != nil }
        try openPools()
        ticker = try Ticker(every: .seconds(1), on: loop) { [unowned self] in tick() }
        loop.atEndOfTurn { [unowned self] in
            streams.flush(now: now)
            turnTime = 0
        }
    }

    private func openPools() throws {
        let report: (Report) -> Void = { [unowned self] in receive($0) }
        var processes = ProcessPoolOptions(
            slots: options.processes, workerArguments: options.workerArguments, directoryRoot: options.workRoot)
        processes.limits = options.childLimits
        pools = [
            LoopPool(slots: options.loopSlots, on: loop, report: report),
            ThreadPool(slots: options.threads, on: loop, report: report),
            try ProcessPool(processes, on: loop, report: report) { [logger] why in
                logger.warning("a worker ended", metadata: ["why": "\(why)"])
            },
        ]
        for pool in pools { feed(.poolResized(pool.name, slots: pool.slots, ahead: pool.ahead)) }
    }

    /// The server's clock, read once a turn: all that happens in one turn happens at the same time.
    var now: Instant {
        if turnTime == 0 { turnTime = clockOffset + monotonicNanoseconds() }
        return Instant(nanoseconds: turnTime)
    }

    func pool(_ name: PoolName) -> (any Pool)? { pools.first { $0.name == name } }

    /// A job, live or finished.
    func record(of id: JobID) -> JobRecord? { live[id]?.record ?? store[id] }

    // MARK: For handlers

    /// Takes a submission. Whether and when it is accepted, its waiters hear.
    func submit(_ submission: Submission) -> LiveJob {
        let now = self.now
        let task = submission.entry.task
        let record = JobRecord(
            id: ids.next(at: now), task: task.name, pool: submission.pool, queue: submission.queue,
            priority: submission.priority, maxAttempts: submission.maxAttempts ?? task.maxAttempts,
            timeout: submission.timeout ?? task.timeout, key: submission.key, labels: submission.labels,
            input: submission.inputBytes, createdAt: now)
        let job = LiveJob(record, submission.entry, submission.input)
        live[record.id] = job
        store.register(record.id)
        let notBefore = submission.runAt ?? submission.delay.map { now + $0 }
        record.dueAt = notBefore
        let spec = JobSpec(
            id: record.id, pool: record.pool, queue: record.queue, priority: record.priority,
            maxAttempts: record.maxAttempts, timeout: record.timeout, notBefore: notBefore, key: record.key,
            isQuick: submission.entry.isQuick(in: record.pool))
        feed(.submitted(spec))
        return job
    }

    func cancel(_ id: JobID, grace: Duration = Engine.defaultGrace) {
        feed(.cancelRequested(id, grace: grace))
    }

    /// How long a cancelled attempt is only asked to end.
    static let defaultGrace = Duration.seconds(5)

    /// Lets a client wait for a job; nil when the job has ended or is unknown.
    func wait(for id: JobID, _ waiter: Waiter) -> Bool {
        guard let job = live[id] else { return false }
        job.waiters.removeAll(where: \.isDone)
        job.waiters.append(waiter)
        return true
    }

    /// Why a submission cannot be taken now; nil when it can.
    func refusal(for submission: Submission) -> Problem? {
        if isDraining { return .draining }
        guard let depth = scheduler.depth(forSubmissionTo: submission.queue) else {
            return Problem(
                429, "too-many-queues", "there are \(Scheduler.maximumQueues) queues already", retryAfter: 60)
        }
        guard depth >= options.queueDepth else { return nil }
        let rate = queueMeters[submission.queue]?.rate ?? 0
        let seconds = rate > 0 ? min(max(Int((Double(depth) * 0.1 / rate).rounded(.up)), 1), 60) : 10
        var problem = Problem(
            429, "queue-full", "queue \"\(submission.queue)\" holds \(depth) jobs, its bound", retryAfter: seconds)
        problem.limit = (submission.queue, options.queueDepth)
        return problem
    }

    /// Stops taking jobs; `done` is called when none is live any more.
    func drain(_ done: @escaping () -> Void) {
        isDraining = true
        whenIdle = done
        checkIdle()
    }

    /// Asks every live job to end.
    func cancelAll() {
        for id in live.ids.sorted() { cancel(id, grace: .seconds(1)) }
    }

    // MARK: Events and actions

    /// Feeds one event, and all that its actions lead to.
    func feed(_ event: Event) {
        pending.append(event)
        guard !isFeeding else { return }
        isFeeding = true
        var next = 0
        while next < pending.count {
            scheduler.handle(pending[next], at: now, into: &actions)
            next += 1
            var batch: [Action] = []
            swap(&batch, &actions)
            for action in batch { perform(action) }
            batch.removeAll(keepingCapacity: true)
            actions = batch
            // Looking at every job after every event: in debug builds, and while that is affordable.
            assert(scheduler.liveCount > 200 || scheduler.brokenInvariant() == nil, scheduler.brokenInvariant() ?? "")
        }
        pending.removeAll(keepingCapacity: true)
        isFeeding = false
    }

    private func perform(_ action: Action) {
        switch action {
        case .persist(let id, _): feed(.persisted(id))
        case .persistStart(let id, let attempt): feed(.startPersisted(id, attempt: attempt))
        case .answer(let id): accepted(id)
        case .start(let id, let attempt, let pool): start(id, attempt, pool)
        case .stop(let id, let attempt, let pool, _, let grace):
            self.pool(pool)?.stop(AttemptID(job: id, number: attempt), grace: grace)
        case .publish(let id, let notice): publish(id, notice)
        case .record(let id, let conclusion): conclude(id, conclusion)
        case .conclude(let id, _): announceEnd(of: id)
        case .wake(let time):
            wakeTimer = Deadline(after: max(time - now, .zero), on: loop) { [unowned self] in feed(.becameDue) }
        }
    }

    private func accepted(_ id: JobID) {
        guard let job = live[id] else { return }
        metrics.submitted += 1
        append(.accepted, to: job.record)
        tell(job, .accepted) { $0.wantsAccepted }
    }

    private func start(_ id: JobID, _ number: Int, _ name: PoolName) {
        guard let job = live[id] else { return }
        job.record.worker = nil
        let attempt = Attempt(
            id: AttemptID(job: id, number: number), task: job.entry.task, input: job.input,
            inputBytes: job.record.input, timeout: job.record.timeout,
            isQuick: job.entry.isQuick(in: name))
        pool(name)?.start(attempt)
    }

    private func publish(_ id: JobID, _ notice: Notice) {
        guard let job = live[id] else { return }
        let record = job.record
        switch notice {
        case .scheduled(let due):
            record.state = .scheduled
            record.dueAt = due
        case .blocked: record.state = .blocked
        case .queued(let position):
            record.state = .queued
            append(.queued(position: position), to: record)
        case .started(let attempt):
            record.state = .running
            record.attempt = attempt
            record.startedAt = now
            record.progress = nil
            append(.started(pool: record.pool, worker: record.worker), to: record)
        case .retrying(let due, _):
            record.state = .scheduled
            record.dueAt = due
            append(.retrying(job.lastResult.flatMap { failure(of: $0) }, due: due), to: record)
        case .cancelling:
            record.state = .cancelling
            append(.cancelling, to: record)
        }
        if !job.waiters.isEmpty { tell(job, .changed) { $0.wantsChanges } }
    }

    private func conclude(_ id: JobID, _ conclusion: Conclusion) {
        guard let job = live[id] else { return }
        let record = job.record
        record.finishedAt = now
        record.usage = job.lastResult?.usage
        switch conclusion {
        case .succeeded: record.result = job.lastResult?.value ?? []
        case .failed(.reported): record.error = job.lastResult?.error
        case .failed(.timeout):
            let limit = record.timeout?.text ?? "its limit"
            record.error = JobError(type: "Timeout", message: "the attempt took longer than \(limit)")
        case .failed(.crashed(let quarantined)):
            record.error = job.lastResult?.error ?? JobError(type: "Crashed", message: "the worker died")
            if quarantined { record.error?.message += "; quarantined: it killed \(Scheduler.crashLimit) workers" }
        case .failed(.lost):
            record.error = JobError(type: "Lost", message: "the server ended while the job ran")
        case .cancelled(let how, let took): record.cancel = (how, took)
        }
        record.state = conclusion.state
        feed(.recorded(id))
    }

    /// The outcome is stored: now it may be told.
    private func announceEnd(of id: JobID) {
        guard let job = live.removeValue(forKey: id) else { return }
        let record = job.record
        switch record.state {
        case .succeeded: append(.succeeded, to: record)
        case .failed: append(.failed, to: record)
        case .cancelled, .scheduled, .blocked, .queued, .running, .suspended, .cancelling:
            append(.cancelled, to: record)
        }
        store.keep(record)
        metrics.ended(record)
        job.entry.noteEnd(record.state)
        queueMeters[record.queue, default: QueueMeter()].finished += 1
        tell(job, .ended) { _ in true }
        streams.ended(record)
        checkIdle()
    }

    private func failure(of result: AttemptResult) -> JobError? {
        if let error = result.error { return error }
        switch result.end {
        case .stopped: return JobError(type: "Timeout", message: "the attempt took too long")
        case .crashed: return JobError(type: "Crashed", message: "the worker died")
        case .succeeded, .failed, .returned: return nil
        }
    }

    private func tell(_ job: LiveJob, _ cause: Waiter.Cause, where wants: (Waiter) -> Bool) {
        guard !job.waiters.isEmpty else { return }
        let waiters = job.waiters
        job.waiters.removeAll { $0.isDone || wants($0) }
        for waiter in waiters where wants(waiter) { waiter.fire(cause, job.record) }
    }

    private func append(_ kind: JobEvent.Kind, to record: JobRecord) {
        record.events.append(kind, at: now, attempt: record.attempt)
        metrics.events += 1
        streams.touch(record)
    }

    // MARK: Reports

    /// What the pools say. A report about an attempt that is no longer current is dropped: the fence.
    private func receive(_ report: Report) {
        switch report {
        case .began(let id): feed(.began(id.job, attempt: id.number))
        case .placed(let id, let worker):
            guard let job = current(id) else { return }
            job.record.worker = worker
            job.record.events.nameWorker(worker)
        case .progress(let id, let progress):
            guard let job = current(id) else { return }
            job.record.progress = progress
            append(.progress(progress), to: job.record)
        case .output(let id, let json):
            guard let job = current(id) else { return }
            append(.output(json), to: job.record)
        case .log(let id, let stream, let text):
            guard let job = current(id) else { return }
            job.record.log.append(line: text)
            append(.log(stream: stream, text: text), to: job.record)
        case .ended(let id, let result):
            if let job = current(id) {
                job.lastResult = result
                if result.end == .succeeded {
                    job.entry.note(wallNanoseconds: result.usage.wallNanoseconds, in: job.record.pool)
                }
            } else {
                logger.notice("stale end refused", metadata: ["job": "\(id.job)", "attempt": "\(id.number)"])
            }
            feed(.attemptEnded(id.job, attempt: id.number, result.end))
        }
    }

    private func current(_ id: AttemptID) -> LiveJob? {
        guard scheduler.isCurrent(id.job, attempt: id.number) else { return nil }
        return live[id.job]
    }

    // MARK: Time

    private func tick() {
        for name in queueMeters.keys { queueMeters[name]?.tick() }
        streams.heartbeat(now: now)
        idempotency.expire(now: now)
    }

    private func checkIdle() {
        guard live.isEmpty, let done = whenIdle else { return }
        whenIdle = nil
        done()
    }
}

/// How fast a queue empties.
struct QueueMeter {
    var finished = 0
    private var last = 0
    /// Jobs a second, smoothed over some seconds.
    private(set) var rate = 0.0

    mutating func tick() {
        rate += (Double(finished - last) - rate) * 0.3
        if rate < 0.01 { rate = 0 }
        last = finished
    }
}
