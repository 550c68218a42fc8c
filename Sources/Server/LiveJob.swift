import HTTP
import JSON
import Jobs
import Pools
import Store

/// A job that has not ended: its record, and what only matters while it lives.
final class LiveJob {
    let record: JobRecord
    let entry: TaskRegistry.Entry
    /// The input as a value, for the tasks that run in this process.
    let input: JSONValue
    var waiters: [Waiter] = []
    /// Of the last attempt, until the outcome is decided.
    var lastResult: AttemptResult?
    var cancelRequested = false

    init(_ record: JobRecord, _ entry: TaskRegistry.Entry, _ input: JSONValue) {
        self.record = record
        self.entry = entry
        self.input = input
    }
}

/// Somebody who waits for something to happen to a job. Told once.
final class Waiter {
    enum Cause {
        /// The job is accepted: on disk.
        case accepted
        case ended
        /// Anything about the job has changed.
        case changed
        /// The time that the client wanted to wait is over.
        case timeUp
        /// The submission could not be stored.
        case refused
    }

    /// Which causes it waits for.
    let wantsAccepted: Bool
    let wantsChanges: Bool
    private var tell: ((Cause) -> Void)?
    private var timer: Deadline?

    init(accepted: Bool = false, changes: Bool = false, tell: @escaping (Cause) -> Void) {
        wantsAccepted = accepted
        wantsChanges = changes
        self.tell = tell
    }

    var isDone: Bool { tell == nil }

    func limit(to deadline: Deadline) { timer = deadline }

    func fire(_ cause: Cause) {
        guard let tell else { return }
        self.tell = nil
        timer = nil
        tell(cause)
    }

    /// The client has left.
    func forget() {
        tell = nil
        timer = nil
    }
}
