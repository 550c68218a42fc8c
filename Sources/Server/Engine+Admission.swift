import Jobs
import Store

/// Whether a submission may come in.
extension Engine {
    /// Why a submission cannot be taken now; nil when it can.
    func refusal(for submission: Submission) -> Problem? {
        if isDraining { return .draining }
        if let start = submission.notBefore(now), !Instant.sayable.contains(start) {
            return .invalid("/delay", "the start would be after the year 2200")
        }
        if store.refusesJobs != nil { return .notStored }
        guard let depth = scheduler.depth(forSubmissionTo: submission.queue) else {
            return Problem(
                429, "too-many-queues", "there are \(Scheduler.maximumQueues) queues already", retryAfter: 60)
        }
        let limit = queueLimit(submission.queue)
        guard depth >= limit else { return nil }
        let rate = queueMeters[submission.queue]?.rate ?? 0
        let seconds = rate > 0 ? min(max(Int(saturating: (Double(depth) * 0.1 / rate).rounded(.up)), 1), 60) : 10
        var problem = Problem(
            429, "queue-full", "queue \"\(submission.queue)\" holds \(depth) jobs, its bound", retryAfter: seconds)
        problem.limit = (submission.queue, limit)
        return problem
    }

    func queueLimit(_ queue: String) -> Int {
        queueLimits.isEmpty ? options.queueDepth : queueLimits[queue] ?? options.queueDepth
    }
}
