import EventLoop
import JSON
import Jobs
import Store

/// Which jobs a list or a stream of all jobs is about, as a query says it.
extension JobFilter {
    /// `label.NAME` are labels.
    init(_ query: Query) throws(Problem) {
        self.init()
        for item in query.items {
            guard let name = Query.label(in: item.name) else { continue }
            guard !name.isEmpty else { throw .invalid("/label.", "names no label") }
            labels.append((name, item.value))
        }
        for name in (query["state"] ?? "").parts(at: ",") {
            guard let state = JobState(rawValue: String(name)) else {
                let names = JobState.allCases.map(\.rawValue).joined(separator: ", ")
                throw .invalid("/state", "there is no state \"\(name)\"; states are: \(names)")
            }
            states.insert(state)
        }
        task = query["task"]
        queue = query["queue"]
        guard let name = query["pool"] else { return }
        guard let pool = PoolName(rawValue: name) else { throw .invalid("/pool", "there is no pool \"\(name)\"") }
        self.pool = pool
    }
}
