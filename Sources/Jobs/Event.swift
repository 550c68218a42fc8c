/// What happened, in the past tense: everything that the scheduler ever hears.
package enum Event: Sendable, Equatable {
    case submitted(JobSpec)
    /// The job was found on disk when the server started.
    indirect case restored(JobSpec, Remains)
    /// The submission is on disk.
    case persisted(JobID)
    /// The submission could not be stored; the job never was.
    case persistFailed(JobID)
    /// The start of the attempt is on disk.
    case startPersisted(JobID, attempt: Int)
    /// An attempt that waited inside its pool has begun.
    case began(JobID, attempt: Int)
    case attemptEnded(JobID, attempt: Int, AttemptEnd)
    /// The outcome is on disk.
    case recorded(JobID)
    case cancelRequested(JobID, grace: Duration)
    /// Somebody wants the running attempt to stand still, or to go on.
    case suspendRequested(JobID)
    case resumeRequested(JobID)
    /// Time has passed: whatever was due, is.
    case becameDue
    /// - Parameters:
    ///   - slots: Attempts that run at once.
    ///   - ahead: Quick attempts that may wait inside the pool, for each slot.
    case poolResized(PoolName, slots: Int, ahead: Int)
    /// - Parameter slots: Light attempts that worker processes run at once.
    case lightRoomResized(slots: Int)
    case queuePaused(String, Bool)
    /// Jobs that may wait in the queue; nil: as in any other.
    case queueLimited(String, Int?)
    /// The names of queues that have been idle since then may be forgotten.
    case queuesTidied(idleSince: Instant)
    /// The server stops: what runs may go on, nothing else starts.
    case drained
    /// What still runs is to end and to be left for the next server.
    case shutDown(grace: Duration)
}

/// What the disk knows of a job that had not ended when the server did.
package struct Remains: Sendable, Equatable {
    /// Attempts started so far.
    package var attempt: Int
    package var crashes: Int
    /// Whether that attempt had not ended.
    package var wasRunning: Bool
    package var wasCancelled: Bool

    package init(attempt: Int = 0, crashes: Int = 0, wasRunning: Bool = false, wasCancelled: Bool = false) {
        self.attempt = attempt
        self.crashes = crashes
        self.wasRunning = wasRunning
        self.wasCancelled = wasCancelled
    }
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
    /// Store the submission, then say `.persisted`. With an attempt of 1 its start is stored with it.
    case persist(JobID, attempt: Int)
    /// Store that the attempt starts, then say `.startPersisted`.
    case persistStart(JobID, attempt: Int)
    /// Tell the submitter that the job is accepted.
    case answer(JobID)
    /// Hand the attempt to its pool.
    case start(JobID, attempt: Int, PoolName)
    /// Ask the pool to end the attempt; it answers with `.attemptEnded`.
    case stop(JobID, attempt: Int, PoolName, StopReason, grace: Duration)
    /// Let the attempt stand still, or go on.
    case hold(JobID, attempt: Int, PoolName, Bool)
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
    case cancel, timeout, shutDown
}

/// A change of a job that is not its end.
package enum Notice: Sendable, Equatable {
    case scheduled(until: Instant)
    case blocked
    /// - Parameter position: From 1; an upper bound when jobs ahead were cancelled.
    case queued(position: Int)
    case started(attempt: Int)
    /// - Parameter crashes: Workers that the job has killed so far.
    case retrying(due: Instant, crashes: Int)
    case cancelling
    case suspended
    case resumed
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
        /// The server ended while the last attempt ran.
        case lost
    }

    package var state: JobState {
        switch self {
        case .succeeded: .succeeded
        case .failed: .failed
        case .cancelled: .cancelled
        }
    }
}
