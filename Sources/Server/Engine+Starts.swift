import Jobs
import Pools
import Store

/// Whether an attempt that the store has as running has begun: its pool writes it where the server after this one reads it.
extension Engine {
    /// The attempt is given a place, and has not begun.
    func noteStart(of job: LiveJob, _ grant: Int) {
        job.storedGrant = grant
        guard let starts = options.starts else { return }
        job.cell = starts.note(AttemptID(job: job.record.id, grant: grant))
    }

    /// It has begun, or the store knows what became of it.
    func releaseStart(of job: LiveJob) {
        guard !job.cell.isNone else { return }
        options.starts?.release(job.cell)
        job.cell = StartCell()
    }

    /// The attempt is over, and there is to be another.
    func requeued(_ job: LiveJob, _ tally: Tally, due: Instant) {
        let id = job.record.id
        job.beginState()
        journal.write(.requeued(id, tally, grant: job.storedGrant, due: due), then: .state(id))
    }

    /// It came back without having begun: the cell says so until the store does.
    func handedBack(_ job: LiveJob, _ tally: Tally) {
        let id = job.record.id
        job.cell.keep()
        job.beginState()
        journal.write(.requeued(id, tally, grant: job.storedGrant, due: now), then: .handedBack(id, job.cell))
        job.cell = StartCell()
    }
}
