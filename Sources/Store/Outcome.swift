import Jobs

/// How a job ended, complete: what is written in one transaction, and told to nobody before.
package final class Outcome: Sendable {
    package let state: JobState
    package let attempt: Int
    package let startedAt: Instant?
    package let finishedAt: Instant
    package let worker: String?
    package let progress: Progress?
    /// JSON on one line; empty unless it succeeded.
    package let result: [UInt8]
    package let error: JobError?
    package let usage: Usage?
    package let cancel: (how: StopMethod, took: Duration)?
    /// The last event.
    package let end: JobEvent
    /// For a store that writes them down: the events before the last one, and the log.
    package let history: (events: EventLog, log: LogTail)?

    package init(
        _ state: JobState, of record: JobRecord, at now: Instant, result: [UInt8] = [], error: JobError? = nil,
        usage: Usage? = nil, cancel: (how: StopMethod, took: Duration)? = nil, isWritten: Bool = true
    ) {
        self.state = state
        attempt = record.attempt
        startedAt = record.startedAt
        finishedAt = now
        worker = record.worker
        progress = record.progress
        self.result = result
        self.error = error
        self.usage = usage
        self.cancel = cancel
        let kind: JobEvent.Kind =
            switch state {
            case .succeeded: .succeeded
            case .failed: .failed
            case .cancelled, .scheduled, .blocked, .queued, .running, .suspended, .cancelling: .cancelled
            }
        end = JobEvent(seq: record.events.lastSeq + 1, time: now, attempt: record.attempt, kind: kind)
        history = isWritten ? (record.events, record.log) : nil
    }

    /// What its short form weighs, in bytes, roughly.
    var briefBytes: Int {
        let past = history.map { $0.events.briefBytes + min($0.log.end, LogTail.brief) }
        return result.count + (error?.bytes ?? 0) + (past ?? 0)
    }
}
