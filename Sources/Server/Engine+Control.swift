import Jobs
import Logging
import Pools
import Store

/// What can be set while the server runs. It holds until it is set otherwise, over restarts too.
extension Engine {
    /// Does what somebody has set, and calls `done` once the next server would find it.
    ///
    /// - Throws: When one cannot be: then neither it nor those after it are kept.
    func set(_ controls: [Control], _ done: @escaping () -> Void) throws(Problem) {
        var left = controls.count
        guard left > 0 else { return done() }
        for control in controls.map(normalised) {
            guard perform(control) else {
                throw Problem(
                    503, "no-threads", "the system has no threads for so many; the pool stays as it was", retryAfter: 5)
            }
            journal.write(
                .controlled(control),
                then: .then {
                    left -= 1
                    if left == 0 { done() }
                })
        }
    }

    /// Whoever puts a pool back to what is configured wants what will be configured.
    private func normalised(_ control: Control) -> Control {
        if case .poolResized(let pool, let slots) = control, slots == options.configuredSlots(pool) {
            return .poolResized(pool, nil)
        }
        return control
    }

    /// What earlier servers were told. Before their jobs are taken over: what was held back is to stay so.
    func apply(_ controls: [Control]) {
        for control in controls {
            // Pools are opened with their sizes.
            if case .poolResized(let pool, _) = control, self.pool(pool) != nil { continue }
            _ = perform(control)
        }
        guard !controls.isEmpty else { return }
        logger.notice(
            "what was set while the server ran still holds",
            metadata: ["settings": "\(controls.map(\.text).joined(separator: ", "))"])
    }

    /// Notes in a running job's log what was done to it.
    func remark(_ text: String, on record: JobRecord) {
        guard let job = live[record.id] else { return }
        append(.log(stream: LogStream.control, text: text), to: job)
    }

    func resize(_ pool: any Pool, to slots: Int) -> Bool {
        guard pool.resize(to: slots) else { return false }
        feed(.poolResized(pool.name, slots: slots, ahead: pool.ahead))
        if let processes = pool as? ProcessPool { feed(.lightRoomResized(slots: processes.lightSlots)) }
        return true
    }

    private func perform(_ control: Control) -> Bool {
        switch control {
        case .queuePaused(let name, let isPaused): feed(.queuePaused(name, isPaused))
        case .queueLimited(let name, let limit): feed(.queueLimited(name, limit))
        case .poolResized(let name, let slots):
            if let pool = pool(name) { return resize(pool, to: slots ?? options.configuredSlots(name)) }
        }
        return true
    }
}

extension Control {
    /// For the log.
    fileprivate var text: String {
        switch self {
        case .queuePaused(let name, let isPaused): "queue \(name) \(isPaused ? "paused" : "not paused")"
        case .queueLimited(let name, let limit): "queue \(name) limit \(limit.map(String.init) ?? "as configured")"
        case .poolResized(let pool, let slots):
            "pool \(pool.rawValue) capacity \(slots.map(String.init) ?? "as configured")"
        }
    }
}
