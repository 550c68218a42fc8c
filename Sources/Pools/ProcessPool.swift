import EventLoop
import Glibc
import Jobs

/// How the process pool is made.
package struct ProcessPoolOptions: Sendable {
    /// Attempts that run at once, in workers and as commands together.
    package var slots: Int
    /// The warm workers' program and arguments.
    package var workerArguments: [String]
    /// Working directories of children are made here.
    package var directoryRoot: String
    package var limits = ChildLimits()
    /// Put into every child's environment.
    package var variables: [String: String] = [:]

    package init(slots: Int, workerArguments: [String], directoryRoot: String) {
        self.slots = slots
        self.workerArguments = workerArguments
        self.directoryRoot = directoryRoot
    }
}

/// Attempts in child processes: functions in warm workers, commands each in a child of its own. For what may crash, leak,
/// or must be killed.
///
/// ```
///   start ─► function ─► an idle worker, or the pipe of one with quick work ─► result, or its death
///        └─► command ──► spawner ─► child ─► exit
/// ```
package final class ProcessPool: Pool {
    private static let watchInterval = Duration.milliseconds(100)
    /// After this many workers in a row that never became ready, what waits for one fails.
    private static let startsBeforeGivingUp = 5

    /// A crash is to be noticed at once: Swift's own backtracer would hold the dying process for seconds.
    private static let workerVariables = ["SPINDLE_FD": "3", "SWIFT_BACKTRACE": "enable=no"]

    package let name = PoolName.process
    package let slots: Int
    package let ahead = 7
    package let unavailable: String? = nil

    private let options: ProcessPoolOptions
    private let loop: EventLoop
    private let spawner = Spawner()
    private let report: (Report) -> Void
    /// Told when a worker dies by itself, with the reason.
    private let onWorkerDeath: (String) -> Void
    private var live: [pid_t: WorkerProcess] = [:]
    private var commands: [AttemptID: CommandRun] = [:]
    /// Commands whose child is being made.
    private var making: [AttemptID: Attempt] = [:]
    private var stoppedEarly: Set<AttemptID> = []
    private var waiting: [Attempt] = []
    private var startingWorkers = 0
    private var failedStarts = 0
    private var touched: Set<pid_t> = []
    private var childSignal: SignalWatch?
    private var watchdog: Timer?
    private var respawn: Deadline?
    private var whenIdle: (() -> Void)?

    package init(
        _ options: ProcessPoolOptions, on loop: EventLoop, report: @escaping (Report) -> Void,
        onWorkerDeath: @escaping (String) -> Void
    ) throws {
        self.options = options
        slots = options.slots
        self.loop = loop
        self.report = report
        self.onWorkerDeath = onWorkerDeath
        guard mkdir(options.directoryRoot, 0o700) == 0 || errno == EEXIST else {
            throw SpawnFailure(
                message: "cannot make \(options.directoryRoot): \(String(cString: strerror(errno)))")
        }
        childSignal = try SignalWatch(SIGCHLD, on: loop) { [spawner] in spawner.reapStrays() }
        let timer = try Timer(on: loop) { [unowned self] in watch() }
        try timer.arm(after: Self.watchInterval)
        watchdog = consume timer
        loop.atEndOfTurn { [unowned self] in flush() }
        for _ in 0..<slots { addWorker() }
    }

    package var workers: [WorkerStatus] {
        let warm = live.values.sorted { $0.pid < $1.pid }.map { worker in
            let state: WorkerStatus.State = !worker.isReady ? .starting : worker.inHand.isEmpty ? .idle : .busy
            return WorkerStatus(
                id: "worker-\(worker.pid)", pid: Int(worker.pid), state: state, job: worker.inHand.first?.id.job)
        }
        let running = commands.values.sorted { $0.pid < $1.pid }.map { run in
            WorkerStatus(id: "command-\(run.pid)", pid: Int(run.pid), state: .busy, job: run.attempt.id.job)
        }
        return warm + running
    }

    package func start(_ attempt: Attempt) {
        switch attempt.task.body {
        case .function: place(attempt)
        case .command(let command): launch(attempt, command)
        }
    }

    package func stop(_ id: AttemptID, grace: Duration) {
        if let index = waiting.firstIndex(where: { $0.id == id }) {
            waiting.remove(at: index)
            return end(id, AttemptResult(.stopped(.beforeStart)))
        }
        if making[id] != nil {
            stoppedEarly.insert(id)
        } else if let run = commands[id] {
            run.stop()
        } else {
            live.values.first { $0.inHand.contains { $0.id == id } }?.stop(id, grace: grace)
        }
    }

    package func shutDown(_ done: @escaping () -> Void) {
        whenIdle = done
        respawn = nil
        for worker in live.values { worker.drain() }
        for run in commands.values { run.stop() }
        for attempt in waiting { end(attempt.id, AttemptResult(.returned)) }
        waiting = []
        checkIdle()
    }

    /// Kills every child at once: for a server that was told twice to stop.
    package func killAll() {
        for worker in live.values { worker.killNow() }
        for run in commands.values { run.killNow() }
    }

    // MARK: Workers

    private func addWorker() {
        startingWorkers += 1
        let spec = ChildSpec(
            argv: options.workerArguments, environment: environment(Self.workerVariables),
            channel: .socket,
            directoryRoot: options.directoryRoot, limits: options.limits)
        spawner.spawn(spec, on: loop) { [unowned self] result in
            switch result {
            case .success(let spawned): adopt(spawned)
            case .failure(let failure): workerStartFailed(failure.message)
            }
        }
    }

    private func adopt(_ spawned: SpawnedChild) {
        do throws(LoopError) {
            let worker = try WorkerProcess(spawned, limits: options.limits, on: loop, spawner: spawner) {
                [unowned self] worker, change in changed(worker, change)
            }
            live[worker.pid] = worker
            report(.childStarted(pid: worker.pid))
            if whenIdle != nil { worker.drain() }
        } catch {
            kill(-spawned.pid, SIGKILL)
            workerStartFailed(error.description)
        }
    }

    private func changed(_ worker: WorkerProcess, _ change: WorkerProcess.Change) {
        switch change {
        case .ready:
            startingWorkers -= 1
            failedStarts = 0
            placeWaiting()
        case .report(.ended(let id, let result)):
            // A function may end the process in its last breath: then there is nothing to hand to it.
            end(id, result)
            placeWaiting()
        case .report(let other): report(other)
        case .ended(let why):
            live[worker.pid] = nil
            report(.childEnded(pid: worker.pid))
            guard whenIdle == nil else { return checkIdle() }
            onWorkerDeath(why)
            if worker.isReady {
                addWorker()
            } else {
                workerStartFailed(why)
            }
        }
    }

    private func workerStartFailed(_ why: String) {
        startingWorkers -= 1
        failedStarts += 1
        guard whenIdle == nil else { return checkIdle() }
        if failedStarts >= Self.startsBeforeGivingUp, live.isEmpty {
            let error = JobError(type: "Crashed", message: "no worker can be started: \(why)")
            let failed = waiting
            waiting = []
            for attempt in failed { end(attempt.id, AttemptResult(.failed(canRetry: true), error: error)) }
        }
        let pause = Duration.milliseconds(100 * (1 << min(failedStarts, 8)))
        respawn = Deadline(after: pause, on: loop) { [unowned self] in
            while live.count + startingWorkers < slots { addWorker() }
        }
    }

    private func place(_ attempt: Attempt) {
        // Fewest in hand first: an idle one if there is any.
        let ready = live.values.filter { $0.isReady && !$0.hasEnded }
        guard let worker = ready.min(by: { $0.inHand.count < $1.inHand.count }), worker.inHand.count <= ahead else {
            waiting.append(attempt)
            return
        }
        worker.run(attempt)
        touched.insert(worker.pid)
        report(.placed(attempt.id, worker: "worker-\(worker.pid)"))
    }

    private func placeWaiting() {
        let attempts = waiting
        waiting = []
        for attempt in attempts { place(attempt) }
    }

    private func flush() {
        guard !touched.isEmpty else { return }
        for pid in touched { live[pid]?.flush() }
        touched.removeAll(keepingCapacity: true)
    }

    // MARK: Commands

    private func launch(_ attempt: Attempt, _ command: CommandDefinition) {
        do throws(TaskFailure) {
            var argv = try command.arguments(for: attempt.input)
            argv[0] = try findExecutable(argv[0])
            let variables = command.environment.merging(
                [
                    "SPINDLE_FD": "3", "SPINDLE_JOB": attempt.id.job.description,
                    "SPINDLE_ATTEMPT": String(attempt.id.number),
                ]
            ) { _, ours in ours }
            let spec = ChildSpec(
                argv: argv, environment: environment(variables), channel: .pipe,
                directoryRoot: options.directoryRoot, limits: options.limits)
            making[attempt.id] = attempt
            // The pid follows when there is one; whoever watches wants to know now.
            report(.placed(attempt.id, worker: "command"))
            spawner.spawn(spec, on: loop) { [unowned self] result in made(attempt, command, result) }
        } catch {
            end(attempt.id, AttemptResult(failure: error))
        }
    }

    private func made(
        _ attempt: Attempt, _ command: CommandDefinition, _ result: Result<SpawnedChild, SpawnFailure>
    ) {
        making[attempt.id] = nil
        do {
            let spawned = try result.get()
            let run = try CommandRun(
                attempt, command, spawned, limits: options.limits, on: loop, spawner: spawner, report: report
            ) { [unowned self] run, result in
                commands[run.attempt.id] = nil
                report(.childEnded(pid: run.pid))
                end(run.attempt.id, result)
                checkIdle()
            }
            commands[attempt.id] = run
            report(.childStarted(pid: run.pid))
            report(.placed(attempt.id, worker: "command-\(run.pid)"))
            if stoppedEarly.remove(attempt.id) != nil || whenIdle != nil { run.stop() }
        } catch {
            stoppedEarly.remove(attempt.id)
            let message = (error as? SpawnFailure)?.message ?? String(describing: error)
            end(attempt.id, AttemptResult(.failed(canRetry: true), error: JobError(type: "Crashed", message: message)))
        }
    }

    // MARK: Both

    private func environment(_ variables: [String: String]) -> [String] {
        childEnvironment(adding: variables.merging(options.variables) { _, ours in ours })
    }

    private func end(_ id: AttemptID, _ result: AttemptResult) { report(.ended(id, result)) }

    private func watch() {
        for worker in live.values { worker.checkMemory() }
        for run in commands.values { run.checkMemory() }
        // The event exists since init; arming it again allocates nothing.
        try? watchdog?.arm(after: Self.watchInterval)
    }

    private func checkIdle() {
        guard let done = whenIdle, live.isEmpty, commands.isEmpty, making.isEmpty else { return }
        whenIdle = nil
        removeDirectory(options.directoryRoot)
        done()
    }
}

/// The allow-list of the environment that children see, with `extra`.
func childEnvironment(adding extra: [String: String]) -> [String] {
    var variables = extra
    for name in ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"] where variables[name] == nil {
        if let value = getenv(name) { variables[name] = String(cString: value) }
    }
    return variables.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
}

/// The path of a program, by `PATH` if its name has no slash.
package func findExecutable(_ name: String) throws(TaskFailure) -> String {
    if name.contains("/") { return name }
    let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin"
    for directory in path.split(separator: ":") {
        let candidate = "\(directory)/\(name)"
        if access(candidate, X_OK) == 0 { return candidate }
    }
    throw TaskFailure(type: "InvalidInput", message: "there is no program \"\(name)\" in PATH", canRetry: false)
}
