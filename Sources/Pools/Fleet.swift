import EventLoop
import Glibc
import Jobs

/// The running workers of one ``WorkerFleet``: kept at their number, given what fits them.
///
/// Loop-confined.
final class Fleet {
    /// After this many workers in a row that never became ready, what waits for one fails.
    private static let startsBeforeGivingUp = 5
    /// A crash is to be noticed at once: Swift's own backtracer would hold the dying process for seconds.
    private static let variables = ["SPINDLE_FD": "3", "SWIFT_BACKTRACE": "enable=no"]

    enum Change {
        case report(Report)
        /// The first worker has said what it can do; again after each change of that.
        case described(WorkerDescription)
        /// No worker has ever started.
        case broken(why: String)
        /// A worker has ended by itself.
        case workerEnded(why: String)
        /// After ``drain()``: the last worker is gone.
        case empty
    }

    let spec: WorkerFleet
    private(set) var size: Int
    private(set) var live: [pid_t: WorkerProcess] = [:]
    private(set) var concurrency = 1
    private let options: ProcessPoolOptions
    private let loop: EventLoop
    private let spawner: Spawner
    private let onChange: (Change) -> Void
    private var waiting: [Attempt] = []
    private var starting = 0
    private var failedStarts = 0
    private var isDescribed = false
    private var isDraining = false
    private var touched: Set<pid_t> = []
    /// Workers that were drained because there were too many.
    private var retiring: Set<pid_t> = []
    private var respawn: Deadline?

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

    func begin() { for _ in 0..<size { addWorker() } }

    var isEmpty: Bool { live.isEmpty && starting == 0 }

    var statuses: [WorkerStatus] {
        live.values.sorted { $0.pid < $1.pid }.map { worker in
            let state: WorkerStatus.State = !worker.isReady ? .starting : worker.isIdle ? .idle : .busy
            return WorkerStatus(id: "worker-\(worker.pid)", pid: Int(worker.pid), state: state, job: worker.job)
        }
    }

    // MARK: Attempts

    /// Hands an attempt to the worker that has least to do; it waits here while none is ready or all have enough.
    func place(_ attempt: Attempt) {
        let isConcurrent = attempt.task.isConcurrent
        func load(_ worker: WorkerProcess) -> Int { isConcurrent ? worker.concurrent.count : worker.line.count }
        let ready = live.values.filter { $0.isReady && !$0.hasEnded && !retiring.contains($0.pid) }
        guard let worker = ready.min(by: { load($0) < load($1) }),
            load(worker) < (isConcurrent ? concurrency : options.ahead + 1)
        else {
            waiting.append(attempt)
            return
        }
        worker.run(attempt)
        touched.insert(worker.pid)
        onChange(.report(.placed(attempt.id, worker: "worker-\(worker.pid)")))
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

    private func placeWaiting() {
        let attempts = waiting
        waiting = []
        for attempt in attempts { place(attempt) }
    }

    /// Writes what the turn has gathered for each worker.
    func flush() {
        guard !touched.isEmpty else { return }
        for pid in touched { live[pid]?.flush() }
        touched.removeAll(keepingCapacity: true)
    }

    private func end(_ id: AttemptID, _ result: AttemptResult) { onChange(.report(.ended(id, result))) }

    // MARK: Workers

    func resize(to size: Int) {
        self.size = size
        while present < size { addWorker() }
        trim()
    }

    /// Workers that are ready or will be, and are to stay.
    private var present: Int { live.values.count { $0.isReady } + starting - retiring.count }

    /// Lets idle workers go while there are more than there should be.
    private func trim() {
        // After every attempt: this is all that it usually costs.
        guard live.count > size else { return }
        for worker in live.values where present > size {
            guard worker.isReady, worker.isIdle, !retiring.contains(worker.pid) else { continue }
            retiring.insert(worker.pid)
            worker.drain()
        }
    }

    private func addWorker() {
        starting += 1
        let variables = spec.environment.merging(Self.variables) { _, ours in ours }
        let child = ChildSpec(
            argv: spec.argv, environment: options.environment(adding: variables), channel: .socket,
            directoryRoot: options.directoryRoot, limits: options.limits)
        spawner.spawn(child, on: loop) { [unowned self] result in
            switch result {
            case .success(let spawned): adopt(spawned)
            case .failure(let failure): startFailed(failure.message)
            }
        }
    }

    private func adopt(_ spawned: SpawnedChild) {
        do throws(LoopError) {
            let worker = try WorkerProcess(
                spawned, of: spec.name, limits: options.limits, on: loop, spawner: spawner
            ) { [unowned self] worker, change in changed(worker, change) }
            live[worker.pid] = worker
            onChange(.report(.childStarted(pid: worker.pid)))
            if isDraining { worker.drain() }
        } catch {
            kill(-spawned.pid, SIGKILL)
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
            end(id, result)
            placeWaiting()
            trim()
        case .report(let other): onChange(.report(other))
        case .ended(let why): ended(worker, why)
        }
    }

    private func ended(_ worker: WorkerProcess, _ why: String) {
        live[worker.pid] = nil
        onChange(.report(.childEnded(pid: worker.pid)))
        guard !isDraining else {
            if !worker.isReady { starting -= 1 }
            return checkEmpty()
        }
        guard retiring.remove(worker.pid) == nil else { return }
        onChange(.workerEnded(why: why))
        if worker.isReady { addWorker() } else { startFailed(why) }
    }

    private func startFailed(_ why: String) {
        starting -= 1
        failedStarts += 1
        guard !isDraining else { return checkEmpty() }
        if !isDescribed, live.isEmpty, starting == 0 { onChange(.broken(why: why)) }
        if failedStarts >= Self.startsBeforeGivingUp, live.isEmpty {
            let error = JobError(type: "Crashed", message: "no worker can be started: \(why)")
            let failed = waiting
            waiting = []
            for attempt in failed { end(attempt.id, AttemptResult(.failed(canRetry: true), error: error)) }
        }
        let pause = Duration.milliseconds(100 * (1 << min(failedStarts, 8)))
        respawn = Deadline(after: pause, on: loop) { [unowned self] in
            while present < size { addWorker() }
        }
    }

    // MARK: Ending

    func drain() {
        isDraining = true
        respawn = nil
        for worker in live.values { worker.drain() }
        for attempt in waiting { end(attempt.id, AttemptResult(.returned)) }
        waiting = []
        checkEmpty()
    }

    private func checkEmpty() { if isEmpty { onChange(.empty) } }

    func killAll() { for worker in live.values { worker.killNow() } }
    func checkMemory() { for worker in live.values { worker.checkMemory() } }
}
