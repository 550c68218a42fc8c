import Jobs

/// All that is known of one job: what was submitted, what became of it, and its last events.
///
/// A class, because the engine, its streams and the store look at the same one.
// Guard: what is `var` belongs to the engine's loop; a store's thread reads only what is `let`.
package final class JobRecord: @unchecked Sendable {
    package let id: JobID
    package let task: String
    package let pool: PoolName
    /// Why that one, when the choice was left to the server.
    package let poolReason: String?
    package let queue: String
    package let priority: Int
    package let maxAttempts: Int
    package let timeout: Duration?
    package let key: String?
    package let labels: [(name: String, value: String)]
    /// JSON, as it came.
    package let input: [UInt8]
    package let createdAt: Instant
    /// When it was to run first; nil: at once.
    package let notBefore: Instant?

    package var state = JobState.queued
    package var attempt = 0
    package var progress: Progress?
    package var worker: String?
    package var dueAt: Instant?
    /// Start of the last attempt.
    package var startedAt: Instant?
    package var finishedAt: Instant?
    /// JSON on one line; empty while there is none.
    package var result: [UInt8] = []
    /// Whether there is one that was not read, because it is long and a list has it not; nor then has it such an input.
    package var isResultLeftOut = false
    package var error: JobError?
    package var usage: Usage?
    package var cancel: (how: StopMethod, took: Duration)?
    package var events = EventLog()
    package var log = LogTail()
    /// How long its acceptance and its end have waited for the disk, in nanoseconds.
    package var acceptNanoseconds: Int64 = 0
    package var endNanoseconds: Int64 = 0

    package init(
        id: JobID, task: String, pool: PoolName, queue: String, priority: Int, maxAttempts: Int, timeout: Duration?,
        key: String?, labels: [(name: String, value: String)], input: [UInt8], createdAt: Instant,
        notBefore: Instant? = nil, poolReason: String? = nil
    ) {
        self.id = id
        self.task = task
        self.pool = pool
        self.poolReason = poolReason
        self.queue = queue
        self.priority = priority
        self.maxAttempts = maxAttempts
        self.timeout = timeout
        self.key = key
        self.labels = labels
        self.input = input
        self.createdAt = createdAt
        self.notBefore = notBefore
        dueAt = notBefore
    }

    /// The job has ended so, and everybody may know.
    package func apply(_ outcome: Outcome) {
        state = outcome.state
        finishedAt = outcome.finishedAt
        result = outcome.result
        error = outcome.error
        usage = outcome.usage
        cancel = outcome.cancel
        events.close(with: outcome.end)
    }

    /// What the record weighs, in bytes, roughly.
    package var weight: Int { Self.ownBytes + input.count + result.count + events.bytes + log.end - log.dropped }

    /// What one costs that has next to nothing in it, with its places in tables. Measured over a million waiting jobs.
    package static let ownBytes = 1536
}
