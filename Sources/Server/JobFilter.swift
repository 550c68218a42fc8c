import Jobs
import Store

/// Which jobs a list or a stream of all jobs is about.
struct JobFilter {
    static let parameters = ["state", "task", "queue", "pool"]

    let states: Set<JobState>
    let task: String?
    let queue: String?
    let pool: PoolName?

    init(_ query: Query) throws(Problem) {
        var states: Set<JobState> = []
        for name in (query["state"] ?? "").split(separator: ",") {
            guard let state = JobState(rawValue: String(name)) else {
                let names = JobState.allCases.map(\.rawValue).joined(separator: ", ")
                throw .invalid("/state", "there is no state \"\(name)\"; states are: \(names)")
            }
            states.insert(state)
        }
        self.states = states
        task = query["task"]
        queue = query["queue"]
        guard let name = query["pool"] else {
            pool = nil
            return
        }
        guard let pool = PoolName(rawValue: name) else { throw .invalid("/pool", "there is no pool \"\(name)\"") }
        self.pool = pool
    }

    func matches(_ record: JobRecord) -> Bool {
        (states.isEmpty || states.contains(record.state)) && matchesKind(of: record)
    }

    /// All but the state, which changes while a stream looks.
    func matchesKind(of record: JobRecord) -> Bool {
        (task == nil || task == record.task) && (queue == nil || queue == record.queue)
            && (pool == nil || pool == record.pool)
    }
}
