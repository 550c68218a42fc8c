/// What happened, in the past tense: everything that the scheduler ever hears.
package enum Event: Sendable, Equatable {
    case submitted(JobSpec)
    /// The submission is on disk.
    case persisted(JobID)
    /// The submission could not be stored; the job never was.
    case persistFailed(JobID)
    /// An attempt that waited inside its pool has begun.
    case began(JobID, attempt: Int)
    case attemptEnded(JobID, attempt: Int, AttemptEnd)
    /// The outcome is on disk.
    case recorded(JobID)
    case cancelRequested(JobID, grace: Duration)
    /// Time has passed: whatever was due, is.
    case becameDue
    /// - Parameters:
    ///   - slots: Attempts that run at once.
    ///   - ahead: Quick attempts that may wait inside the pool, for each slot.
    case poolResized(PoolName, slots: Int, ahead: Int)
    case queuePaused(String, Bool)
}

/// How one attempt ended.
package enum AttemptEnd: Sendable, Equatable {
    case succeeded
    /// - Parameter canRetry: False for what would fail again (an input that does not fit).
    case failed(canRetry: Bool)
    /// The worker died under it.
    case crashed
    /// Asked for by the scheduler's `.stop`.
    case stopped(StopMethod)
    /// Handed back before it began, because its worker went away. It does not count as an attempt.
    case returned
}

/// What is to be done, in the imperative: everything that the scheduler ever asks for.
package enum Action: Sendable, Equatable {
    /// Store the submission, then say `.persisted`.
    case persist(JobID)
    /// Tell the submitter that the job is accepted.
    case answer(JobID)
    /// Hand the attempt to its pool.
    case start(JobID, attempt: Int, PoolName)
    /// Ask the pool to end the attempt; it answers with `.attemptEnded`.
    case stop(JobID, attempt: Int, PoolName, StopReason, grace: Duration)
    /// Tell whoever watches the job.
    case publish(JobID, Notice)
    /// Store the outcome, then say `.recorded`.
    case record(JobID, Conclusion)
    /// The outcome is on disk and may be told.
    case conclude(JobID, Conclusion)
    /// Say `.becameDue` at this time; replaces an earlier wish.
    case wake(at: Instant)
}

package enum StopReason: Sendable, Equatable {
    case cancel, timeout
}

/// A change of a job that is not its end.
package enum Notice: Sendable, Equatable {
    case scheduled(until: Instant)
    case blocked
    /// - Parameter position: From 1; an upper bound when jobs ahead were cancelled.
    case queued(position: Int)
    case started(attempt: Int)
    case retrying(due: Instant)
    case cancelling
}

/// A job's end.
package enum Conclusion: Sendable, Equatable {
    case succeeded
    case failed(Failure)
    case cancelled(StopMethod, took: Duration)

    package enum Failure: Sendable, Equatable {
        /// As the attempt reported it.
        case reported
        case timeout
        /// Killed its worker, or too many workers.
        case crashed(quarantined: Bool)
    }

    package var state: JobState {
        switch self {
        case .succeeded: .succeeded
        case .failed: .failed
        case .cancelled: .cancelled
        }
    }
}
