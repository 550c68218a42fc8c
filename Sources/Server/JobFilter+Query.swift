import JSON
import Jobs
import Store

/// Which jobs a list or a stream of all jobs is about, as a query says it.
extension JobFilter {
    static let parameters = QueryParameter.filter.map(\.name)

    /// - Parameter others: Parameters that mean something else; `label.NAME` are labels, and nothing more is known.
    init(_ query: Query, and others: [String] = []) throws(Problem) {
        self.init()
        for item in query.items where item.name.hasPrefix("label.") {
            let name = String(item.name.dropFirst(6))
            guard !name.contains("\"") else { throw .invalid("/label.\(escapedPointer(name))", "cannot be asked for") }
            labels.append((name, item.value))
        }
        try query.allow(only: Self.parameters + others, orBeginningWith: "label.")
        for name in (query["state"] ?? "").split(separator: ",") {
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
