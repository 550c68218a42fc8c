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

    init(_ record: JobRecord, _ entry: TaskRegistry.Entry, _ input: JSONValue) {
        self.record = record
        self.entry = entry
        self.input = input
    }
}
