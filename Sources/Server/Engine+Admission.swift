import Jobs
import Pools
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
        guard let (waiting, ownLimit) = scheduler.depth(forSubmissionTo: submission.queue) else {
            return .tooManyQueues
        }
        let limit = ownLimit ?? options.queueDepth
        if waiting >= limit { return queueIsFull(submission.queue, waiting, limit) }
        let bytes = liveBytes + JobRecord.ownBytes + submission.inputBytes.count
        return bytes > options.liveBytes ? memoryIsFull(bytes) : nil
    }

    /// What the scheduler is to know of a job.
    func spec(of job: LiveJob, notBefore: Instant?) -> JobSpec {
        let record = job.record
        var spec = JobSpec(
            id: record.id, pool: record.pool, queue: record.queue, priority: record.priority,
            maxAttempts: record.maxAttempts, timeout: record.timeout, notBefore: notBefore, key: record.key,
            isQuick: job.entry.isQuick(in: record.pool), isLight: job.entry.task.isConcurrent)
        spec.followsWall = job.followsWall
        return spec
    }

    /// How long a queue without jobs is remembered, of which nothing was set.
    private static let queueMemory = Duration.seconds(10)

    /// Once a second: measures what drains, and forgets queues that are of no use any more.
    func tickQueues() {
        for meter in queueMeters.values { meter.tick() }
        feed(.queuesTidied(idleSince: now - Self.queueMemory))
        guard queueMeters.count > scheduler.queueCount else { return }
        let known = Set(scheduler.queueNames)
        queueMeters = queueMeters.filter { known.contains($0.key) }
    }

    func queueLimit(_ queue: String) -> Int { scheduler.limit(of: queue) ?? options.queueDepth }

    private func queueIsFull(_ queue: String, _ waiting: Int, _ limit: Int) -> Problem {
        let rate = queueMeters[queue]?.rate ?? 0
        var problem = Problem(
            429, "queue-full", "queue \"\(queue)\" holds \(waiting) jobs that wait, its bound",
            retryAfter: Self.patience(until: Double(waiting) * 0.1, at: rate))
        problem.limit = (queue, limit)
        return problem
    }

    /// All jobs together hold what they may.
    private func memoryIsFull(_ bytes: Int) -> Problem {
        let rate = queueMeters.values.reduce(0) { $0 + $1.rate }
        let each = Double(max(liveBytes, 1)) / Double(max(live.count, 1))
        let excess = Double(bytes - options.liveBytes)
        var problem = Problem(
            429, "memory-full",
            "the jobs that have not ended hold \(liveBytes) bytes, and with this one it would be \(bytes): over the bound of "
                + "\(options.liveBytes) (--live-bytes)",
            retryAfter: Self.patience(until: max(excess / each, Double(live.count) * 0.1), at: rate))
        problem.limit = ("live-bytes", options.liveBytes)
        return problem
    }

    /// Seconds until so many jobs have ended, at so many a second.
    private static func patience(until jobs: Double, at rate: Double) -> Int {
        rate > 0 ? Int(saturating: min(max((jobs / rate).rounded(.up), 1), 60)) : 10
    }
}

extension Problem {
    static let tooManyQueues = Problem(
        429, "too-many-queues",
        "there are \(Scheduler.maximumQueues) queues that hold jobs or of which something was set", retryAfter: 60)
}
