import EventLoop
import Glibc
import Jobs

/// The running workers of one ``WorkerFleet``: kept at their number, given what fits them, replaced when they are due.
///
/// ```
///   starting ──► serving ──► outgoing ──► leaving ──► gone
///                   │      (its successor   (takes      ▲
///                   └──────── starts)    nothing more)──┘ or it dies
/// ```
///
/// Loop-confined.
final class Fleet {
    /// After this many workers in a row that never became ready, what waits for one fails.
    private static let startsBeforeGivingUp = 5
    /// After this many deaths in a row without work in hand, and no answer between them, the next start waits.
    private static let deathsBeforePause = 3
    private static let longestPause = Duration.seconds(30)
    /// For this long after a worker has died of its work, one more than usual is kept ready, in nanoseconds.
    private static let spareTime: Int64 = 10_000_000_000
    /// A crash is to be noticed at once: Swift's own backtracer would hold the dying process for seconds.
    private static let variables = [
        "SPINDLE_FD": "3", WorkerState.variable: String(WorkerState.descriptor), "SWIFT_BACKTRACE": "enable=no",
    ]

    enum Change {
        case report(Report)
        /// The first worker has said what it can do.
        case described(WorkerDescription)
        /// No worker has ever started.
        case broken(why: String)
        /// A worker has said what cannot be true.
        case doubted(String)
        /// A worker has printed something that is no call's, as far as anybody knows.
        case said(worker: String, stream: String, text: String)
        /// A worker has ended.
        case workerEnded(Recycling.Reason, why: String)
        /// Its workers are started, not forked, from now on.
        case zygoteEnded(why: String)
        /// After ``drain()``: the last worker is gone.
        case empty
    }

    /// How far one worker is on its way out.
    private enum Leaving {
        /// Serves until its successor is ready.
        case outgoing(Recycling.Reason)
        /// Finishes what it has.
        case leaving(Recycling.Reason)

        var reason: Recycling.Reason {
            switch self {
            case .outgoing(let reason), .leaving(let reason): reason
            }
        }
    }

    let spec: WorkerFleet
    private(set) var size: Int
    private(set) var live: [pid_t: WorkerProcess] = [:]
    private(set) var concurrency = 1
    private let options: ProcessPoolOptions
    private let loop: EventLoop
    private let spawner: Spawner
    private let onChange: (Change) -> Void
    private var zygote: Zygote?
    private var zygoteIsComing = false
    private var waiting: [Attempt] = []
    private var starting = 0
    /// Places of workers that were let go because they were idle.
    private var asleep = 0
    private var failedStarts = 0
    private var deaths = 0
    private var spareUntil: Int64 = 0
    private var isDescribed = false
    private var isDraining = false
    private var touched: [WorkerProcess] = []
    private var departures: [pid_t: Leaving] = [:]
    private var refill: Deadline?

    init(
        _ spec: WorkerFleet, size: Int, _ options: ProcessPoolOptions, on loop: EventLoop, spawner: Spawner,
        onChange: @escaping (Change) -> Void
    ) {
        self.spec = spec
        self.size = size
        self.options = options
        self.loop = loop
        self.spawner = spawner
        self.onChange = onChange
    }

    func begin() {
        if spec.preloads { startZygote() } else { fill() }
    }

    var isBusy: Bool { live.values.contains { !$0.isIdle } }
    var isEmpty: Bool { live.isEmpty && starting == 0 && zygote == nil && !zygoteIsComing }

    var statuses: [WorkerStatus] {
        live.values.sorted { $0.pid < $1.pid }.map { worker in
            let state: WorkerStatus.State =
                !worker.isReady ? .starting : isLeaving(worker) ? .stopping : worker.isIdle ? .idle : .busy
            return WorkerStatus(id: worker.name, pid: Int(worker.pid), state: state, job: worker.job)
        }
    }

    // MARK: Attempts

    /// Hands an attempt to the worker that has least to do; it waits here while none is ready or all have enough. Only what
    /// is quick waits inside a worker, and only behind what is quick.
    func place(_ attempt: Attempt) {
        let isConcurrent = attempt.task.isConcurrent
        let room = attempt.isQuick ? options.ahead + 1 : 1
        var load = Int.max
        var idlest: WorkerProcess?
        for worker in live.values where worker.isReady && !worker.hasEnded && !isLeaving(worker) {
            let held = isConcurrent ? worker.concurrent.count : worker.line.count
            guard isConcurrent ? takesBeside(worker) : held < room && (held == 0 || worker.takesMore) else { continue }
            // Behind a loop that does not move only where there is no other place.
            let rank = worker.loopIsStuck ? held + concurrency : held
            if rank < load { (idlest, load) = (worker, rank) }
        }
        guard let worker = idlest else {
            waiting.append(attempt)
            // Who starts already will take as many.
            if waiting.count > starting { wake() }
            return
        }
        // With work for more than those that are awake, one more is worth its start.
        if asleep > 0, load > 0 { wake() }
        if worker.run(attempt) { touched.append(worker) }
    }

    /// Whether it has room for a concurrent call. What is given while others are taken back could not be told from those.
    private func takesBeside(_ worker: WorkerProcess) -> Bool {
        worker.concurrent.count < concurrency && !worker.besideWithdrawal.isOpen
    }

    /// - Returns: Whether the attempt was here.
    func stop(_ id: AttemptID, grace: Duration) -> Bool {
        if let index = waiting.firstIndex(where: { $0.id == id }) {
            waiting.remove(at: index)
            end(id, AttemptResult(.stopped(.beforeStart)))
            return true
        }
        guard let worker = worker(of: id) else { return false }
        worker.stop(id, grace: grace)
        return true
    }

    /// The worker that has an attempt in hand.
    func worker(of id: AttemptID) -> WorkerProcess? { live.values.first { $0.has(id) } }

    /// What waits for a worker; it is the caller's now.
    func takeWaiting() -> [Attempt] {
        defer { waiting = [] }
        return waiting
    }

    private func placeWaiting() {
        guard !waiting.isEmpty else { return }
        for attempt in takeWaiting() { place(attempt) }
    }

    /// Writes what the turn has gathered for each worker.
    ///
    /// - Returns: Whether there was something.
    func flush() -> Bool {
        guard !touched.isEmpty else { return false }
        for worker in touched { worker.flush() }
        touched.removeAll(keepingCapacity: true)
        return true
    }

    /// Looks what the workers say of themselves.
    ///
    /// - Returns: Whether there will be more to see.
    func look() -> Bool { live.values.reduce(false) { $1.look() || $0 } }

    private func end(_ id: AttemptID, _ result: AttemptResult) { onChange(.report(.ended(id, result))) }

    // MARK: How many

    func resize(to size: Int) {
        self.size = size
        asleep = min(asleep, size)
        fill()
        trim()
    }

    /// Workers that there should be. Where work kills workers, the next one should not have to wait for a start.
    private var wanted: Int { size + (spareUntil > 0 ? 1 : 0) }

    /// Workers that are ready or will be, and are to stay, with the places of those that sleep.
    private var present: Int {
        live.values.count { $0.isReady && departures[$0.pid] == nil } + starting + asleep
    }

    private func fill() {
        guard !isDraining, refill == nil else { return }
        // Forked they will be, as soon as somebody can.
        if zygoteIsComing || zygote.map({ !$0.isReady }) == true { return }
        while present < wanted { addWorker() }
    }

    private func wake() {
        guard asleep > 0 else { return }
        asleep -= 1
        fill()
    }

    private func isLeaving(_ worker: WorkerProcess) -> Bool {
        if !departures.isEmpty, case .leaving = departures[worker.pid] { true } else { false }
    }

    /// Lets workers go while more are ready than there should be: those whose successors have come, else idle ones.
    private func trim() {
        // After every attempt: this is all that it usually costs.
        guard live.count > wanted else { return }
        var surplus = live.values.count { $0.isReady && !isLeaving($0) } - wanted
        for worker in live.values where surplus > 0 {
            guard case .outgoing(let reason) = departures[worker.pid] else { continue }
            dismiss(worker, reason)
            surplus -= 1
        }
        for worker in live.values where surplus > 0 && worker.isReady && worker.isIdle && !isLeaving(worker) {
            dismiss(worker, .surplus)
            surplus -= 1
        }
    }

    private func dismiss(_ worker: WorkerProcess, _ reason: Recycling.Reason) {
        departures[worker.pid] = .leaving(reason)
        worker.drain()
    }

    // MARK: Replacing

    /// Starts a successor; when it is ready this one drains.
    private func replace(_ worker: WorkerProcess, _ reason: Recycling.Reason) {
        guard worker.isReady, departures[worker.pid] == nil, !isDraining else { return }
        departures[worker.pid] = .outgoing(reason)
        fill()
    }

    /// Finds calls that wait where they should not, and the workers that are due. Called now and then.
    func inspect() {
        let now = monotonicNanoseconds()
        for worker in live.values where worker.isReady && !worker.hasEnded {
            worker.attend(at: now) { beside in
                asleep > 0
                    || live.values.contains {
                        $0 !== worker && $0.isReady && !$0.hasEnded && !isLeaving($0)
                            && (beside ? takesBeside($0) && $0.hasRoomBeside : $0.hasRoomInLine)
                    }
            }
        }
        if !isDraining { placeWaiting() }
        let recycling = spec.recycling
        guard spareUntil > 0 || recycling.maxAge != nil || recycling.idle != nil, !isDraining else { return }
        if spareUntil > 0, now > spareUntil {
            spareUntil = 0
            trim()
        }
        for worker in live.values where worker.isReady && departures[worker.pid] == nil {
            if let age = recycling.maxAge, now - worker.readySince > Self.jittered(age.nanoseconds, by: worker.pid) {
                replace(worker, .age)
            } else if let idle = recycling.idle, worker.isIdle, now - worker.busyUntil > idle.nanoseconds {
                asleep += 1
                dismiss(worker, .idle)
            }
        }
    }

    /// Up to a tenth more or less, always the same for the same worker.
    private static func jittered(_ value: Int64, by pid: pid_t) -> Int64 {
        let spread = Int64(UInt32(bitPattern: pid) &* 2_654_435_761 % 2001) - 1000
        return value.adding(saturating: value / 10_000 * spread)
    }

    private func isDue(_ worker: WorkerProcess) -> Bool {
        let bound = spec.recycling.maxJobs
        return bound > 0 && worker.answered >= max(1, Self.jittered(Int64(bound), by: worker.pid))
    }

    // MARK: Workers

    private var child: ChildSpec {
        var limits = options.limits
        limits.softMemoryBytes = spec.recycling.memoryBytes
        return ChildSpec(
            argv: spec.argv, environment: options.environment(spec.environment, adding: Self.variables),
            channel: .socket, work: options.work, limits: limits)
    }

    private func addWorker() {
        starting += 1
        let done: (Result<SpawnedChild, SpawnFailure>) -> Void = { [unowned self] result in
            switch result {
            case .success(let spawned): adopt(spawned)
            case .failure(let failure): startFailed(failure.message)
            }
        }
        if let zygote, zygote.isReady { zygote.fork(done) } else { spawner.spawn(child, on: loop, done: done) }
    }

    private func adopt(_ spawned: SpawnedChild) {
        do throws(LoopError) {
            let worker = try WorkerProcess(
                spawned, of: spec.name, limits: child.limits, on: loop, spawner: spawner
            ) { [unowned self] worker, change in changed(worker, change) }
            live[worker.pid] = worker
            onChange(.report(.childStarted(pid: worker.pid)))
            if isDraining { worker.drain() }
        } catch {
            startFailed(error.description)
        }
    }

    private func changed(_ worker: WorkerProcess, _ change: WorkerProcess.Change) {
        switch change {
        case .ready(let description):
            starting -= 1
            failedStarts = 0
            concurrency = description.concurrency
            if !isDescribed {
                isDescribed = true
                onChange(.described(description))
            }
            placeWaiting()
            trim()
        case .report(.ended(let id, let result)):
            if result.end != .crashed { deaths = 0 }
            if !worker.hasEnded, isDue(worker) { replace(worker, .jobs) }
            // First: what is told of the end may bring others, which are behind them.
            placeWaiting()
            end(id, result)
            trim()
        case .report(let other): onChange(.report(other))
        case .gaveBack(let attempts):
            // Before those that came later.
            let later = takeWaiting()
            for attempt in attempts {
                if isDraining { end(attempt.id, AttemptResult(.returned)) } else { place(attempt) }
            }
            waiting += later
        case .doubted(let what): onChange(.doubted(what))
        case .said(let stream, let text): onChange(.said(worker: worker.name, stream: stream, text: text))
        case .grown: replace(worker, .memory)
        case .ended(let why, let hadWork): ended(worker, why, hadWork)
        }
    }

    private func ended(_ worker: WorkerProcess, _ why: String, _ hadWork: Bool) {
        live[worker.pid] = nil
        onChange(.report(.childEnded(pid: worker.pid)))
        guard !isDraining else {
            if !worker.isReady { starting -= 1 }
            return checkEmpty()
        }
        if case .leaving(let reason) = departures.removeValue(forKey: worker.pid) {
            onChange(.workerEnded(reason, why: why))
            return fill()
        }
        onChange(.workerEnded(.died, why: why))
        guard worker.isReady else { return startFailed(why) }
        // What dies of its work is replaced at once: the work is to blame, and is not tried for ever.
        if hadWork { spareUntil = monotonicNanoseconds() + Self.spareTime } else { deaths += 1 }
        if deaths > Self.deathsBeforePause { pause(deaths - Self.deathsBeforePause) } else { fill() }
    }

    private func startFailed(_ why: String) {
        starting -= 1
        failedStarts += 1
        guard !isDraining else { return checkEmpty() }
        if !isDescribed, live.isEmpty, starting == 0 { onChange(.broken(why: why)) }
        if failedStarts >= Self.startsBeforeGivingUp, live.isEmpty {
            let error = JobError(type: "Crashed", message: "no worker can be started: \(why)")
            for attempt in takeWaiting() { end(attempt.id, AttemptResult(.failed(canRetry: true), error: error)) }
        }
        pause(failedStarts)
    }

    /// Starts what is missing later, after twice the time with each failure.
    private func pause(_ failures: Int) {
        let time = min(Duration.milliseconds(50 << min(failures, 16)), Self.longestPause)
        refill = Deadline(after: time, on: loop) { [unowned self] in
            refill = nil
            fill()
        }
    }

    // MARK: The zygote

    private func startZygote() {
        var child = child
        child.argv.append("--zygote")
        zygoteIsComing = true
        spawner.spawn(child, on: loop) { [unowned self] result in
            zygoteIsComing = false
            do {
                zygote = try Zygote(
                    try result.get(), work: options.work, on: loop, spawner: spawner
                ) { [unowned self] change in
                    switch change {
                    case .ready: fill()
                    case .ended(let why): zygoteEnded(why)
                    }
                }
                if isDraining { zygote?.end() }
            } catch {
                zygoteEnded((error as? SpawnFailure)?.message ?? String(describing: error))
            }
        }
    }

    private func zygoteEnded(_ why: String) {
        zygote = nil
        guard !isDraining else { return checkEmpty() }
        onChange(.zygoteEnded(why: why))
        fill()
    }

    // MARK: Ending

    /// Lets all workers finish what they have; nothing may be placed here any more.
    func drain() {
        isDraining = true
        refill = nil
        zygote?.end()
        for worker in live.values { worker.drain() }
        for attempt in takeWaiting() { end(attempt.id, AttemptResult(.returned)) }
        checkEmpty()
    }

    private func checkEmpty() { if isEmpty { onChange(.empty) } }

    func killAll() { for worker in live.values { worker.killNow() } }
}
