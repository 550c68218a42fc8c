import DequeModule
import HTTP
import JSON
import Jobs
import Pools
import Store

/// A job that has not ended: its record, and what only matters while it lives.
final class LiveJob {
    let record: JobRecord
    let entry: TaskRegistry.Entry
    /// The input as a value, which it was checked as, while the job may start at once: a tree weighs many times its bytes.
    private var parsedInput: JSONValue?
    /// What it has been counted for in ``LiveJobs/bytes``.
    fileprivate var weight = 0
    private var waiter: Waiter?
    /// Nearly always nobody else waits.
    private var moreWaiters: [Waiter] = []
    /// Of the last attempt, until the outcome is decided.
    var lastResult: AttemptResult?
    /// Why the present attempt was asked to end, if it was.
    var stopReason: StopReason?
    /// How it ends, while that is being stored.
    var outcome: Outcome?
    /// What its attempts have said, once they have.
    var speech: Throttle.Speech?
    var identity: Identity?
    /// On disk: others may see it.
    var isAccepted = false
    /// Whether it is due at a time of the day; else after some time.
    var followsWall = false
    /// The last place, given for an attempt, that the store has been told of; 0: none.
    var storedGrant = 0
    /// Where it stands that its attempt has not begun, until that has, or until the store knows what became of it.
    var cell = StartCell()
    /// Its row in the timeline while it runs; -1: none.
    var lane: Int32 = -1
    /// Changes of its state that are on their way to the disk, and the state that is shown once they are there.
    private var statesUnderway = 0
    private var nextState: JobState?
    /// Whether the store has been told of events.
    var hasHistory = false
    /// Whether the store is being told of events, or should be soon.
    var history = History.clean
    /// Where it stands in the ``Roll``, which holds the page; nil while it stands nowhere.
    unowned(unsafe) var page: RollPage?
    var row: Int32 = 0

    enum History {
        /// An earlier server's, which has heard all there is to say.
        case found
        case clean, dirty, writing
    }

    init(_ record: JobRecord, _ entry: TaskRegistry.Entry, _ input: JSONValue? = nil) {
        self.record = record
        self.entry = entry
        // Large ones are parsed again where the task runs, not held.
        if record.input.count <= Self.heldInput { parsedInput = input }
    }

    // MARK: What is shown

    /// Where it stands, shown or not.
    var state: JobState { nextState ?? record.state }

    /// Whether it stands elsewhere than is shown.
    var isStateUnderway: Bool { statesUnderway > 0 }

    /// What is said next of its state the disk is to know first.
    func beginState() { statesUnderway += 1 }

    /// It stands there from now on. Nobody sees what a crash would take back.
    func stand(_ state: JobState) {
        if statesUnderway > 0 { nextState = state } else { record.state = state }
    }

    /// The disk knows, or has refused it.
    ///
    /// - Returns: Whether another state is shown from now on.
    func stateSettled() -> Bool {
        statesUnderway -= 1
        guard statesUnderway == 0, let state = nextState.take(), !record.state.isFinal else { return false }
        record.state = state
        return true
    }

    /// Inputs up to this size, in bytes, are kept parsed for a job that starts at once.
    private static let heldInput = 16 * 1024

    /// The input for an attempt; a further attempt parses it again.
    func takeInput() -> AttemptInput {
        defer { parsedInput = nil }
        return AttemptInput(record.input, parsed: parsedInput)
    }

    func dropInput() { parsedInput = nil }

    // MARK: Who waits

    func add(_ waiter: Waiter) {
        if self.waiter?.isDone ?? true, moreWaiters.isEmpty {
            self.waiter = waiter
        } else {
            moreWaiters.removeAll(where: \.isDone)
            moreWaiters.append(waiter)
        }
    }

    var hasWaiters: Bool { waiter != nil }

    /// Tells those who want to know, and forgets them. Being told, they may add others.
    func tell(_ cause: Waiter.Cause, where wants: (Waiter) -> Bool = { _ in true }) {
        guard let first = waiter else { return }
        if moreWaiters.isEmpty {
            guard first.isDone || wants(first) else { return }
            waiter = nil
            return first.fire(cause, record)
        }
        let all = [first] + moreWaiters
        let staying = all.filter { !$0.isDone && !wants($0) }
        waiter = staying.first
        moreWaiters = Array(staying.dropFirst())
        for waiter in all where wants(waiter) { waiter.fire(cause, record) }
    }
}

extension LiveJob {
    /// How the job ends, in full.
    /// - Parameter isWritten: Whether the store writes it, with its events and its log.
    func outcome(_ conclusion: Conclusion, at now: Instant, isWritten: Bool) -> Outcome {
        switch conclusion {
        case .succeeded:
            return Outcome(
                .succeeded, of: record, at: now, result: lastResult?.value ?? [], usage: lastResult?.usage,
                isWritten: isWritten)
        case .failed(let failure):
            return Outcome(
                .failed, of: record, at: now, error: error(failure), usage: lastResult?.usage, isWritten: isWritten)
        case .cancelled(let how, let took):
            return Outcome(
                .cancelled, of: record, at: now, usage: lastResult?.usage, cancel: (how, took), isWritten: isWritten)
        }
    }

    private func error(_ failure: Conclusion.Failure) -> JobError? {
        switch failure {
        case .reported: return lastResult?.error
        case .timeout:
            let limit = record.timeout?.text ?? "its limit"
            return JobError(type: "Timeout", message: "the attempt took longer than \(limit)")
        case .crashed(let quarantined):
            var error = lastResult?.error ?? JobError(type: "Crashed", message: "the worker died")
            if quarantined { error.message += "; quarantined: it killed \(Scheduler.crashLimit) workers" }
            return error
        case .lost: return JobError(type: "Lost", message: "the server ended while the job ran")
        case .stopped: return .stopped
        }
    }
}

extension LiveJob {
    /// Why there has to be another attempt; nil when there need not.
    var failure: JobError? {
        guard let result = lastResult else { return nil }
        if let error = result.error { return error }
        switch result.end {
        case .stopped where stopReason == .shutDown: return .stopped
        case .stopped: return JobError(type: "Timeout", message: "the attempt took too long")
        case .crashed: return JobError(type: "Crashed", message: "the worker died")
        case .succeeded, .failed, .bystander, .returned: return nil
        }
    }
}

extension JobError {
    static let stopped = JobError(type: "Stopped", message: "the server stopped")
}

/// The jobs that have not ended, by id and in the order of their ids.
struct LiveJobs: ~Copyable {
    private var table = JobTable<LiveJob>()
    /// Restored jobs that have run: they come before the others, and are not yet among them.
    private var early = Deque<LiveJob>()
    /// The accepted ones, for lists.
    private var roll = Roll()

    /// What they hold together, roughly: inputs, labels, events, logs and outputs, and some for each job.
    private(set) var bytes = 0

    var count: Int { table.count }
    var isEmpty: Bool { table.isEmpty }
    var values: [LiveJob] { table.values }
    var ids: [JobID] { table.ids.sorted() }

    subscript(id: JobID) -> LiveJob? { table[id] }

    mutating func add(_ job: LiveJob) {
        table[job.record.id] = job
        weigh(job)
    }

    /// Counts a job for what it holds by now.
    mutating func weigh(_ job: LiveJob) {
        let weight = job.record.weight
        bytes += weight - job.weight
        job.weight = weight
    }

    /// Others may see the job from now on.
    mutating func accept(_ job: LiveJob) {
        job.isAccepted = true
        roll.add(job)
    }

    /// The job's state is another one.
    func changed(_ job: LiveJob) { roll.changed(job) }

    mutating func reserve(_ count: Int) { table.reserve(count) }

    /// Takes a job that an earlier server had accepted: first those that have run, then the others, each in their order.
    mutating func restore(_ job: LiveJob) {
        add(job)
        job.isAccepted = true
        guard job.record.attempt == 0 else { return early.append(job) }
        _ = settle(atMost: Self.settled, before: job.record.id)
        roll.add(job)
    }

    /// Jobs that are put in their places at once.
    static let settled = 256

    /// Puts restored jobs that have run in their places among the others.
    ///
    /// - Returns: Whether none is left.
    mutating func settle(atMost count: Int, before id: JobID? = nil) -> Bool {
        for _ in 0..<count {
            guard let job = early.first, id.map({ job.record.id < $0 }) ?? true else { break }
            early.removeFirst()
            if table.contains(job.record.id) { roll.add(job) }
        }
        return early.isEmpty
    }

    @discardableResult
    mutating func remove(_ id: JobID) -> LiveJob? {
        guard let job = table.removeValue(forKey: id) else { return nil }
        bytes -= job.weight
        job.weight = 0
        roll.remove(job)
        return job
    }

    /// Accepted jobs that match, newest first.
    func newest(_ query: JobQuery) -> JobPage { roll.newest(query) }

    /// Rows held for lists, of jobs that are gone too.
    var rows: Int { roll.rows }

    /// Calls `body` with each accepted job whose attempt is in a pool's hands.
    func forEachRunning(_ body: (LiveJob) -> Void) { roll.forEachRunning(body) }
}
