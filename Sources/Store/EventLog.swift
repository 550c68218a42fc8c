import Jobs

/// One change of a job, as clients may replay it. The large cases stand elsewhere: most jobs have only small ones.
package struct JobEvent {
    package enum Kind {
        case accepted
        case queued(position: Int)
        case started(pool: PoolName, worker: String?)
        indirect case progress(Progress)
        indirect case log(stream: String, text: String)
        /// JSON on one line.
        case output([UInt8])
        indirect case retrying(JobError?, due: Instant)
        case cancelling
        /// Result, error, usage and how it was cancelled stand in the record.
        case succeeded, failed, cancelled
    }

    /// From 1, without holes, for each job.
    package let seq: Int
    package let time: Instant
    package let attempt: Int
    package var kind: Kind
}

/// The last events of a job, a ring in effect: older ones are dropped, and readers are told by a `gap`.
package struct EventLog {
    /// At least this many of the last events are kept.
    package static let kept = 256

    private var events: [JobEvent] = []
    package private(set) var lastSeq = 0

    package init() { events.reserveCapacity(4) }

    /// The oldest event still here; one past the last when there is none.
    package var firstSeq: Int { lastSeq - events.count + 1 }

    package mutating func append(_ kind: JobEvent.Kind, at time: Instant, attempt: Int) {
        lastSeq += 1
        events.append(JobEvent(seq: lastSeq, time: time, attempt: attempt, kind: kind))
        if events.count >= 2 * Self.kept { events.removeFirst(Self.kept) }
    }

    /// - Parameter seq: One that is still here.
    package subscript(seq: Int) -> JobEvent { events[seq - firstSeq] }

    /// Names the worker in the last `started` event, once it is known.
    package mutating func nameWorker(_ worker: String) {
        guard let index = events.lastIndex(where: { if case .started = $0.kind { true } else { false } }),
            case .started(let pool, nil) = events[index].kind
        else { return }
        events[index].kind = .started(pool: pool, worker: worker)
    }
}
