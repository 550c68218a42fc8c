import EventLoop
import HTTP
import JSON
import Jobs
import Store

/// Submitting: `POST /v1/jobs` and `POST /v1/run/{task}`.
extension API {
    func submit(_ exchange: Exchange, _: String) throws(Problem) {
        let head = exchange.head
        let body = exchange.takeBody()
        let style = AnswerStyle(head, isRun: false)
        let identity = try Identity(head, body)
        if let identity, case .duplicate(let job, let isSame) = engine.store.earlier(identity) {
            return replay(exchange, job, isSame, style)
        }
        let submission = try Submission.read(body, engine.registry)
        try take(submission, exchange, style, identity)
    }

    /// Submits what a job was submitted with once more, at once and without its key of idempotency.
    func retryJob(_ exchange: Exchange, _ id: String) throws(Problem) {
        let style = AnswerStyle(exchange.head, isRun: false)
        try withRecord(exchange, id) { [unowned self] record throws(Problem) in
            try take(try Submission(again: record, engine.registry), exchange, style, nil)
        }
    }

    func run(_ exchange: Exchange, _ task: String) throws(Problem) {
        let head = exchange.head
        let body = exchange.takeBody()
        let style = AnswerStyle(head, isRun: true)
        let query = head.hasQuery ? try Query(head.queryText) : Query.none
        let identity = try Identity(head, body)
        if let identity, case .duplicate(let job, let isSame) = engine.store.earlier(identity) {
            return replay(exchange, job, isSame, style)
        }
        let submission = try Submission.read(body, for: task, query, engine.registry)
        try take(submission, exchange, style, identity)
    }

    private func take(
        _ submission: Submission, _ exchange: Exchange, _ style: AnswerStyle, _ identity: Identity?
    ) throws(Problem) {
        if let problem = engine.refusal(for: submission) { throw problem }
        let result: ResultWaiter?
        let waiter: Waiter
        if style.cancelsWhenLeft {
            let alone = ResultWaiter(self, exchange)
            (result, waiter) = (alone, alone)
        } else {
            result = nil
            waiter = ClosureWaiter(accepted: true) { [unowned self] cause, record in
                switch cause {
                case .refused: exchange.respond(Problem.notStored.response)
                case .duplicate(let job, let isSame): replay(exchange, job, isSame, style)
                case .accepted, .ended, .changed, .timeUp, .stopping:
                    answer(exchange, with: record, style, replay: false)
                }
            }
        }
        let job = engine.submit(submission, identity)
        if let result {
            result.job = job.record.id
            exchange.owner = result
        }
        // The memory store has accepted already; a slower one has not.
        engine.deliver(waiter, to: job)
    }

    /// The same request has come before: its job is the answer.
    private func replay(_ exchange: Exchange, _ job: JobID, _ isSame: Bool, _ style: AnswerStyle) {
        guard isSame else {
            let problem = Problem(
                422, "idempotency-key-reused", "this Idempotency-Key was used for another request")
            return exchange.respond(problem.response)
        }
        engine.find(job) { [unowned self] found in
            switch found {
            case .success(let record?): answer(exchange, with: record, style, replay: true)
            case .success(nil):
                let gone = Problem(
                    410, "gone", "the job of this Idempotency-Key, \(job), ended and is no longer kept")
                exchange.respond(gone.response)
            case .failure(let failure): exchange.respond(Problem.unreadable(failure).response)
            }
        }
    }

    /// Answers a submission that is stored, now or when the client's wish to wait is fulfilled.
    private func answer(_ exchange: Exchange, with record: JobRecord, _ style: AnswerStyle, replay: Bool) {
        switch style.kind {
        case .stream(let format): stream(exchange, record, format, after: 0, replay: replay)
        case .job, .result:
            guard !record.state.isFinal, let wait = style.waitTime else {
                return answerNow(exchange, record, style, replay: replay)
            }
            let waiter = ClosureWaiter { [unowned self] cause, _ in
                if case .result = style.kind, case .stopping = cause {
                    return exchange.respond(Problem.stopping(record.id).response)
                }
                answerNow(exchange, record, style, replay: replay)
            }
            if let limit = wait {
                waiter.limit(to: Deadline(after: limit, on: engine.loop) { waiter.fire(.timeUp, record) })
            }
            exchange.whenLeft { [unowned self] in
                waiter.forget()
                if style.cancelsWhenLeft { engine.cancel(record.id) }
            }
            if !engine.wait(for: record.id, waiter) { waiter.fire(.ended, record) }
        }
    }

    private func answerNow(_ exchange: Exchange, _ record: JobRecord, _ style: AnswerStyle, replay: Bool) {
        if case .result = style.kind, record.state.isFinal { return respondResult(exchange, record, replay: replay) }
        var response = jobResponse(record, status: record.state.isFinal && style.waitTime != nil ? 200 : 202)
        if response.status == 202 { response.set("Location") { record.writeLocation(to: &$0) } }
        if style.preferences.wait != nil {
            response.set("Preference-Applied", "wait=\(style.preferences.waitText)")
        } else if style.preferences.respondsAsync {
            response.set("Preference-Applied", "respond-async")
        }
        if replay { response.set("Idempotent-Replay", "true") }
        exchange.respond(response)
    }

    /// The result alone, or the problem that stands for it.
    func respondResult(_ exchange: Exchange, _ record: JobRecord, replay: Bool = false) {
        var response: Response
        switch record.state {
        case .succeeded:
            response = .json(200, record.result)
            response.set("Spindle-Job") { record.id.write(to: &$0) }
        case .failed:
            let isTimeout = record.error?.type == "Timeout"
            var problem = Problem(
                isTimeout ? 504 : 500, isTimeout ? "task-timeout" : "task-failed",
                record.error.map { "\($0.type): \($0.message)" } ?? "the task failed")
            problem.job = record.id
            problem.error = record.error
            response = problem.response
        case .cancelled, .scheduled, .blocked, .queued, .running, .suspended, .cancelling:
            var problem = Problem(409, "job-\(record.state.rawValue)", "the job is \(record.state.rawValue)")
            problem.job = record.id
            response = problem.response
        }
        response.set("Server-Timing") { record.writeServerTiming(to: &$0) }
        response.set("Spindle-Durability", engine.durability)
        if replay { response.set("Idempotent-Replay", "true") }
        exchange.respond(response)
    }
}

/// How a submission wants to be answered.
struct AnswerStyle {
    enum Kind {
        /// The job, as soon as it is accepted or has ended.
        case job
        /// The result alone.
        case result
        /// The job's events until it ends.
        case stream(EventFormat)
    }

    let kind: Kind
    let preferences: Preferences
    /// The client will come back for the same job.
    private let isKeyed: Bool

    init(_ head: RequestHead, isRun: Bool) {
        preferences = Preferences(head)
        isKeyed = head.has("idempotency-key")
        let plain = isRun && !preferences.respondsAsync ? Kind.result : .job
        // Nothing but the default needs a look at the list.
        guard head.has("accept") else {
            kind = plain
            return
        }
        switch Acceptance(head).best(of: ["application/json", "text/event-stream", "application/x-ndjson"]) {
        case "text/event-stream": kind = .stream(.sse)
        case "application/x-ndjson": kind = .stream(.ndjson)
        default: kind = plain
        }
    }

    /// nil: not at all. A nil inside: without limit.
    var waitTime: Duration?? {
        switch kind {
        case .result: .some(preferences.wait)
        case .job: preferences.wait.map { .some($0) }
        case .stream: nil
        }
    }

    /// A client that leaves while it waits for a result takes the job with it, unless it said how long it would wait, or
    /// that it may come back.
    var cancelsWhenLeft: Bool {
        if case .result = kind { preferences.wait == nil && !isKeyed } else { false }
    }
}

extension Identity {
    private static let keyBytes = 1...200

    init?(_ head: RequestHead, _ body: [UInt8]) throws(Problem) {
        guard let value = head.value(of: "idempotency-key") else { return nil }
        let key = String(value.inside("\"", "\""))
        guard Self.keyBytes.contains(key.utf8.count) else {
            throw Problem(400, "bad-idempotency-key", "an Idempotency-Key has 1 to 200 bytes")
        }
        self.init(
            key: key, fingerprint: sha256(Array("\(head.pathText)?\(head.queryText)\n".utf8) + body))
    }
}

extension Engine {
    /// What an answer is worth, as `Spindle-Durability` says it.
    var durability: StaticString {
        switch store.durability {
        case .fsync: "fsync"
        case .none: "none"
        }
    }

    /// Tells a waiter what has already happened, or lets it wait.
    func deliver(_ waiter: Waiter, to job: LiveJob) {
        if job.record.state.isFinal {
            waiter.fire(.ended, job.record)
        } else if waiter.wantsAccepted, job.record.events.lastSeq > 0 {
            waiter.fire(.accepted, job.record)
        } else {
            job.add(waiter)
        }
    }
}

extension Query {
    static let none = Query(items: [])
    private init(items: [(name: String, value: String)]) { self.items = items }
}

extension JobRecord {
    /// The job's address.
    func writeLocation(to out: inout [UInt8]) {
        out.append("/v1/jobs/")
        id.write(to: &out)
    }

    /// `queue;dur=1.2, run;dur=0.3, store;dur=0.4`, in milliseconds: waiting for its pool, running, waiting for the disk.
    func writeServerTiming(to out: inout [UInt8]) {
        out.append("queue;dur=")
        let waited = (startedAt ?? finishedAt ?? createdAt).nanoseconds(since: createdAt)
        out.append(milliseconds: Swift.max(waited.subtracting(saturating: acceptNanoseconds), 0))
        out.append(", run;dur=")
        out.append(milliseconds: usage?.wallNanoseconds ?? 0)
        out.append(", store;dur=")
        out.append(milliseconds: acceptNanoseconds.adding(saturating: endNanoseconds))
    }
}

extension [UInt8] {
    /// From nanoseconds, with six decimals at most.
    mutating func append(milliseconds nanoseconds: Int64) {
        append(seconds: nanoseconds.multiplied(saturating: 1000))
    }
}
