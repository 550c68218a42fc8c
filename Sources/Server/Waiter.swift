import EventLoop
import HTTP
import Jobs
import Store

/// Somebody who waits for something to happen to a job. Told once.
class Waiter {
    enum Cause {
        /// The job is accepted: on disk.
        case accepted
        case ended
        /// Anything about the job has changed.
        case changed
        /// The time that the client wanted to wait is over.
        case timeUp
        /// The submission could not be stored.
        case refused
        /// The submission's `Idempotency-Key` was used before.
        case duplicate(of: JobID, isSame: Bool)
        /// The server ends, and the job has not.
        case stopping
    }

    /// Which causes it waits for, besides the end.
    let wantsAccepted: Bool
    let wantsChanges: Bool
    private(set) var isDone = false
    private var timer: Deadline?

    init(accepted: Bool, changes: Bool) {
        wantsAccepted = accepted
        wantsChanges = changes
    }

    func limit(to deadline: Deadline) { timer = deadline }

    final func fire(_ cause: Cause, _ record: JobRecord) {
        guard !isDone else { return }
        forget()
        tell(cause, record)
    }

    /// The client has left.
    final func forget() {
        isDone = true
        timer = nil
    }

    fileprivate func tell(_ cause: Cause, _ record: JobRecord) {}
}

/// One that is told by a closure.
final class ClosureWaiter: Waiter {
    private let closure: (Cause, JobRecord) -> Void

    init(accepted: Bool = false, changes: Bool = false, _ closure: @escaping (Cause, JobRecord) -> Void) {
        self.closure = closure
        super.init(accepted: accepted, changes: changes)
    }

    override fileprivate func tell(_ cause: Cause, _ record: JobRecord) { closure(cause, record) }
}

/// A client that waits for a result and nothing else, and takes its job with it when it leaves: the hot path, in one object.
final class ResultWaiter: Waiter, ExchangeOwner {
    var job: JobID?
    private let api: API
    private let exchange: Exchange

    init(_ api: API, _ exchange: Exchange) {
        self.api = api
        self.exchange = exchange
        super.init(accepted: false, changes: false)
    }

    override fileprivate func tell(_ cause: Cause, _ record: JobRecord) {
        switch cause {
        case .refused: exchange.respond(Problem.notStored.response)
        case .stopping: exchange.respond(Problem.stopping(record.id).response)
        case .accepted, .ended, .changed, .timeUp, .duplicate: api.respondResult(exchange, record)
        }
    }

    func clientDidLeave() {
        forget()
        if let job { api.engine.cancel(job) }
    }
}
