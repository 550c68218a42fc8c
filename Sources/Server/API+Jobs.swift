import EventLoop
import HTTP
import JSON
import Jobs
import Store

/// Looking at jobs, following them, ending them.
extension API {
    private func record(_ id: String) throws(Problem) -> JobRecord {
        guard let jobID = JobID(id), let record = engine.record(of: jobID) else {
            throw .notFound("there is no job \"\(id)\"")
        }
        return record
    }

    func jobResponse(_ record: JobRecord, status: Int = 200) -> Response {
        var body: [UInt8] = []
        body.reserveCapacity(768 + record.input.count + record.result.count)
        body.append(job: record, position: engine.scheduler.position(of: record.id), now: engine.now)
        body.append("\n")
        var response = Response.json(status, body)
        response.set("ETag", record.etag)
        response.set("Cache-Control", "no-store")
        if record.state.isFinal { response.set("Server-Timing", raw: record.serverTiming) }
        return response
    }

    // MARK: Looking

    func listJobs(_ exchange: Exchange, _: String) throws(Problem) {
        let query = try Query(exchange.head.queryText)
        try query.allow(only: JobFilter.parameters + ["limit", "cursor"])
        let filter = try JobFilter(query)
        let limit = try query.integer("limit", in: 1...500) ?? 50
        var cursor: JobID?
        if let text = query["cursor"] {
            guard let id = JobID(text) else { throw .invalid("/cursor", "is none that this server gave") }
            cursor = id
        }
        var body: [UInt8] = []
        body.append(#"{"jobs":["#)
        var count = 0
        var last: JobID?
        var hasMore = false
        let now = engine.now
        engine.store.visitNewestFirst(before: cursor) { id in
            guard let record = engine.record(of: id), filter.matches(record) else { return true }
            guard count < limit else {
                hasMore = true
                return false
            }
            if count > 0 { body.append(",") }
            body.append(job: record, position: engine.scheduler.position(of: id), now: now)
            count += 1
            last = id
            return true
        }
        body.append(#"],"next":"#)
        if hasMore, let last { body.append(jsonString: last.description) } else { body.append("null") }
        body.append("}\n")
        exchange.respond(.json(200, body))
    }

    /// One job at once, or when it has changed from what the client has, or has ended.
    func showJob(_ exchange: Exchange, _ id: String) throws(Problem) {
        let record = try record(id)
        let head = exchange.head
        let known = head.value(of: "if-none-match")
        let preferences = Preferences(head)
        func isNews() -> Bool {
            known.map { !$0.split(separator: ",").contains { $0.filter { $0 != " " } == record.etag } }
                ?? record.state.isFinal
        }
        let answer = { [unowned self] in
            var response = known != nil && !isNews() ? Response(304) : jobResponse(record)
            if response.status == 304 { response.set("ETag", record.etag) }
            if preferences.wait != nil { response.set("Preference-Applied", "wait=\(preferences.waitText)") }
            exchange.respond(response)
        }
        guard let wait = preferences.wait, !isNews(), !record.state.isFinal else { return answer() }
        let waiter = ClosureWaiter(changes: known != nil) { _, _ in answer() }
        waiter.limit(to: Deadline(after: wait, on: engine.loop) { waiter.fire(.timeUp, record) })
        exchange.onClose = { waiter.forget() }
        if !engine.wait(for: record.id, waiter) { waiter.fire(.ended, record) }
    }

    func jobResult(_ exchange: Exchange, _ id: String) throws(Problem) {
        let record = try record(id)
        guard record.state == .succeeded else {
            var problem = Problem(409, "no-result", "the job is \(record.state.rawValue) and has no result")
            problem.job = record.id
            problem.error = record.error
            throw problem
        }
        respondResult(exchange, record)
    }

    // MARK: Following

    func jobEvents(_ exchange: Exchange, _ id: String) throws(Problem) {
        let record = try record(id)
        let head = exchange.head
        let query = try Query(head.queryText)
        try query.allow(only: ["after", "limit"])
        let lastSeen = head.value(of: "last-event-id")
        let wanted = try query.integer("after", in: 0...Int.max)
        let after = lastSeen.flatMap { Int($0) } ?? wanted ?? 0
        switch Acceptance(head).best(of: [
            "application/json", "text/event-stream", "application/x-ndjson", "text/plain",
        ]) {
        case "application/json":
            listEvents(exchange, record, after: after, limit: try query.integer("limit", in: 1...1000) ?? 1000)
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

    func jobLog(_ exchange: Exchange, _ id: String) throws(Problem) {
        stream(exchange, try record(id), .log, after: 0)
    }

    private func listEvents(_ exchange: Exchange, _ record: JobRecord, after: Int, limit: Int) {
        let log = record.events
        var body: [UInt8] = []
        body.append(#"{"events":["#)
        var first = after + 1
        var isFirst = true
        if first < log.firstSeq {
            body.append(gapFrom: first, to: log.firstSeq - 1, reason: "history dropped", of: record, at: engine.now)
            first = log.firstSeq
            isFirst = false
        }
        if first <= log.lastSeq {
            for seq in first...min(log.lastSeq, first + limit - 1) {
                if !isFirst { body.append(",") }
                isFirst = false
                body.append(event: log[seq], of: record)
            }
        }
        body.append("]}\n")
        var response = Response.json(200, body)
        response.set("Cache-Control", "no-store")
        exchange.respond(response)
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
    }

    private func streamResponse(_ format: EventFormat) -> Response {
        var response = Response(200, format.contentType)
        response.set("Cache-Control", "no-store")
        response.set("X-Accel-Buffering", "no")
        response.set("Incremental", "?1")
        return response
    }

    func allEvents(_ exchange: Exchange, _: String) throws(Problem) {
        let query = try Query(exchange.head.queryText)
        try query.allow(only: JobFilter.parameters)
        let offers = ["text/event-stream", "application/x-ndjson"]
        let format: EventFormat
        switch Acceptance(exchange.head).best(of: offers) {
        case "text/event-stream": format = .sse
        case "application/x-ndjson": format = .ndjson
        default: throw Problem(406, "not-acceptable", "events of all jobs come as \(offers.joined(separator: " or "))")
        }
        let stream = FirehoseStream(to: exchange, as: format, try JobFilter(query), now: engine.now)
        exchange.beginStream(streamResponse(format))
        if exchange.head.method == .head { return exchange.end() }
        if format == .sse { exchange.send(StreamChunk(format.prelude)) }
        engine.streams.add(stream)
    }

    // MARK: Ending

    func cancelJob(_ exchange: Exchange, _ id: String) throws(Problem) {
        let record = try record(id)
        let preferences = Preferences(exchange.head)
        let grace = try grace(exchange.takeBody())
        guard !record.state.isFinal else {
            var problem = Problem(409, "already-ended", "the job had \(record.state.rawValue) before")
            problem.job = record.id
            throw problem
        }
        let answer = { [unowned self] in
            var response = jobResponse(record, status: record.state.isFinal ? 200 : 202)
            if preferences.wait != nil { response.set("Preference-Applied", "wait=\(preferences.waitText)") }
            exchange.respond(response)
        }
        engine.cancel(record.id, grace: grace)
        guard let wait = preferences.wait, !record.state.isFinal else { return answer() }
        let waiter = ClosureWaiter { _, _ in answer() }
        waiter.limit(to: Deadline(after: wait, on: engine.loop) { waiter.fire(.timeUp, record) })
        exchange.onClose = { waiter.forget() }
        if !engine.wait(for: record.id, waiter) { waiter.fire(.ended, record) }
    }

    private func grace(_ body: [UInt8]) throws(Problem) -> Duration {
        guard !body.isEmpty else { return Engine.defaultGrace }
        let value: JSONValue
        do throws(JSONError) {
            value = try JSONReader.value(of: body)
        } catch {
            throw .malformed(error)
        }
        guard case .object(let members) = value else { throw .invalid("", "expected object, got \(value.typeName)") }
        for member in members where member.key != "grace" {
            throw .invalid("/\(escapedPointer(member.key))", "unknown member")
        }
        guard let grace = value["grace"] else { return Engine.defaultGrace }
        guard let text = grace.string, let duration = Duration(text: text) else {
            throw .invalid("/grace", "expected a duration with a unit, like 500ms or 5s")
        }
        return duration
    }
}

extension JobRecord {
    /// Changes whenever anything that a client can see does.
    var etag: String { "\"\(id)-\(events.lastSeq)\"" }
}
