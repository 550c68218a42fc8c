import CSpindle
import EventLoop
import Glibc
import JSON
import Jobs

/// One warm worker process, as the server sees it: its channel, its output, and the attempts it has in hand.
///
/// ```
///   starting ──initialised──► ready ⇄ busy ──► ended
///        └──30 s, or exit──────────────────────► ended
/// ```
///
/// Attempts are answered in the order in which they were sent: the first in hand runs, the others wait in its pipe.
final class WorkerProcess {
    enum Change {
        case ready
        /// Something about an attempt.
        case report(Report)
        /// The process is gone; everything in hand has been reported.
        case ended(why: String)
    }

    /// From start to the answer to `initialize`.
    static let initialiseTime = Duration.seconds(30)
    /// What a worker writes besides its attempts is kept for the message about its death, in bytes.
    private static let keptErrors = 2048

    let pid: pid_t
    private(set) var isReady = false
    private(set) var inHand: [Attempt] = []
    private let loop: EventLoop
    private let directory: String
    private let limits: ChildLimits
    private let onChange: (WorkerProcess, Change) -> Void
    private var child: Child!
    private var channel: LineReader!
    private var output: LineReader!
    private var errors: LineReader!
    private var writable: Watch?
    private var out: [UInt8] = []
    private var firstMessage = 1
    private var nextMessage = 1
    private var lastErrors = ""
    private var wasCancelled: Set<AttemptID> = []
    private var lastProgress: Int64 = 0
    private var heldProgress: Progress?
    private var progressTimer: Deadline?
    private var headStarted: Int64 = 0
    private var startTimer: Deadline?
    private var ranOutOfMemory = false
    private var problem: String?

    init(
        _ spawned: SpawnedChild, limits: ChildLimits, on loop: EventLoop, spawner: Spawner,
        onChange: @escaping (WorkerProcess, Change) -> Void
    ) throws(LoopError) {
        pid = spawned.pid
        directory = spawned.directory
        self.loop = loop
        self.limits = limits
        self.onChange = onChange
        child = try Child(spawned, on: loop, spawner: spawner) { [unowned self] in exited($0) }
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

    // MARK: To the worker

    func run(_ attempt: Attempt) {
        inHand.append(attempt)
        if inHand.count == 1 { headStarted = monotonicNanoseconds() }
        out.append(contentsOf: WorkerProtocol.run(id: nextMessage, attempt, directory: directory))
        nextMessage += 1
    }

    /// Asks the worker to end an attempt, and ends the worker when it does not.
    func stop(_ id: AttemptID, grace: Duration) {
        guard let index = inHand.firstIndex(where: { $0.id == id }), !wasCancelled.contains(id) else { return }
        wasCancelled.insert(id)
        out.append(contentsOf: WorkerProtocol.cancel(id: firstMessage + index, grace: grace))
        flush()
        // One that still waits in the pipe must not cost the one that runs its life.
        if index == 0 { child.stop(after: grace) }
    }

    /// Lets the worker finish and exit.
    func drain() {
        out.append(contentsOf: WorkerProtocol.drain)
        flush()
        child.stop(after: .seconds(2))
    }

    func killNow() { child.killTree() }

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

    /// Ends the worker if it holds more memory than it may.
    func checkMemory() {
        guard limits.memoryBytes > 0, !inHand.isEmpty, child.residentBytes > limits.memoryBytes else { return }
        ranOutOfMemory = true
        child.killTree()
    }

    // MARK: From the worker

    private func receive(_ line: [UInt8]) {
        let message: WorkerProtocol.Message
        do throws(JSONError) {
            message = try WorkerProtocol.decode(line, isReady: isReady)
        } catch {
            return fail("sent a line that is no JSON: \(error)")
        }
        switch message {
        case .initialized:
            isReady = true
            startTimer = nil
            onChange(self, .ready)
        case .result(let id, let value, let usage):
            let result = AttemptResult(.succeeded, value: onOneLine(value))
            ended(id, result, usage)
        case .error(let id, let code, let error, let canRetry):
            let end: AttemptEnd =
                code == WorkerProtocol.ErrorCode.cancelled ? .stopped(.cooperative) : .failed(canRetry: canRetry)
            ended(id, AttemptResult(end, error: error), nil)
        case .progress(let id, let progress): if isHead(id) { tell(progress) }
        case .output(let id, let json): if isHead(id) { tell(.output(inHand[0].id, json: onOneLine(json))) }
        case .log(_, _, let text): log([Array(text.utf8)], "log")
        case .ignored: break
        }
    }

    private func isHead(_ id: Int) -> Bool { id == firstMessage && !inHand.isEmpty }

    private func ended(_ id: Int, _ result: AttemptResult, _ usage: JSONValue?) {
        // Attempts are answered in order; anything else is a stray answer and dropped.
        guard isHead(id) else { return }
        releaseProgress()
        let attempt = inHand.removeFirst()
        firstMessage += 1
        var result = result
        let now = monotonicNanoseconds()
        result.usage = Usage(workerReported: usage)
        result.usage.wallNanoseconds = now - headStarted
        headStarted = now
        if wasCancelled.remove(attempt.id) != nil { child.keepGoing() }
        if let next = inHand.first, wasCancelled.contains(next.id) { child.stop(after: .seconds(5)) }
        tell(.ended(attempt.id, result))
        if let next = inHand.first { tell(.began(next.id)) }
    }

    /// At most ten a second for a job; the last one is never lost.
    private func tell(_ progress: Progress) {
        let now = monotonicNanoseconds()
        if now - lastProgress >= 100_000_000 {
            lastProgress = now
            heldProgress = nil
            tell(.progress(inHand[0].id, progress))
        } else {
            heldProgress = progress
            if progressTimer == nil {
                progressTimer = Deadline(after: .milliseconds(100), on: loop) { [unowned self] in releaseProgress() }
            }
        }
    }

    private func releaseProgress() {
        progressTimer = nil
        guard let held = heldProgress, let head = inHand.first else { return }
        heldProgress = nil
        lastProgress = monotonicNanoseconds()
        tell(.progress(head.id, held))
    }

    private func tell(_ report: Report) { onChange(self, .report(report)) }

    private func log(_ lines: [[UInt8]], _ stream: String) {
        for line in lines {
            let text = String(decoding: line, as: UTF8.self)
            if stream == "stderr" { lastErrors = String((lastErrors + text + "\n").suffix(Self.keptErrors)) }
            if let head = inHand.first { tell(.log(head.id, stream: stream, text: text)) }
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
        releaseProgress()
        if let head = inHand.first {
            inHand.removeFirst()
            tell(.ended(head.id, end(of: head, exit, why)))
        }
        let rest = inHand
        inHand = []
        for attempt in rest { tell(.ended(attempt.id, AttemptResult(.returned))) }
        channel.close()
        output.close()
        errors.close()
        writable = nil
        startTimer = nil
        progressTimer = nil
        let details = lastErrors.isEmpty ? "" : ": " + lastErrors
        onChange(self, .ended(why: why + details))
    }

    private func end(of attempt: Attempt, _ exit: Child.Exit, _ why: String) -> AttemptResult {
        var usage = Usage(exit.usage)
        usage.wallNanoseconds = monotonicNanoseconds() - headStarted
        if wasCancelled.contains(attempt.id) {
            return AttemptResult(.stopped(child.stopped ?? .cooperative), usage: usage)
        }
        if ranOutOfMemory {
            let error = JobError(
                type: "MemoryLimit", message: "the worker held more than \(limits.memoryBytes >> 20) MiB and was killed"
            )
            return AttemptResult(.crashed, error: error, usage: usage)
        }
        let error = JobError(
            type: "Crashed", message: "the worker \(why)",
            traceback: lastErrors.split(separator: "\n").map(String.init),
            exitCode: exit.code, signal: exit.signal)
        return AttemptResult(.crashed, error: error, usage: usage)
    }

    private static func words(_ exit: Child.Exit) -> String {
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
    init(workerReported value: JSONValue?) {
        self.init()
        guard let value else { return }
        cpuNanoseconds = Int64((value["cpu_seconds"]?.number ?? 0) * 1e9)
        maxRSSBytes = value["max_rss_bytes"]?.integer
        voluntarySwitches = value["voluntary_switches"]?.integer ?? 0
        involuntarySwitches = value["involuntary_switches"]?.integer ?? 0
    }
}
