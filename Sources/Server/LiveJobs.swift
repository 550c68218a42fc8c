import HTTP
import JSON
import Jobs
import Pools
import Store

/// A job that has not ended: its record, and what only matters while it lives.
final class LiveJob {
    let record: JobRecord
    /// nil: the task is gone since the job was submitted, and the job is about to end.
    let entry: TaskRegistry.Entry
    /// The input as a value, for the tasks that run in this process.
    private(set) lazy var input: JSONValue = {
        // It was checked when it came in.
        (try? JSONReader.value(of: record.input)) ?? .null
    }()
    var waiters: [Waiter] = []
    /// Of the last attempt, until the outcome is decided.
    var lastResult: AttemptResult?
    /// How it ends, while that is being stored.
    var outcome: Outcome?
    var identity: Identity?
    /// On disk: others may see it.
    var isAccepted = false
    /// The last attempt whose start the store has been told of.
    var storedAttempt = 0
    /// Whether the store has been told of events.
    var hasHistory = false
    /// Whether the store is being told of events, or should be soon.
    var history = History.clean

    enum History { case clean, dirty, writing }

    init(_ record: JobRecord, _ entry: TaskRegistry.Entry, _ input: JSONValue? = nil) {
        self.record = record
        self.entry = entry
        if let input { self.input = input }
    }
}

/// The jobs that have not ended, by id and in the order of their ids.
struct LiveJobs {
    private var table = JobTable<LiveJob>()
    /// Ids of accepted jobs; ended ones among them are dropped now and then.
    private var order: [JobID] = []

    var count: Int { table.count }
    var isEmpty: Bool { table.isEmpty }
    var values: [LiveJob] { table.values }
    var ids: [JobID] { table.ids.sorted() }

    subscript(id: JobID) -> LiveJob? { table[id] }

    mutating func add(_ job: LiveJob) { table[job.record.id] = job }

    /// Others may see the job from now on.
    mutating func accept(_ job: LiveJob) {
        job.isAccepted = true
        // A submission may overtake another on its way to the disk, by little.
        var place = order.count
        while place > 0, order[place - 1] > job.record.id { place -= 1 }
        order.insert(job.record.id, at: place)
        guard order.count > 4096, order.count > 2 * table.count else { return }
        order.removeAll { !table.contains($0) }
    }

    @discardableResult
    mutating func remove(_ id: JobID) -> LiveJob? { table.removeValue(forKey: id) }

    /// Accepted jobs that match, newest first.
    func newest(_ query: JobQuery) -> [JobRecord] {
        var found: [JobRecord] = []
        for id in order.reversed() {
            if let before = query.before, id >= before { continue }
            guard let job = table[id], query.filter.matches(job.record) else { continue }
            found.append(job.record)
            if found.count == query.limit { break }
        }
        return found
    }
}
