import Jobs
import Logging
import Pools
import Store

/// What the disk says of what was written.
extension Engine {
    func settle(_ waiting: Journal.Waiting, _ receipt: Receipt) {
        switch (waiting, receipt) {
        case (.submission(let id), .stored):
            if let job = live[id] { job.record.acceptNanoseconds = now.nanoseconds(since: job.record.createdAt) }
            feed(.persisted(id))
            if isDraining { checkIdle() }
        case (.submission(let id), .refused): drop(id, .refused)
        case (.submission(let id), .duplicate(let other, let isSame)): drop(id, .duplicate(of: other, isSame: isSame))
        case (.start(let id, let grant), .stored):
            feed(.startPersisted(id, grant: grant))
            // It was taken back.
            if isDraining { checkIdle() }
        case (.end(let id), .stored):
            guard let job = live[id], let outcome = job.outcome else { return }
            job.record.apply(outcome)
            job.record.endNanoseconds = now.nanoseconds(since: outcome.finishedAt)
            feed(.recorded(id))
        case (.history(let id, let reserved), .stored):
            if let job = live[id] { historian.stored(job, reserved: reserved) }
        // What was refused is not on its way any more either.
        case (.state(let id), _):
            stateSettled(of: id)
            if receipt != .stored { refused(id) }
        case (.handedBack(let id, let cell), _):
            options.starts?.release(cell)
            stateSettled(of: id)
            if receipt != .stored { refused(id) }
        case (.then(let done), _): done()
        case (.nothing, .stored), (.nothing(nil), _): break
        case (.submission(let id), .stale), (.start(let id, _), _), (.end(let id), _), (.history(let id, _), _),
            (.nothing(let id?), _):
            refused(id)
        }
    }

    private func stateSettled(of id: JobID) {
        guard let job = live[id], job.stateSettled() else { return }
        live.changed(job)
        monitor.changed(job.record)
        job.tell(.changed) { $0.wantsChanges }
    }

    private func refused(_ id: JobID) {
        metrics.staleWrites += 1
        logger.error("a write about an attempt that is not current was refused", metadata: ["job": "\(id)"])
    }
}
