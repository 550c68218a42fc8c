import Jobs

/// What a store is told, in the past tense. A store makes one after the other, and answers each with a ``Receipt``.
///
/// The fence: what concerns an attempt is written only while the job on disk is at that attempt's grant.
package enum Change: Sendable {
    /// - Parameter attempt: 1 when the job starts as soon as this is on disk, with grant 1; 0 when it has to wait.
    case submitted(JobRecord, attempt: Int, Identity?)
    /// The attempt may begin. Nothing has begun under its number before.
    case started(JobID, attempt: Int, grant: Int, at: Instant)
    /// The attempt is over, or never began, and the job waits for another.
    case requeued(JobID, Tally, grant: Int, due: Instant)
    case cancelRequested(JobID)
    /// Events to add to the job's history.
    /// - Parameter reserved: No later server may give a number up to this to another event.
    case happened(JobID, [JobEvent], reserved: Int)
    /// - Parameters:
    ///   - grant: The last one that the store was told of.
    ///   - hasHistory: Whether events of the job were written before.
    case ended(JobRecord, Outcome, grant: Int, hasHistory: Bool)
    /// A child process exists.
    case childStarted(ChildMark)
    case childEnded(pid: Int32)
    /// Somebody has set something that is to hold for the next server too.
    case controlled(Control)
    /// Nothing; its receipt says that all before it is on disk, or all of one job: but for what waits for room, starts, which
    /// have not happened before they are stored, and histories.
    case reached(JobID?)
}

/// What a store says of one ``Change``, once it is on disk or will never be.
package enum Receipt: Sendable, Equatable {
    case stored
    /// There is no room: the submission never was.
    case refused
    /// The submission's key was used before, for this job.
    /// - Parameter isSame: Whether the request was the same.
    case duplicate(of: JobID, isSame: Bool)
    /// The job on disk is at another attempt, or has ended: nothing was written.
    case stale
}

/// Who a submission says it is, by `Idempotency-Key`.
///
/// Source: draft-ietf-httpapi-idempotency-key-header.
package struct Identity: Sendable, Equatable {
    package let key: String
    /// SHA-256 of where the request went and what it said.
    package let fingerprint: [UInt8]

    package init(key: String, fingerprint: [UInt8]) {
        self.key = key
        self.fingerprint = fingerprint
    }
}

/// What tells a child process from another with the same number, after its server has died.
package struct ChildMark: Sendable, Equatable {
    package let pid: Int32
    /// Nanoseconds since the machine started.
    package let startedAt: Int64

    package init(pid: Int32, startedAt: Int64) {
        self.pid = pid
        self.startedAt = startedAt
    }
}
