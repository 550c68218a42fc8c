import EventLoop
import HTTP
import JSON
import Jobs
import Store

/// What the dashboard looks at, and anybody else who wants the whole picture.
extension API {
    private static let paces = Duration.milliseconds(20)...Duration.seconds(60)
    /// How far back the timeline goes, in milliseconds.
    private static let hour = 3_600_000

    /// `GET /v1/events?every=250ms`: the state of everything, no more often than that.
    func follow(_ exchange: Exchange, every text: String, as format: EventFormat) throws(Problem) {
        guard let pace = Duration(text: text), Self.paces.contains(pace) else {
            throw .invalid("/every", "must be a duration from 20ms to 60s")
        }
        exchange.beginStream(streamResponse(format))
        if exchange.head.method == .head { return exchange.end() }
        // Whoever shows this wants it back soon.
        if format == .sse { exchange.send(StreamChunk(Array("retry: 500\n\n".utf8))) }
        engine.monitor.add(exchange, format, every: pace)
    }

    /// `GET /v1/timeline?from=&to=&limit=`, in milliseconds since 1970; the last minute unless said otherwise.
    func timeline(_ exchange: Exchange, _: String) throws(Problem) {
        let query = try Query(exchange.head.queryText)
        let now = engine.now.nanoseconds
        let latest = Int(now / 1_000_000)
        let to = try query.integer(.to) ?? latest
        let from = try query.integer(.from) ?? (to - 60_000)
        guard from < to else { throw .invalid("/from", "must be before to") }
        guard to - from <= Self.hour else { throw .invalid("/from", "must be at most an hour before to") }
        let limit = try query.integer(.spanLimit) ?? 4000
        let monitor: Monitor = engine.monitor
        let (spans, isJoined) = monitor.spans.window(Int64(from) * 1_000_000, Int64(to) * 1_000_000, limit: limit)
        var body: [UInt8] = []
        switch query["format"] ?? "json" {
        case "json":
            body.append(#"{"now":"#)
            body.append(epoch: now)
            body.append(#","from":"#)
            body.append(integer: from)
            body.append(#","to":"#)
            body.append(integer: to)
            body.append(#","joined":"#)
            body.append(isJoined ? "true" : "false")
            body.append(legendOf: monitor)
            body.append(#","spans":"#)
            body.append(spans: spans)
            body.append(runningOf: monitor)
            body.append("}\n")
            exchange.respond(.json(200, body))
        case "trace":
            body.append(trace: spans, monitor)
            var response = Response.json(200, body)
            response.set("Content-Disposition", "attachment; filename=\"spindle-trace.json\"")
            exchange.respond(response)
        default: throw .invalid("/format", "is json or trace")
        }
    }

    /// `GET /v1/errors`: failures in groups.
    func listErrors(_ exchange: Exchange, _: String) throws(Problem) {
        engine.monitor.withErrors { groups in
            var body: [UInt8] = []
            body.append(errors: groups)
            exchange.respond(.json(200, body))
        }
    }
}

extension [UInt8] {
    /// The trace event format that Perfetto and chrome://tracing open: a process for each pool, a thread for each row.
    ///
    /// Source: "Trace Event Format", Google, 2016. Times there are microseconds.
    fileprivate mutating func append(trace spans: [Span], _ monitor: Monitor) {
        append(#"{"displayTimeUnit":"ms","traceEvents":["#)
        var isFirst = true
        func comma(_ out: inout [UInt8]) {
            if !isFirst { out.append(",\n") }
            isFirst = false
        }
        func place(_ lane: Int, _ out: inout [UInt8]) {
            out.append(#","pid":"#)
            out.append(integer: monitor.lanes.all[lane].pool.index + 1)
            out.append(#","tid":"#)
            out.append(integer: monitor.lanes.all[lane].number)
        }
        for (index, lane) in monitor.lanes.all.enumerated() {
            for (kind, name) in [
                ("process_name", lane.pool.rawValue), ("thread_name", "\(lane.pool.rawValue) \(lane.number)"),
            ] {
                comma(&self)
                append(#"{"ph":"M","name":"#)
                append(jsonString: kind)
                place(index, &self)
                append(#","args":{"name":"#)
                append(jsonString: name)
                append("}}")
            }
        }
        for span in spans {
            comma(&self)
            append(#"{"ph":"X","name":"#)
            append(jsonString: monitor.taskNames[Int(span.task)])
            append(#","cat":"#)
            append(jsonString: String(describing: span.ending))
            place(Int(span.lane), &self)
            append(#","ts":"#)
            append(number: Double(span.from / 1000))
            append(#","dur":"#)
            append(number: Double((span.to - span.from) / 1000))
            append(#","args":{"job":""#)
            span.job.write(to: &self)
            append(#"","attempt":"#)
            append(integer: span.attempt)
            append(#","attempts":"#)
            append(integer: span.count)
            append(#","waited_ms":"#)
            append(epoch: Swift.max(span.from - span.waitedFrom, 0))
            append("}}")
        }
        append("]}\n")
    }
}
