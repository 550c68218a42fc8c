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
/// Calls stand in a line: the first of them runs, the others wait in the worker's pipe, and they are answered in order.
/// Concurrent ones run beside the line, all at once, and are answered as they end.
final class WorkerProcess {
    enum Change {
        case ready(WorkerDescription)
        /// Something about an attempt.
        case report(Report)
        /// It has said something that cannot be true; it was cut to what can.
        case doubted(String)
        /// It holds more memory than it should.
        case grown
        /// The process is gone; everything in hand has been reported.
        ///
        /// - Parameter hadWork: Whether a call ran: then it is the likely cause.
        case ended(why: String, hadWork: Bool)
    }

    /// From start to the answer to `initialize`.
    static let initialiseTime = Duration.seconds(30)
    /// From its last answer to its exit, when it drains.
    private static let leaveTime = Duration.seconds(2)
    /// What a worker writes besides its attempts is kept for the message about its death, in bytes.
    private static let keptErrors = 2048

    let pid: pid_t
    /// As the API shows it.
    let name: String
    private(set) var isReady = false
    /// Calls that wait for each other; the first one runs.
    private(set) var line: [WorkerCall] = []
    private(set) var concurrent: [Int: WorkerCall] = [:]
    /// Calls that it has answered.
    private(set) var answered = 0
    /// When it became ready, and when it last had something to do, in nanoseconds.
    private(set) var readySince: Int64 = 0
    private(set) var busyUntil: Int64 = 0
    private var isDraining = false
    /// Results that are being read from files.
    private var reading = 0
    /// Once is enough to look into it.
    private var isDoubted = false
    private let loop: EventLoop
    private let fleet: String
    private let directory: String
    private let limits: ChildLimits
    private let spawner: Spawner
    private let onChange: (WorkerProcess, Change) -> Void
    private var child: Child!
    private var channel: LineReader!
    private var output: LineReader!
    private var errors: LineReader!
    private var writable: Watch?
    private var out: [UInt8] = []
    private var nextMessage = 1
    private var lastErrors = ""
    private var startTimer: Deadline?
    /// The limit that it was killed for.
    private var excess: JobError?
    private var problem: String?

    init(
        _ spawned: SpawnedChild, of fleet: String, limits: ChildLimits, on loop: EventLoop, spawner: Spawner,
        onChange: @escaping (WorkerProcess, Change) -> Void
    ) throws(LoopError) {
        pid = spawned.pid
        name = "worker-\(pid)"
        self.fleet = fleet
        directory = spawned.directory
        self.loop = loop
        self.limits = limits
        self.spawner = spawner
        self.onChange = onChange
        child = try Child(
            spawned, limits: limits, on: loop, spawner: spawner, onExcess: { [unowned self] in exceeded($0) },
            onExit: { [unowned self] in exited($0) })
        channel = try LineReader(
            spawned.channel, maximumBytes: WorkerProtocol.maximumLine, on: loop,
            onLines: { [unowned self] in for line in $0 { receive(line) } },
            onProblem: { [unowned self] in channelBroke($0) })
        output = try LineReader(
            spawned.output, maximumBytes: WorkerProtocol.maximumLine, on: loop,
            onLines: { [unowned self] in log($0, "stdout") }, onProblem: { _ in })
        errors = try LineReader(
            spawned.errors, maximumBytes: WorkerProtocol.maximumLine, on: loop,
            onLines: { [unowned self] in log($0, "stderr") }, onProblem: { _ in })
        out = WorkerProtocol.initialize(id: 0)
        startTimer = Deadline(after: Self.initialiseTime, on: loop) { [unowned self] in
            fail("did not initialise within 30 s")
        }
        flush()
    }

    var hasEnded: Bool { child.hasEnded }
    var isIdle: Bool { line.isEmpty && concurrent.isEmpty && reading == 0 }
    /// Whether all that stands in its line is quick.
    var isQuick: Bool { line.allSatisfy(\.attempt.isQuick) }
    /// The job that it works on, or one of them.
    var job: JobID? { (line.first ?? concurrent.values.first)?.attempt.id.job }

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
        } else {
            line.append(call)
        }
        if call.isConcurrent || line.count == 1 { begin(call, at: monotonicNanoseconds()) }
        WorkerProtocol.appendRun(id: call.id, attempt, directory: directory, to: &out)
        return wasFlushed
    }

    /// Asks the worker to end an attempt, and ends the worker when it does not.
    func stop(_ id: AttemptID, grace: Duration) {
        let call = line.first { $0.attempt.id == id } ?? concurrent.values.first { $0.attempt.id == id }
        guard let call, !call.wasCancelled else { return }
        call.wasCancelled = true
        // One that stands still hears nothing.
        child.hold(false)
        out.append(contentsOf: WorkerProtocol.cancel(id: call.id, grace: grace))
        flush()
        // One that still waits in the pipe must not cost the one that runs its life.
        if call.isConcurrent || call === line.first { child.stop(after: grace) }
    }

    /// Lets the worker finish what it has and exit.
    func drain() {
        guard !isDraining else { return }
        isDraining = true
        out.append(contentsOf: WorkerProtocol.drain)
        flush()
        leaveWhenIdle()
    }

    private func leaveWhenIdle() {
        if isDraining, isIdle { child.stop(after: Self.leaveTime) }
    }

    func killNow() { child.killTree() }
    func hold(_ isHeld: Bool) { child.hold(isHeld) }
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

    private func receive(_ line: [UInt8]) {
        // After nonsense nothing counts: where a message begins is not known any more.
        guard problem == nil else { return }
        let message: WorkerProtocol.Message
        do throws(JSONError) {
            message = try WorkerProtocol.decode(line, isReady: isReady)
        } catch {
            return fail("sent a line that is no JSON: \(error)")
        }
        switch message {
        case .initialized(_, let answer): initialised(answer)
        case .result(let id, let value, let file, let usage): succeeded(id, value, file, usage)
        case .error(0, _, let error, _) where !isReady: fail("refused to initialise: \(error.message)")
        case .error(let id, let code, let error, let canRetry):
            // One that was asked to end has no error of its own.
            let isCancelled = code == WorkerProtocol.ErrorCode.cancelled
            let result =
                isCancelled
                ? AttemptResult(.stopped(.cooperative)) : AttemptResult(.failed(canRetry: canRetry), error: error)
            ended(id, result, nil)
        case .progress(let id, let progress):
            if let call = running(id) { tell(.progress(call.attempt.id, progress)) }
        case .output(let id, let json):
            if let call = running(id) { tell(.output(call.attempt.id, json: onOneLine(json))) }
        case .log(let id, _, let text): log([Array(text.utf8)], "log", of: id.flatMap { running($0) })
        case .ignored: break
        }
    }

    private func initialised(_ answer: JSONValue) {
        do throws(TaskFailure) {
            let description = try WorkerDescription(answer, fleet: fleet)
            isReady = true
            readySince = monotonicNanoseconds()
            busyUntil = readySince
            startTimer = nil
            onChange(self, .ready(description))
        } catch {
            fail(error.message)
        }
    }

    /// The call that a message is about, if it runs.
    private func running(_ id: Int) -> WorkerCall? {
        if let first = line.first, first.id == id { return first }
        return concurrent[id]
    }

    private func succeeded(_ id: Int, _ value: [UInt8], _ file: String?, _ usage: JSONValue?) {
        guard let call = running(id) else { return }
        guard let file else { return ended(id, AttemptResult(result: value, of: call.attempt.task), usage) }
        let descriptor = ResultFile(file, below: directory)?.handOver() ?? -1
        let task = call.attempt.task
        let used = answered(call, usage)
        reading += 1
        spawner.errands.run(on: loop) {
            AttemptResult(file: ResultFile.contents(of: descriptor), named: file, of: task, usage: used)
        } then: { [self] result in
            reading -= 1
            tell(.ended(call.attempt.id, result))
            leaveWhenIdle()
        }
        // The worker has answered: it goes on to the next call while this one's file is read.
        goOn(after: call)
    }

    private func ended(_ id: Int, _ result: AttemptResult, _ usage: JSONValue?) {
        // An answer to what nobody asked is dropped.
        guard let call = running(id) else { return }
        var result = result
        result.usage = answered(call, usage)
        tell(.ended(call.attempt.id, result))
        goOn(after: call)
    }

    /// Takes a call that was answered out of the line.
    private func answered(_ call: WorkerCall, _ usage: JSONValue?) -> Usage {
        if call.isConcurrent { concurrent[call.id] = nil } else { line.removeFirst() }
        var used = Usage(workerReported: usage) { doubt($0) }
        answered += 1
        busyUntil = monotonicNanoseconds()
        used.wallNanoseconds = busyUntil - call.started
        if call.wasCancelled, !concurrent.values.contains(where: \.wasCancelled) { child.keepGoing() }
        return used
    }

    private func goOn(after call: WorkerCall) {
        guard !call.isConcurrent, let next = line.first else { return leaveWhenIdle() }
        begin(next, at: busyUntil)
        if next.wasCancelled { child.stop(after: .seconds(5)) }
    }

    private func begin(_ call: WorkerCall, at time: Int64) {
        call.started = time
        tell(.began(call.attempt.id, worker: name, at: time))
    }

    private func doubt(_ what: String) {
        guard !isDoubted else { return }
        isDoubted = true
        onChange(self, .doubted(what))
    }

    private func tell(_ report: Report) { onChange(self, .report(report)) }

    /// - Parameter call: Whose output it is; nil: nobody says, so the line's first.
    private func log(_ lines: [[UInt8]], _ stream: String, of call: WorkerCall? = nil) {
        for text in lines {
            let text = String(decoding: text, as: UTF8.self)
            if stream == "stderr" { lastErrors = String((lastErrors + text + "\n").suffix(Self.keptErrors)) }
            if let call = call ?? line.first { tell(.log(call.attempt.id, stream: stream, text: text)) }
        }
    }

    private func channelBroke(_ problem: LineReader.Problem) {
        switch problem {
        case .ended: child.stop(after: .milliseconds(100))
        case .tooLong: fail("sent a line over \(WorkerProtocol.maximumLine) bytes")
        }
    }

    private func fail(_ why: String) {
        problem = why
        child.killTree()
    }

    // MARK: End

    private func exited(_ exit: Child.Exit) {
        channel.drain()
        output.drain()
        errors.drain()
        let why = problem ?? Self.words(exit)
        let running = line.prefix(1) + concurrent.values.sorted { $0.id < $1.id }
        let waiting = line.dropFirst()
        line = []
        concurrent = [:]
        for call in running {
            tell(.ended(call.attempt.id, end(of: call, exit, why)))
        }
        for call in waiting { tell(.ended(call.attempt.id, AttemptResult(.returned))) }
        channel.close()
        output.close()
        errors.close()
        writable = nil
        startTimer = nil
        let details = lastErrors.isEmpty ? "" : ": " + lastErrors
        onChange(self, .ended(why: why + details, hadWork: !running.isEmpty))
    }

    private func end(of call: WorkerCall, _ exit: Child.Exit, _ why: String) -> AttemptResult {
        var usage = Usage(exit.usage)
        usage.wallNanoseconds = monotonicNanoseconds() - call.started
        if call.wasCancelled {
            return AttemptResult(.stopped(child.stopped ?? .cooperative), usage: usage)
        }
        if let excess { return AttemptResult(.crashed, error: excess, usage: usage) }
        let error = JobError(
            type: "Crashed", message: "the worker \(why)",
            traceback: lastErrors.split(separator: "\n").map(String.init),
            exitCode: exit.code, signal: exit.signal)
        return AttemptResult(.crashed, error: error, usage: usage)
    }

    static func words(_ exit: Child.Exit) -> String {
        if let signal = exit.signal { return "was killed by signal \(signal) (\(signalName(signal)))" }
        return "exited with status \(exit.code ?? 0)"
    }
}

/// `SIGSEGV` for 11.
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

    /// The optional member `usage` of a worker's result, with the names of the job's own `usage`.
    ///
    /// - Parameter doubt: Called with what is out of all range, and was cut.
    init(workerReported value: JSONValue?, doubt: (String) -> Void) {
        self.init()
        guard let value else { return }
        func count(_ name: String) -> Int? {
            guard let given = value[name]?.number else { return nil }
            if !(0...Double(Int.counts.upperBound)).contains(given) { doubt("its \(name) is \(given)") }
            return Int(saturating: given).asCount
        }
        let seconds = value["cpu_seconds"]?.number ?? 0
        if !(0...1e9).contains(seconds) { doubt("its cpu_seconds is \(seconds)") }
        cpuNanoseconds = Duration(seconds: min(seconds, 1e9)).nanoseconds
        maxRSSBytes = count("max_rss_bytes")
        voluntarySwitches = count("voluntary_switches") ?? 0
        involuntarySwitches = count("involuntary_switches") ?? 0
    }
}
