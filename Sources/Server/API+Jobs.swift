import EventLoop
import HTTP
import JSON
import Jobs
import Store

/// Looking at jobs, following them, ending them.
extension API {
    /// Calls `body` with a job, wherever it is: in memory at once, on disk when it has been read.
    ///
    /// - Parameter isTagged: Whether the job's own tag is what `If-Match` speaks of, not that of something about it.
    func withRecord(
        _ exchange: Exchange, _ text: String, isTagged: Bool = true,
        _ then: @escaping (JobRecord) throws(Problem) -> Void
    ) throws(Problem) {
        let missing = Problem.notFound("there is no job \"\(text)\"")
        guard let id = JobID(text) else { throw missing }
        let preconditions = Preconditions(exchange.head)
        let body = { [unowned self] (record: JobRecord) throws(Problem) in
            if let preconditions { try preconditions.check(isTagged ? engine.tag(of: record) : nil) }
            try then(record)
        }
        if let record = engine.record(of: id) { return try body(record) }
        engine.find(id) { found in
            do throws(Problem) {
                switch found {
                case .success(let record?): try body(record)
                case .success(nil): throw missing
                case .failure(let failure): throw .unreadable(failure)
                }
            } catch {
                exchange.respond(error.response)
            }
        }
    }

    func jobResponse(_ record: JobRecord, status: Int = 200) -> Response {
        var body: [UInt8] = []
        body.reserveCapacity(768 + record.input.count + record.result.count)
        body.append(job: record, position: engine.scheduler.position(of: record.id), now: engine.now)
        body.append("\n")
        var response = Response.json(status, body)
        response.set("ETag") { [engine] in engine.writeTag(of: record, to: &$0) }
        response.set("Spindle-Durability", engine.durability)
        if record.state.isFinal { response.set("Server-Timing") { record.writeServerTiming(to: &$0) } }
        return response
    }

    // MARK: Looking

    func listJobs(_ exchange: Exchange, _: String) throws(Problem) {
        let query = try Query(exchange.head.queryText)
        let filter = try JobFilter(query)
        let limit = try query.integer(.jobLimit) ?? 50
        var cursor: JobID?
        if let text = query["cursor"] {
            guard let id = JobID(text) else { throw .invalid("/cursor", "is none that this server gave") }
            cursor = id
        }
        var fields: Set<JobField> = []
        for name in query["fields"]?.parts(at: ",", keepingEmpty: true) ?? [] {
            guard let field = JobField(rawValue: String(name)) else {
                throw .invalid("/fields", "\"\(name)\" is none of \(JobField.names.joined(separator: ", "))")
            }
            fields.insert(field)
        }
        var wanted = JobQuery(filter, before: cursor, limit: limit)
        wanted.isWhole = !fields.isEmpty
        engine.lists.list(wanted) { [unowned self] found in
            switch found {
            case .success(let page): respondList(exchange, page, whole: fields)
            case .failure(let failure): exchange.respond(Problem.unreadable(failure).response)
            }
        }
    }

    private func respondList(_ exchange: Exchange, _ page: JobPage, whole fields: Set<JobField>) {
        var body: [UInt8] = []
        body.append(#"{"jobs":["#)
        let now = engine.now
        var resume = page.resume
        for (index, job) in page.jobs.enumerated() {
            if index > 0 {
                guard body.count < JobQuery.longestWhole else {
                    resume = page.jobs[index - 1].id
                    break
                }
                body.append(",")
            }
            body.append(job: job, position: engine.scheduler.position(of: job.id), now: now, whole: fields)
        }
        body.append(#"],"next":"#)
        if let next = resume { body.append(jsonString: next.description) } else { body.append("null") }
        body.append("}\n")
        exchange.respond(.json(200, body))
    }

    /// One job at once, or when it has changed from what the client has, or has ended.
    func showJob(_ exchange: Exchange, _ id: String) throws(Problem) {
        try withRecord(exchange, id) { [unowned self] record in show(exchange, record) }
    }

    private func show(_ exchange: Exchange, _ record: JobRecord) {
        let head = exchange.head
        let known = EntityTags(head.values(of: "if-none-match"))
        let preferences = Preferences(head)
        func isNews() -> Bool { known.map { !$0.weaklyMatch(engine.tag(of: record)) } ?? record.state.isFinal }
        let answer = { [unowned self] in
            var response = known != nil && !isNews() ? Response(304) : jobResponse(record)
            if response.status == 304 { response.set("ETag") { engine.writeTag(of: record, to: &$0) } }
            if preferences.wait != nil { response.set("Preference-Applied", "wait=\(preferences.waitText)") }
            exchange.respond(response)
        }
        guard let wait = preferences.wait, !isNews(), !record.state.isFinal else { return answer() }
        let waiter = ClosureWaiter(changes: known != nil) { _, _ in answer() }
        waiter.limit(to: Deadline(after: wait, on: engine.loop) { waiter.fire(.timeUp, record) })
        exchange.whenLeft { waiter.forget() }
        if !engine.wait(for: record.id, waiter) { waiter.fire(.ended, record) }
    }

    func jobResult(_ exchange: Exchange, _ id: String) throws(Problem) {
        try withRecord(exchange, id, isTagged: false) { [unowned self] record throws(Problem) in
            guard record.state == .succeeded else {
                var problem = Problem(409, "no-result", "the job is \(record.state.rawValue) and has no result")
                problem.job = record.id
                problem.error = record.error
                throw problem
            }
            respondResult(exchange, record)
        }
    }

    // MARK: Following

    func jobEvents(_ exchange: Exchange, _ id: String) throws(Problem) {
        try withRecord(exchange, id, isTagged: false) { [unowned self] record throws(Problem) in
            try showEvents(exchange, record)
        }
    }

    private func showEvents(_ exchange: Exchange, _ record: JobRecord) throws(Problem) {
        let head = exchange.head
        let query = try Query(head.queryText)
        let wanted = try query.integer(.after)
        let lastSeen = try Self.lastEventID(head) ?? wanted
        // What nobody has been shown yet nobody has: one beyond the end means the end.
        let after = min(lastSeen ?? 0, record.events.lastShown)
        switch Acceptance(head).best(of: [
            "application/json", "text/event-stream", "application/x-ndjson", "text/plain",
        ]) {
        case "application/json":
            listEvents(exchange, record, after: after, limit: try query.integer(.eventLimit) ?? 1000)
        case "text/event-stream":
            if lastSeen != nil, record.state.isFinal, after >= record.events.lastSeq {
                return exchange.respond(Response(204))
            }
            stream(exchange, record, .sse, after: after)
        case "application/x-ndjson": stream(exchange, record, .ndjson, after: after)
        case "text/plain": stream(exchange, record, .log, after: 0)
        default:
            throw Problem(
                406, "not-acceptable",
                "events come as application/json, text/event-stream, application/x-ndjson or text/plain")
        }
    }

    /// The last event that the client has; nil when it does not say.
    ///
    /// - Throws: ``Problem`` 400 when that is no number of an event.
    private static func lastEventID(_ head: RequestHead) throws(Problem) -> Int? {
        guard let text = head.value(of: "last-event-id"), !text.isEmpty else { return nil }
        guard let seq = Int(text), Int.counts.contains(seq) else {
            throw Problem(400, "bad-last-event-id", "Last-Event-ID is a number from 0 to \(Int.counts.upperBound)")
        }
        return seq
    }

    func jobLog(_ exchange: Exchange, _ id: String) throws(Problem) {
        try withRecord(exchange, id, isTagged: false) { [unowned self] record in
            stream(exchange, record, .log, after: 0)
        }
    }

    private func listEvents(_ exchange: Exchange, _ record: JobRecord, after: Int, limit: Int) {
        let log = record.events
        var body: [UInt8] = []
        body.append(#"{"events":["#)
        var isFirst = true
        if after < log.lastShown, after + 1 < log.firstSeq {
            body.append(
                gapFrom: after + 1, to: min(log.firstSeq - 1, log.lastShown), reason: "history dropped", of: record,
                at: engine.now)
            isFirst = false
        }
        for index in log.index(after: after)..<log.index(after: log.lastShown) {
            guard index - log.index(after: after) < limit else { break }
            if !isFirst { body.append(",") }
            isFirst = false
            if case .gap(let from, let reason) = log[index].kind, from <= after {
                let (last, time) = (log[index].seq, log[index].time)
                body.append(gapFrom: after + 1, to: last, reason: reason, of: record, at: time)
            } else {
                body.append(event: log[index], of: record)
            }
        }
        body.append("]}\n")
        exchange.respond(.json(200, body))
    }

    func stream(_ exchange: Exchange, _ record: JobRecord, _ format: EventFormat, after: Int, replay: Bool = false) {
        var response = streamResponse(format)
        response.set("Spindle-Job", record.id.description)
        if replay { response.set("Idempotent-Replay", "true") }
        let stream = JobStream(record, to: exchange, as: format, after: after, now: engine.now)
        stream.begin(response)
        // Whoever asks for the head alone waits for nothing.
        if exchange.head.method == .head { return exchange.end() }
        engine.streams.add(stream)
        engine.follow(record.id)
    }

    func streamResponse(_ format: EventFormat) -> Response {
        var response = Response(200, format.contentType)
        response.set("X-Accel-Buffering", "no")
        response.set("Incremental", "?1")
        return response
    }

    func allEvents(_ exchange: Exchange, _: String) throws(Problem) {
        let query = try Query(exchange.head.queryText)
        let filter = try JobFilter(query)
        let offers = ["text/event-stream", "application/x-ndjson"]
        let format: EventFormat
        switch Acceptance(exchange.head).best(of: offers) {
        case "text/event-stream": format = .sse
        case "application/x-ndjson": format = .ndjson
        default: throw Problem(406, "not-acceptable", "events of all jobs come as \(offers.joined(separator: " or "))")
        }
        if let every = query["every"] { return try follow(exchange, every: every, as: format) }
        let stream = FirehoseStream(to: exchange, as: format, filter, now: engine.now)
        exchange.beginStream(streamResponse(format))
        if exchange.head.method == .head { return exchange.end() }
        if format == .sse { exchange.send(StreamChunk(format.prelude)) }
        engine.streams.add(stream)
    }

    // MARK: Ending

    func cancelJob(_ exchange: Exchange, _ id: String) throws(Problem) {
        let preferences = Preferences(exchange.head)
        let grace = try grace(exchange.takeBody())
        try withRecord(exchange, id) { [unowned self] record throws(Problem) in
            guard !record.state.isFinal else { throw .alreadyEnded(record) }
            engine.cancel(record.id, grace: grace)
            // What the answer says is to be on disk: at least the wish.
            engine.whenStored(of: record.id) { [unowned self] in
                answerCancel(exchange, record, preferences)
            }
        }
    }

    private func answerCancel(_ exchange: Exchange, _ record: JobRecord, _ preferences: Preferences) {
        let answer = { [unowned self] in
            // It ended by itself before it was asked to.
            guard !record.state.isFinal || record.state == .cancelled else {
                return exchange.respond(Problem.alreadyEnded(record).response)
            }
            var response = jobResponse(record, status: record.state.isFinal ? 200 : 202)
            if preferences.wait != nil { response.set("Preference-Applied", "wait=\(preferences.waitText)") }
            exchange.respond(response)
        }
        guard let wait = preferences.wait, !record.state.isFinal else { return answer() }
        let waiter = ClosureWaiter { _, _ in answer() }
        waiter.limit(to: Deadline(after: wait, on: engine.loop) { waiter.fire(.timeUp, record) })
        exchange.whenLeft { waiter.forget() }
        if !engine.wait(for: record.id, waiter) { waiter.fire(.ended, record) }
    }

    private func grace(_ body: [UInt8]) throws(Problem) -> Duration {
        guard !body.isEmpty else { return Engine.defaultGrace }
        let value = try Self.object(body, knowing: ["grace"])
        guard let grace = value["grace"] else { return Engine.defaultGrace }
        guard let text = grace.string, let duration = Duration(text: text) else {
            throw .invalid("/grace", "expected a duration with a unit, like 500ms or 5s")
        }
        return duration
    }
}

extension Engine {
    /// Changes whenever anything that a client can see does.
    ///
    /// The numbers of a live job's last events may not be on disk: after a crash they are given again. So its tag belongs to this
    /// server alone. Its state, which is shown once it is on disk, may follow the event that tells of it.
    func writeTag(of record: JobRecord, to out: inout [UInt8]) {
        out.append("\"")
        record.id.write(to: &out)
        out.append("-")
        out.append(integer: record.events.lastSeq)
        if !record.state.isFinal {
            out.append("-")
            out.append(utf8: record.state.rawValue)
            out.append("-")
            out.append(utf8: ownName)
        }
        out.append("\"")
    }

    func tag(of record: JobRecord) -> String {
        var bytes: [UInt8] = []
        writeTag(of: record, to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }
}
