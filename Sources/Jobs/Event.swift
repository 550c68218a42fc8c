/// What happened, in the past tense: everything that the scheduler ever hears.
package enum Event: Sendable, Equatable {
    case submitted(JobSpec)
    /// Jobs are about to be restored: until all of them are there, nothing starts and nothing becomes due.
    case restoring
    /// The job was found on disk when the server started.
    indirect case restored(JobSpec, Remains)
    /// All are there.
    case allRestored
    /// The submission is on disk.
    case persisted(JobID)
    /// The submission could not be stored; the job never was.
    case persistFailed(JobID)
    /// The start of the attempt is on disk.
    case startPersisted(JobID, grant: Int)
    /// The attempt has begun: its pool says so, of every one.
    case began(JobID, grant: Int, at: Instant)
    case attemptEnded(JobID, grant: Int, AttemptEnd)
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
    /// The wall clock was set, and `now` is what it says from here on: by so much more than has passed.
    case clockStepped(by: Duration)
    /// The server stops: what runs may go on, nothing else starts.
    case drained
    /// What still runs is to end and to be left for the next server.
    case shutDown(grace: Duration)
}

/// What is counted of a job's attempts.
package struct Tally: Sendable, Equatable {
    /// The number of the last one that was given out, from 1; 0: none was.
    package var attempt: Int
    /// Those among them that do not count: their worker died of another job's work.
    package var spared: Int
    /// Workers that the job has killed.
    package var crashes: Int

    package init(attempt: Int = 0, spared: Int = 0, crashes: Int = 0) {
        self.attempt = attempt
        self.spared = spared
        self.crashes = crashes
    }

    /// Attempts that count against the job's bound.
    package var charged: Int { attempt - spared }
}

/// What the disk knows of a job that had not ended when the server did.
package struct Remains: Sendable, Equatable {
    package var tally: Tally
    /// The last place that it was given. No later one has the same number.
    package var grant: Int
    /// Whether that attempt had not ended; it may have begun.
    package var wasRunning: Bool
    package var wasCancelled: Bool

    package init(_ tally: Tally = Tally(), grant: Int = 0, wasRunning: Bool = false, wasCancelled: Bool = false) {
        self.tally = tally
        self.grant = grant
        self.wasRunning = wasRunning
        self.wasCancelled = wasCancelled
    }
}

/// How one attempt ended.
package enum AttemptEnd: Sendable, Equatable {
    case succeeded
    /// - Parameter canRetry: False for what would fail again (an input that does not fit).
    case failed(canRetry: Bool)
    /// The worker died under it; or, if it never began, when it was given it, with nothing else in hand.
    case crashed
    /// Asked for by the scheduler's `.stop`.
    case stopped(StopMethod)
    /// The worker died under it, of another attempt that ran in it. It does not count.
    case bystander
    /// Handed back before it began, because its worker went away. It does not count as an attempt.
    case returned
}

/// What is to be done, in the imperative: everything that the scheduler ever asks for.
package enum Action: Sendable, Equatable {
    /// Store the submission, then say `.persisted`. With an attempt of 1 its start is stored with it, as grant 1.
    case persist(JobID, attempt: Int)
    /// Store that the attempt starts, then say `.startPersisted`.
    case persistStart(JobID, attempt: Int, grant: Int)
    /// Tell the submitter that the job is accepted.
    case answer(JobID)
    /// Hand the attempt to its pool, which says `.began` when it begins.
    case start(JobID, attempt: Int, grant: Int, PoolName)
    /// Ask the pool to end the attempt; it answers with `.attemptEnded`.
    case stop(JobID, grant: Int, PoolName, StopReason, grace: Duration)
    /// Let the attempt stand still, or go on.
    case hold(JobID, grant: Int, PoolName, Bool)
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
    case started(attempt: Int, at: Instant)
    case retrying(due: Instant, Tally)
    /// Its pool gave it back before it began: it waits as if it had not been given out.
    case handedBack(Tally)
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
        /// The server was killed while the last attempt ran.
        case lost
        /// The server ended in order, and with it the last attempt.
        case stopped
    }

    package var state: JobState {
        switch self {
        case .succeeded: .succeeded
        case .failed: .failed
        case .cancelled: .cancelled
        }
    }
}
