import EventLoop
import Glibc
import Jobs

/// How the process pool is made.
package struct ProcessPoolOptions: Sendable {
    /// Attempts that run at once, in workers and as commands together; also the workers of each fleet.
    package var slots: Int
    package var fleets: [WorkerFleet]
    /// Where children have their directories; nil: nothing can be started.
    package var work: WorkDirectory?
    package var limits = ChildLimits()
    /// The server's name, by which the next one finds what was left: a random number of 64 bits to base 36.
    package var owner: String?
    /// Where it is kept which attempts have not begun; nil: nowhere.
    package var starts: StartList?
    /// Quick attempts that may wait in a worker's pipe.
    var ahead = 7

    package init(slots: Int, fleets: [WorkerFleet], work: WorkDirectory?) {
        self.slots = slots
        self.fleets = fleets
        self.work = work
    }

    /// What a child sees: what it is given, what of ours every child may see, and what is put into all.
    func environment(_ given: Environment, adding more: [String: String]) -> Environment {
        var all = given
        for name in ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"] where !all.has(name) { all.inherit(name) }
        return all.adding(more).adding(owner.map { [Orphans.variable: $0] } ?? [:])
    }
}

/// What the pool tells besides reports about attempts.
package enum ProcessPoolNotice: Sendable {
    /// A fleet's tasks are known.
    case described(fleet: String, WorkerDescription)
    /// A fleet's workers do not start; if there was one of its name before, that one stays.
    case broken(fleet: String, why: String)
    /// A fleet has no place in the configuration any more.
    case removed(fleet: String)
    case workerEnded(Recycling.Reason, why: String)
    /// A worker of the fleet has said what cannot be true.
    case doubted(fleet: String, what: String)
    /// A worker has printed something that is no job's, as far as anybody knows.
    case said(worker: String, stream: String, text: String)
    /// A fleet's workers are started, not forked.
    case zygoteEnded(fleet: String, why: String)
}

/// Attempts in child processes: functions in warm workers, commands each in a child of its own. For what may crash, leak,
/// or must be killed.
///
/// ```
///   start ─► function ─► its fleet ─► an idle worker, or the pipe of one with quick work ─► result, or its death
///        └─► command ──► spawner ─► child ─► exit
/// ```
package final class ProcessPool: Pool {
    private static let watchInterval = Duration.milliseconds(100)
    /// Between giving a worker something and looking whether it has begun, and between looks, twice as long each time.
    private static let firstLook = Duration.milliseconds(1)
    private static let longestLook = Duration.milliseconds(8)

    package let name = PoolName.process
    package private(set) var slots: Int
    package let unavailable: String? = nil

    private let options: ProcessPoolOptions
    private let loop: EventLoop
    private let spawner: Spawner
    private let report: (Report) -> Void
    /// Those that attempts go to.
    private var fleets: [String: Fleet] = [:]
    /// Successors that have not yet said what they can do.
    private var incoming: [String: Fleet] = [:]
    /// Predecessors that finish what they have.
    private var outgoing: [Fleet] = []
    private let notice: (ProcessPoolNotice) -> Void
    private var commands: [AttemptID: CommandRun] = [:]
    /// Commands whose child is being made.
    private var making: [AttemptID: Attempt] = [:]
    private var stoppedEarly: Set<AttemptID> = []
    private var childSignal: SignalWatch?
    private var watchdog: Timer?
    /// Looks what workers say that has begun; while there is something to learn.
    private var looker: Timer?
    private var lookDelay = Duration.zero
    private var wasBusy = false
    private var whenIdle: (() -> Void)?

    package init(
        _ options: ProcessPoolOptions, on loop: EventLoop, report: @escaping (Report) -> Void,
        notice: @escaping (ProcessPoolNotice) -> Void
    ) throws {
        self.options = options
        slots = options.slots
        spawner = Spawner(owner: options.owner, options.starts)
        self.loop = loop
        self.report = report
        self.notice = notice
        childSignal = try SignalWatch(SIGCHLD, on: loop) { [spawner] in spawner.reapStrays() }
        let timer = try Timer(on: loop) { [unowned self] in watch() }
        try timer.arm(after: Self.watchInterval)
        watchdog = consume timer
        looker = try Timer(on: loop) { [unowned self] in look() }
        loop.atEndOfTurn { [unowned self] in
            var hasGiven = false
            for fleet in fleets.values where fleet.flush() { hasGiven = true }
            for fleet in outgoing where fleet.flush() { hasGiven = true }
            if hasGiven { lookSoon() }
        }
        for spec in options.fleets {
            let fleet = open(spec)
            fleets[spec.name] = fleet
            fleet.begin()
        }
    }

    private func open(_ spec: WorkerFleet) -> Fleet {
        // The fleet calls back only after it is there.
        weak var opened: Fleet?
        let fleet = Fleet(spec, size: slots, options, on: loop, spawner: spawner) { [unowned self] change in
            if let opened { changed(opened, change) }
        }
        opened = fleet
        return fleet
    }

    private func changed(_ fleet: Fleet, _ change: Fleet.Change) {
        let name = fleet.spec.name
        switch change {
        case .report(let report): self.report(report)
        case .described(let description):
            if incoming[name] === fleet { promote(fleet) }
            notice(.described(fleet: name, description))
        case .broken(let why):
            if incoming[name] === fleet {
                incoming[name] = nil
                retire(fleet)
            }
            notice(.broken(fleet: name, why: why))
        case .doubted(let what): notice(.doubted(fleet: name, what: what))
        case .said(let worker, let stream, let text): notice(.said(worker: worker, stream: stream, text: text))
        case .workerEnded(let reason, let why): notice(.workerEnded(reason, why: why))
        case .zygoteEnded(let why): notice(.zygoteEnded(fleet: name, why: why))
        case .empty:
            outgoing.removeAll { $0 === fleet }
            checkIdle()
        }
    }

    // MARK: Another configuration

    /// Starts all these fleets anew, and ends those that are not among them; the built-in one stays as it is.
    ///
    /// Each old fleet works until the first worker of its successor is ready, and finishes what it has.
    package func reload(_ specs: [WorkerFleet]) {
        guard whenIdle == nil else { return }
        for spec in specs where spec.name != WorkerFleet.builtIn {
            if let other = incoming[spec.name] { retire(other) }
            let fleet = open(spec)
            incoming[spec.name] = fleet
            fleet.begin()
        }
        let names = Set(specs.map(\.name) + [WorkerFleet.builtIn])
        for (name, fleet) in fleets where !names.contains(name) {
            fleets[name] = nil
            for attempt in fleet.takeWaiting() { endWithoutTask(attempt) }
            retire(fleet)
            notice(.removed(fleet: name))
        }
    }

    private func promote(_ fleet: Fleet) {
        let name = fleet.spec.name
        incoming[name] = nil
        let old = fleets[name]
        fleets[name] = fleet
        fleet.resize(to: slots)
        for attempt in old?.takeWaiting() ?? [] { fleet.place(attempt) }
        if let old { retire(old) }
    }

    private func retire(_ fleet: Fleet) {
        outgoing.append(fleet)
        fleet.drain()
    }

    /// Its worker is gone with the configuration that named it.
    private func endWithoutTask(_ attempt: Attempt) {
        let message = "there is no task \"\(attempt.task.name)\" any more"
        end(attempt.id, AttemptResult(.failed(canRetry: false), error: JobError(type: "UnknownTask", message: message)))
    }

    private func place(_ attempt: Attempt, in fleet: String) {
        if let fleet = fleets[fleet] { fleet.place(attempt) } else { endWithoutTask(attempt) }
    }

    // MARK: What the pool promises

    package var ahead: Int { options.ahead }

    /// Concurrent attempts that all workers together take at once.
    package var lightSlots: Int {
        fleets.values.reduce(0) { $0 + ($1.concurrency > 1 ? $1.concurrency * $1.size : 0) }
    }

    package var workers: [WorkerStatus] {
        let warm = running.sorted { $0.spec.name < $1.spec.name }.flatMap(\.statuses)
        let running = commands.values.sorted { $0.pid < $1.pid }.map { run in
            WorkerStatus(id: "command-\(run.pid)", pid: Int(run.pid), state: .busy, job: run.attempt.id.job)
        }
        return warm + running
    }

    package func start(_ attempt: Attempt) {
        switch attempt.task.body {
        case .function: place(attempt, in: WorkerFleet.builtIn)
        case .worker(let fleet, _, _): place(attempt, in: fleet)
        case .command(let command): launch(attempt, command)
        }
    }

    package func stop(_ id: AttemptID, grace: Duration) {
        if making[id] != nil {
            stoppedEarly.insert(id)
        } else if let run = commands[id] {
            run.stop(patience: grace)
        } else {
            _ = running.first { $0.stop(id, grace: grace) }
        }
    }

    package func resize(to slots: Int) -> Bool {
        self.slots = slots
        for fleet in fleets.values { fleet.resize(to: slots) }
        return true
    }

    package func hold(_ id: AttemptID, _ isHeld: Bool) {
        commands[id]?.hold(isHeld)
        worker(of: id)?.hold(isHeld)
    }

    package func signal(_ id: AttemptID, _ number: CInt) -> Bool {
        if let run = commands[id] {
            run.signal(number)
        } else if let worker = worker(of: id) {
            worker.signal(number)
        } else {
            return false
        }
        return true
    }

    package func write(_ bytes: [UInt8], closing: Bool, to id: AttemptID) -> InputAnswer {
        commands[id]?.write(bytes, closing: closing) ?? .closed
    }

    /// All fleets that may have an attempt in hand.
    private var running: [Fleet] { Array(fleets.values) + outgoing }

    private func worker(of id: AttemptID) -> WorkerProcess? {
        for fleet in running {
            if let worker = fleet.worker(of: id) { return worker }
        }
        return nil
    }

    package func shutDown(_ done: @escaping () -> Void) {
        whenIdle = done
        for fleet in running + incoming.values { fleet.drain() }
        for run in commands.values { run.stop() }
        checkIdle()
    }

    /// Kills every child at once: for a server that was told twice to stop.
    package func killAll() {
        for fleet in running + incoming.values { fleet.killAll() }
        for run in commands.values { run.killNow() }
    }

    // MARK: Commands

    private func launch(_ attempt: Attempt, _ command: CommandDefinition) {
        do throws(TaskFailure) {
            var argv = try command.arguments(for: attempt.input.value)
            argv[0] = try findExecutable(argv[0])
            let variables = [
                "SPINDLE_FD": "3", "SPINDLE_JOB": attempt.id.job.description, "SPINDLE_ATTEMPT": String(attempt.number),
            ]
            let spec = ChildSpec(
                argv: argv, environment: options.environment(command.environment, adding: variables), channel: .pipe,
                takesInput: command.takesInput, work: options.work, limits: options.limits)
            making[attempt.id] = attempt
            attempt.cell.begin()
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
            report(.began(attempt.id, worker: "command-\(run.pid)", at: 0))
            if stoppedEarly.remove(attempt.id) != nil || whenIdle != nil { run.stop() }
        } catch {
            stoppedEarly.remove(attempt.id)
            let failure = error as? SpawnFailure
            let message = failure?.message ?? String(describing: error)
            // What is too long for a program now is so at every attempt.
            let isTooLong = failure?.code == E2BIG
            let type = isTooLong ? "InvalidInput" : "Crashed"
            end(attempt.id, AttemptResult(.failed(canRetry: !isTooLong), error: JobError(type: type, message: message)))
        }
    }

    // MARK: Both

    private func end(_ id: AttemptID, _ result: AttemptResult) { report(.ended(id, result)) }

    /// Workers have got something: what they begin is soon to be seen.
    private func lookSoon() {
        guard lookDelay == .zero else { return }
        lookDelay = Self.firstLook
        // The event exists since init; arming it again allocates nothing.
        try? looker?.arm(after: lookDelay)
    }

    private func look() {
        let isMore = running.reduce(false) { $1.look() || $0 }
        lookDelay = isMore ? min(lookDelay * 2, Self.longestLook) : .zero
        // As above.
        if isMore { try? looker?.arm(after: lookDelay) }
    }

    private func watch() {
        for fleet in running { fleet.inspect() }
        if let work = options.work, work.isGone {
            let directories = running.flatMap(\.live.values).map(\.directory)
            // Where that cannot be, the next child says why.
            try? work.restore(with: directories.compactMap { $0.cut(atLast: "/").map { String($0.after) } })
        }
        let isBusy = !commands.isEmpty || running.contains(where: \.isBusy)
        // And once after the last attempt, for what it may have left in its worker's memory.
        if isBusy || wasBusy { spawner.warden.look() }
        wasBusy = isBusy
        // The event exists since init; arming it again allocates nothing.
        try? watchdog?.arm(after: Self.watchInterval)
    }

    private func checkIdle() {
        guard let done = whenIdle, commands.isEmpty, making.isEmpty,
            (running + incoming.values).allSatisfy(\.isEmpty)
        else { return }
        whenIdle = nil
        done()
    }
}

/// The path of a program, by `PATH` if its name has no slash.
package func findExecutable(_ name: String) throws(TaskFailure) -> String {
    if name.holds("/") { return name }
    let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin"
    for directory in path.parts(at: ":") {
        let candidate = "\(directory)/\(name)"
        var status = stat()
        // A directory can be entered, which is what X_OK says of it.
        guard stat(candidate, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { continue }
        if access(candidate, X_OK) == 0 { return candidate }
    }
    throw TaskFailure(type: "InvalidInput", message: "there is no program \"\(name)\" in PATH", canRetry: false)
}
