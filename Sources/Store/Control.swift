import Jobs

/// What somebody has set while a server ran. It holds for the next one too.
package enum Control: Sendable, Equatable {
    case queuePaused(String, Bool)
    /// nil: as configured.
    case queueLimited(String, Int?)
    /// nil: as configured.
    case poolResized(PoolName, Int?)
}

extension Control {
    /// Where it stands in the table, and what is there; nil: nothing, because it is as if nobody had said anything.
    var row: (kind: String, name: String, what: String, value: Int?) {
        switch self {
        case .queuePaused(let name, let isPaused): ("queue", name, "paused", isPaused ? 1 : nil)
        case .queueLimited(let name, let limit): ("queue", name, "limit", limit)
        case .poolResized(let pool, let slots): ("pool", pool.rawValue, "capacity", slots)
        }
    }

    /// - Returns: nil for what this version does not know.
    init?(kind: String, name: String, what: String, value: Int) {
        switch (kind, what) {
        case ("queue", "paused"): self = .queuePaused(name, value != 0)
        case ("queue", "limit"): self = .queueLimited(name, value)
        case ("pool", "capacity"):
            guard let pool = PoolName(rawValue: name) else { return nil }
            self = .poolResized(pool, value)
        default: return nil
        }
    }
}
