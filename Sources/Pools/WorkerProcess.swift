import CSpindle
import EventLoop
import Glibc
import JSON
import Jobs

/// One warm worker process, as the server sees it: its channel, its output, and the calls it has in hand.
///
/// ```
///   starting ──initialised──► ready ⇄ busy ──► ended
///        └──30 s, or exit──────────────────────► ended
/// ```
///
/// Calls stand in a line: one of them runs, those after it wait in the worker's pipe, and they are answered in order.
/// Concurrent ones run beside the line, all at once, and are answered as they end. Which of them have begun the worker says
/// by its ``WorkerState``; one that says nothing has one call at a time, which begins when it is given.
final class WorkerProcess {
    enum Change {
        case ready(WorkerDescription)
        /// Something about an attempt.
        case report(Report)
        /// It has printed something that is no call's, as far as anybody knows.
        case said(stream: String, text: String)
        /// It has said something that cannot be true; it was cut to what can.
        case doubted(String)
        /// It will never begin what it was given: that is to go elsewhere.
        case gaveBack([Attempt])
        /// It holds more memory than it should.
        case grown
        /// The process is gone; everything in hand has been reported.
        ///
        /// - Parameter hadWork: Whether a call ran: then it is the likely cause.
        case ended(why: String, hadWork: Bool)
    }

    /// From start to the answer to `initialize`.
    static let initialiseTime = Duration.seconds(30)
    /// From its last answer to its exit, when it drains. More than Python's tracker of shared memory has: `TRACKING`, processes.py.
    private static let leaveTime = Duration.seconds(2)
    /// From being given a call, with nothing else to do in its line, to its beginning.
    static let beginningTime: Int64 = 10_000_000_000
    /// From the end of a concurrent call's grace to SIGTERM: in it the worker may interrupt the call once more.
    private static let insistTime = Duration.seconds(1)
    /// What a worker writes besides its attempts is kept for the message about its death, in bytes.
    private static let keptErrors = 2048

    let pid: pid_t
    /// As the API shows it.
    let name: String
    private(set) var isReady = false
    /// Calls that wait for each other.
    var line: [WorkerCall] = []
    var concurrent: [Int: WorkerCall] = [:]
    /// Concurrent calls of which nobody has said that they have begun, in order.
    var unsaidBeside: [WorkerCall] = []
    /// When all that is not said to have begun had not, in nanoseconds.
    var unbegunAt: Int64 = 0
    let state: WorkerState?
    /// Whether calls that have not begun can be taken back.
    private(set) var canWithdraw = false
    let lineWithdrawal = Withdrawal(.withdrawn)
    let besideWithdrawal = Withdrawal(.withdrawnBeside)
    /// Cancelled calls that had not begun then.
    var undecided: [WorkerCall] = []
    /// Whether what runs in its line has run for longer than others are to wait for it.
    var lineIsStuck = false
    /// Whether concurrent calls do not begin, since it was last heard of.
    var loopIsStuck = false
    private let page: StartPage?
    /// Bytes of the outbox that were collected there, because they were not sent for long.
    var collected: UInt64 = 0
    /// How far the outbox was written at the last look.
    var lastWritten: UInt64 = 0
    /// Calls that it has answered.
    private(set) var answered = 0
    /// CPU that was not taken by what is in hand: by its start, and by the calls that were answered; in nanoseconds.
    private(set) var accountedCPU: Int64 = 0
    /// When it became ready, and when it last had something to do, in nanoseconds.
    private(set) var readySince: Int64 = 0
    private(set) var busyUntil: Int64 = 0
    private var isDraining = false
    /// Results that are being read from files.
    private var reading = 0
    /// Not told yet.
    private var death: Change?
    /// Once is enough to look into it.
    private var isDoubted = false
    /// Somebody lets it stand still.
    private(set) var isHeld = false
    private let loop: EventLoop
    private let fleet: String
    let directory: String
    private let limits: ChildLimits
    private let spawner: Spawner
    let onChange: (WorkerProcess, Change) -> Void
    var child: Child!
    var channel: LineReader!
    var output: WorkerOutput!
    var writable: Watch?
    private var out: [UInt8] = []
    private var nextMessage = 1
    var lastErrors = ""
    var startTimer: Deadline?
    /// The limit that it was killed for.
    var excess: JobError?
    var problem: String?

    init(
        _ spawned: SpawnedChild, of fleet: String, limits: ChildLimits, on loop: EventLoop, spawner: Spawner,
        onChange: @escaping (WorkerProcess, Change) -> Void
    ) throws(LoopError) {
        pid = spawned.pid
        name = "worker-\(pid)"
        self.fleet = fleet
        directory = spawned.directory
        state = spawned.state
        page = spawned.page
        self.loop = loop
        self.limits = limits
        self.spawner = spawner
        self.onChange = onChange
        child = try Child(
            spawned, limits: limits, on: loop, spawner: spawner, onExcess: { [unowned self] in exceeded($0) },
            onExit: { [unowned self] in exited($0) })
        channel = try LineReader(
            spawned.takeChannel(), maximumBytes: WorkerProtocol.maximumLine, on: loop,
            onLines: { [unowned self] in
                for line in $0 { receive(line) }
                tellWhatHasBegun()
            }, onProblem: { [unowned self] in channelBroke($0) })
        output = try WorkerOutput(spawned, on: loop) { [unowned self] call, stream, text in
            if let call = call.flatMap({ running($0) }) { log(text, stream, of: call) } else { said(text, stream) }
        }
        out = WorkerProtocol.initialize(id: 0)
        startTimer = Deadline(after: Self.initialiseTime, on: loop) { [unowned self] in
            fail("did not initialise within 30 s")
        }
        flush()
    }

    var hasEnded: Bool { child.hasEnded }
    var isIdle: Bool { line.isEmpty && concurrent.isEmpty && reading == 0 }
    /// Whether quick calls may wait behind those that stand in its line.
    var takesMore: Bool { speaks && !lineIsStuck && !lineWithdrawal.isOpen && line.allSatisfy { $0.attempt.isQuick } }
    /// The job that it works on, or one of them; nil while what it was given has not begun.
    var job: JobID? {
        if let first = line.first, first.isSaidToHaveBegun { return first.attempt.id.job }
        return concurrent.values.first(where: \.isSaidToHaveBegun)?.attempt.id.job
    }

    func has(_ id: AttemptID) -> Bool {
        line.contains { $0.attempt.id == id } || concurrent.values.contains { $0.attempt.id == id }
    }

    // MARK: To the worker

    /// - Returns: Whether there is something to ``flush()`` that was not before.
    func run(_ attempt: Attempt) -> Bool {
        let wasFlushed = out.isEmpty
        let call = WorkerCall(nextMessage, attempt, isConcurrent: attempt.task.isConcurrent)
        nextMessage += 1
        if call.isConcurrent {
            concurrent[call.id] = call
            if speaks { unsaidBeside.append(call) }
        } else {
            line.append(call)
        }
        if let page, speaks {
            attempt.cell.give(to: page, as: call.id, isConcurrent: call.isConcurrent)
        } else {
            attempt.cell.begin()
        }
        output.began(call.id)
        if call.isConcurrent || line.count == 1 { call.started = monotonicNanoseconds() }
        if !speaks { say(call) }
        WorkerProtocol.appendRun(id: call.id, attempt, directory: directory, to: &out)
        return wasFlushed
    }

    /// Asks the worker to end an attempt, and ends the worker when it does not.
    func stop(_ id: AttemptID, grace: Duration) {
        let call = line.first { $0.attempt.id == id } ?? concurrent.values.first { $0.attempt.id == id }
        guard let call, !call.wasCancelled else { return }
        call.wasCancelled = true
        call.cancelledAt = monotonicNanoseconds()
        // What it has in hand beside a concurrent call would be lost with it: the worker gets a chance to insist.
        call.grace = call.isConcurrent ? grace + Self.insistTime : grace
        out.append(contentsOf: WorkerProtocol.cancel(id: call.id, grace: grace))
        flush()
        // One that stands still hears nothing; when it goes on, it is there.
        hold(false)
        // One that still waits in the pipe must not cost those that run their lives.
        if canWithdraw, !hasBegun(call), call !== line.first || !concurrent.isEmpty {
            undecided.append(call)
        } else if call.isConcurrent || call === line.first {
            endWorker(for: call)
        }
    }

    /// Ends the worker if that call has not ended after its grace.
    func endWorker(for call: WorkerCall) {
        call.costsWorker = true
        child.stop(after: call.grace)
    }

    /// Lets the worker finish what it has and exit.
    func drain() {
        guard !isDraining else { return }
        isDraining = true
        out.append(contentsOf: WorkerProtocol.drain)
        flush()
        leaveWhenIdle()
    }

    func leaveWhenIdle() {
        if isDraining, isIdle { child.stop(after: Self.leaveTime) }
    }

    func killNow() { child.killTree() }
    func hold(_ isHeld: Bool) {
        self.isHeld = isHeld
        child.hold(isHeld)
    }
    func signal(_ number: CInt) { child.signal(number) }

    /// Writes what the turn has gathered.
    func flush() {
        guard !out.isEmpty, !channel.isClosed else { return }
        let count = out.withUnsafeBytes { spindle_send(channel.descriptor, $0.baseAddress, $0.count) }
        // A broken channel is reported by reading.
        if count < 0, errno != EAGAIN, errno != EINTR { return out.removeAll() }
        if count == out.count { return out.removeAll(keepingCapacity: true) }
        out.removeFirst(max(count, 0))
        waitUntilWritable()
    }

    private func waitUntilWritable() {
        // Without memory for a watch the next flush tries again.
        guard
            let watch = try? Watch(
                channel.descriptor, for: .writable, on: loop,
                fire: { [unowned self] _ in
                    writable = nil
                    flush()
                }), (try? watch.start()) != nil
        else { return }
        writable = consume watch
    }

    private func exceeded(_ holding: Warden.Holding) {
        guard excess == nil else { return }
        guard let error = limits.excess(of: holding) else { return onChange(self, .grown) }
        excess = error
        child.killTree()
    }

    // MARK: From the worker

    /// - Parameter answersOnly: The line was not sent: what is no answer in it will be.
    func receive(_ line: [UInt8], answersOnly: Bool = false) {
        // After nonsense nothing counts: where a message begins is not known any more.
        guard problem == nil else { return }
        loopIsStuck = false
        let message: WorkerProtocol.Message
        do throws(JSONError) {
            message = try WorkerProtocol.decode(line, isReady: isReady)
        } catch {
            return fail("sent a line that is no JSON: \(error)")
        }
        if answersOnly, !message.isAnswer { return }
        switch message {
        case .initialized(_, let answer): initialised(answer)
        case .result(let id, let value, let file, let usage): succeeded(id, value, file, usage)
        case .error(0, _, let error, _) where !isReady: fail("refused to initialise: \(error.message)")
        case .error(let id, let code, let error, let canRetry):
            guard let call = asked(id) else { return }
            if code == WorkerProtocol.ErrorCode.withdrawn, wasLeft(call) { return }
            // One that was asked to end has no error of its own.
            let isCancelled = code == WorkerProtocol.ErrorCode.cancelled && call.wasCancelled
            let result =
                isCancelled
                ? AttemptResult(.stopped(hasBegun(call) ? .cooperative : .beforeStart))
                : AttemptResult(.failed(canRetry: canRetry), error: error)
            ended(call, result, nil)
        case .progress(let id, let progress):
            if let call = running(id) { tell(.progress(call.attempt.id, progress)) }
        case .output(let id, let json):
            if let call = running(id) { tell(.output(call.attempt.id, json: onOneLine(json))) }
        case .log(let id, let stream, let level, let text):
            if let call = id.flatMap({ running($0) }) {
                log(text, stream, level, of: call)
            } else if id == nil {
                said(text, stream)
            }
        case .ignored: break
        }
    }

    private func initialised(_ answer: JSONValue) {
        do throws(TaskFailure) {
            let description = try WorkerDescription(answer, fleet: fleet, saysBeginnings: speaks)
            isReady = true
            canWithdraw = state?.heeds ?? false
            readySince = monotonicNanoseconds()
            accountedCPU = cpuNanoseconds(of: pid)
            busyUntil = readySince
            startTimer = nil
            onChange(self, .ready(description))
        } catch {
            fail(error.message)
        }
    }

    /// The call that a message is about, if it runs.
    private func running(_ id: Int) -> WorkerCall? {
        guard let call = line.first?.id == id ? line.first : concurrent[id] else { return nil }
        if !call.isSaidToHaveBegun {
            // What was printed before it began is not its own.
            guard hasBegun(call) else { return nil }
            say(call)
        }
        return call
    }

    /// The call that an answer is to; nil for one that has been answered, or was never made.
    private func asked(_ id: Int) -> WorkerCall? {
        if let first = line.first, first.id == id { return first }
        if let first = line.first, line.contains(where: { $0.id == id }) {
            fail("answered call \(id) before call \(first.id), which it had been given first")
        }
        return concurrent[id]
    }

    private func succeeded(_ id: Int, _ value: [UInt8], _ file: String?, _ usage: JSONValue?) {
        guard let call = asked(id) else { return }
        guard let file else { return ended(call, AttemptResult(result: value, of: call.attempt.task), usage) }
        let carrier = ResultCarrier(ResultFile(file, below: directory))
        let task = call.attempt.task
        if !call.isSaidToHaveBegun { say(call) }
        let used = answered(call, usage)
        reading += 1
        spawner.results.run(on: loop) {
            AttemptResult(file: carrier.contents(), named: file, of: task, usage: used)
        } then: { [self] result in
            reading -= 1
            tell(.ended(call.attempt.id, result))
            leaveWhenIdle()
            tellDeath()
        }
        // The worker has answered: it goes on to the next call while this one's file is read.
        goOn(after: call)
    }

    func ended(_ call: WorkerCall, _ result: AttemptResult, _ usage: JSONValue?) {
        if !call.isSaidToHaveBegun, result.end != .stopped(.beforeStart) { say(call) }
        var result = result
        result.usage = answered(call, usage)
        tell(.ended(call.attempt.id, result))
        goOn(after: call)
    }

    private func answered(_ call: WorkerCall, _ usage: JSONValue?) -> Usage {
        takeOut(call)
        var used = Usage(workerReported: usage) { doubt($0) }
        answered += 1
        accountedCPU = accountedCPU.adding(saturating: used.cpuNanoseconds)
        channel.answers += 1
        busyUntil = monotonicNanoseconds()
        used.wallNanoseconds = busyUntil - call.started
        return used
    }

    /// Takes a call out of the worker's hands: it has answered, or never begins it.
    func takeOut(_ call: WorkerCall) {
        output.ended(call.id, isIdle: line.count + concurrent.count == 1)
        if call.isConcurrent {
            concurrent[call.id] = nil
            if concurrent.isEmpty { besideWithdrawal.close() }
        } else {
            if call === line.first { lineIsStuck = false }
            line.removeAll { $0 === call }
            if line.isEmpty { lineWithdrawal.close() }
        }
        if call.costsWorker, !line.contains(where: \.costsWorker), !concurrent.values.contains(where: \.costsWorker) {
            child.keepGoing()
        }
    }

    private func goOn(after call: WorkerCall) {
        if call.isConcurrent || line.isEmpty { leaveWhenIdle() } else { turnComes(at: busyUntil) }
    }

    /// Somebody stands first in the line, perhaps since now.
    func turnComes(at now: Int64) {
        guard let next = line.first else { return }
        if next.started == 0 { next.started = now }
        if next.wasCancelled, !next.costsWorker, !undecided.contains(where: { $0 === next }) {
            next.grace = .seconds(5)
            endWorker(for: next)
        }
    }

    /// The process is gone. Whoever hears of that lets go of us: so results that are still being read go first.
    func died(_ why: String, hadWork: Bool) {
        death = .ended(why: why, hadWork: hadWork)
        tellDeath()
    }

    private func tellDeath() {
        guard reading == 0, let death else { return }
        self.death = nil
        onChange(self, death)
    }

    private func doubt(_ what: String) {
        guard !isDoubted else { return }
        isDoubted = true
        onChange(self, .doubted(what))
    }

    func tell(_ report: Report) { onChange(self, .report(report)) }

    private func log(_ text: String, _ stream: String, _ level: String? = nil, of call: WorkerCall) {
        if stream == "stderr" { call.lastErrors = String((call.lastErrors + text + "\n").suffix(Self.keptErrors)) }
        tell(.log(call.attempt.id, stream: stream, level: level, text: text))
    }

    private func said(_ text: String, _ stream: String) {
        if stream == "stderr" { lastErrors = String((lastErrors + text + "\n").suffix(Self.keptErrors)) }
        onChange(self, .said(stream: stream, text: text))
    }

    private func channelBroke(_ problem: LineReader.Problem) {
        switch problem {
        case .ended: child.stop(after: .milliseconds(100))
        case .tooLong: fail("sent a line over \(WorkerProtocol.maximumLine) bytes")
        }
    }

    func fail(_ why: String) {
        problem = why
        child.killTree()
    }
}

/// What a process that has not been reaped has taken so far.
private func cpuNanoseconds(of pid: pid_t) -> Int64 {
    var clock = clockid_t()
    var taken = timespec()
    guard clock_getcpuclockid(pid, &clock) == 0, clock_gettime(clock, &taken) == 0 else { return 0 }
    return Int64(taken.tv_sec) * 1_000_000_000 + Int64(taken.tv_nsec)
}

/// `Segmentation fault` for 11.
func signalName(_ number: Int) -> String {
    guard let name = strsignal(CInt(number)) else { return "unknown" }
    return String(cString: name)
}

extension Usage {
    init(_ usage: rusage) {
        self.init()
        cpuNanoseconds = usage.cpuNanoseconds
        maxRSSBytes = Int(usage.ru_maxrss) * 1024
        voluntarySwitches = Int(usage.ru_nvcsw)
        involuntarySwitches = Int(usage.ru_nivcsw)
    }
}
