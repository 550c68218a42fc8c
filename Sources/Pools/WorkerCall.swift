/// One attempt in the hands of a worker: which message it was sent as, and how far it is.
final class WorkerCall {
    let id: Int
    let attempt: Attempt
    /// Runs beside others; all else waits in line.
    let isConcurrent: Bool
    /// When it began, as far as is known, in nanoseconds; 0: its turn has not come.
    var started: Int64 = 0
    var wasCancelled = false
    /// Its worker is ended when it does not end in time.
    var costsWorker = false
    /// In nanoseconds.
    var cancelledAt: Int64 = 0
    /// From its cancel, or its turn, to the end of its worker.
    var grace = Duration.zero
    /// The worker has said so, and it was reported.
    var isSaidToHaveBegun = false
    /// The end of what it has printed to stderr: the message about its worker's death.
    var lastErrors = ""

    init(_ id: Int, _ attempt: Attempt, isConcurrent: Bool) {
        self.id = id
        self.attempt = attempt
        self.isConcurrent = isConcurrent
    }
}
