import JSON
import Jobs

/// Which attempt of which job: the fence on every report.
package struct AttemptID: Hashable, Sendable {
    package let job: JobID
    /// The place that the job was given for it, from 1: no other attempt of the job ever has the same.
    package let grant: Int

    package init(job: JobID, grant: Int) {
        self.job = job
        self.grant = grant
    }
}

/// One try at a job, as a pool gets it.
package struct Attempt: Sendable {
    package let id: AttemptID
    /// What people see, from 1: no other attempt that has begun has the same.
    package let number: Int
    package let task: TaskDefinition
    package let input: AttemptInput
    package let timeout: Duration?
    /// Whether earlier attempts of its task took so little that its end is worth waiting for.
    package let isQuick: Bool
    /// Whoever begins it says so there first.
    let cell: StartCell
    /// How often a worker that it waited in has given it back.
    var hops = 0

    package init(
        id: AttemptID, number: Int, task: TaskDefinition, input: AttemptInput, timeout: Duration?,
        isQuick: Bool = false, cell: StartCell = StartCell()
    ) {
        self.cell = cell
        self.isQuick = isQuick
        self.id = id
        self.number = number
        self.task = task
        self.input = input
        self.timeout = timeout
    }
}

/// What a task is given, checked against its schema: the bytes that came, and the tree that was made of them if it is at
/// hand. Otherwise whoever needs it makes it, where the attempt runs.
package struct AttemptInput: Sendable {
    package let bytes: [UInt8]
    private let parsed: JSONValue?

    package init(_ bytes: [UInt8], parsed: JSONValue? = nil) {
        self.bytes = bytes
        self.parsed = parsed
    }

    package var value: JSONValue {
        // It was parsed when it came in.
        parsed ?? (try? JSONReader.value(of: bytes)) ?? .null
    }
}

/// How an attempt ended, with all that is to be remembered of it.
package struct AttemptResult: Sendable {
    package var end: AttemptEnd
    /// JSON on one line; empty unless it succeeded.
    package var value: [UInt8] = []
    package var error: JobError?
    package var usage = Usage()

    package init(_ end: AttemptEnd, value: [UInt8] = [], error: JobError? = nil, usage: Usage = Usage()) {
        self.end = end
        self.value = value
        self.error = error
        self.usage = usage
    }
}

/// What a pool tells the engine, always on the engine's loop.
package enum Report: Sendable {
    /// The attempt has begun, there: said of every one, once, before anything else of it, and of none that has not.
    ///
    /// - Parameter at: On the monotonic clock, in nanoseconds; 0: now.
    case began(AttemptID, worker: String, at: Int64)
    case progress(AttemptID, Progress)
    case output(AttemptID, json: [UInt8])
    case log(AttemptID, stream: String, level: String? = nil, text: String)
    case ended(AttemptID, AttemptResult)
    /// A child process exists, or has been reaped.
    case childStarted(pid: Int32)
    case childEnded(pid: Int32)
}

/// One place where an attempt can run, as the API shows it.
package struct WorkerStatus: Sendable {
    package enum State: String, Sendable, CaseIterable {
        case starting, idle, busy, stopping, abandoned
    }

    package let id: String
    package let pid: Int?
    package let state: State
    package let job: JobID?
}

/// Where attempts run.
///
/// Loop-confined. Each attempt handed to ``start(_:)`` is reported `began` when it begins, and `ended` exactly once, unless
/// it was abandoned at shutdown. What waits inside the pool has not begun, in whatever order it will.
package protocol Pool: AnyObject {
    var name: PoolName { get }
    /// Attempts that run at once.
    var slots: Int { get }
    /// Quick attempts that may wait inside, for each slot.
    var ahead: Int { get }
    var workers: [WorkerStatus] { get }
    /// nil: ready. Otherwise why nothing can run here.
    var unavailable: String? { get }
    func start(_ attempt: Attempt)
    /// Asks the attempt to end, and makes it end after `grace` where that is possible.
    func stop(_ id: AttemptID, grace: Duration)
    /// Changes how many attempts run at once; what runs goes on, and a surplus ends as it becomes idle.
    ///
    /// - Returns: False when it stays as it was, because the system has no more threads.
    func resize(to slots: Int) -> Bool
    /// Lets the attempt stand still, or go on. Only where attempts are processes.
    func hold(_ id: AttemptID, _ isHeld: Bool)
    /// Sends a signal to the attempt's processes.
    ///
    /// - Returns: Whether there were any.
    func signal(_ id: AttemptID, _ number: CInt) -> Bool
    /// Writes to the attempt's standard input.
    func write(_ bytes: [UInt8], closing: Bool, to id: AttemptID) -> InputAnswer
    /// Ends everything; `done` is called when nothing runs any more.
    func shutDown(_ done: @escaping () -> Void)
}

/// What became of bytes for an attempt's standard input.
package enum InputAnswer: Sendable {
    case taken
    /// More is waiting than may; later there is room again.
    case full
    /// It has no input, or has closed it.
    case closed
}

extension Pool {
    package func hold(_ id: AttemptID, _ isHeld: Bool) {}
    package func signal(_ id: AttemptID, _ number: CInt) -> Bool { false }
    package func write(_ bytes: [UInt8], closing: Bool, to id: AttemptID) -> InputAnswer { .closed }
}
