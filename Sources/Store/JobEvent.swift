import Jobs

/// One change of a job, as clients may replay it. The large cases stand elsewhere: most jobs have only small ones.
package struct JobEvent: Sendable, Equatable {
    package enum Kind: Sendable, Equatable {
        case accepted
        case queued(position: Int)
        case started(pool: PoolName, worker: String?)
        /// - Parameter left: How long the attempt would take from there, in nanoseconds; nil: nobody can say.
        indirect case progress(Progress, left: Int64?)
        indirect case log(stream: String, level: String? = nil, text: String)
        /// JSON on one line.
        case output([UInt8])
        indirect case retrying(JobError?, due: Instant)
        case cancelling
        case suspended, resumed
        /// Result, error, usage and how it was cancelled stand in the record.
        case succeeded, failed, cancelled
        /// Events from here to its own number are not known any more.
        indirect case gap(from: Int, reason: String)
    }

    /// From 1, without holes, for each job; what is missing is covered by a gap.
    package let seq: Int
    package let time: Instant
    package let attempt: Int
    package var kind: Kind

    package init(seq: Int, time: Instant, attempt: Int, kind: Kind) {
        self.seq = seq
        self.time = time
        self.attempt = attempt
        self.kind = kind
    }
}
