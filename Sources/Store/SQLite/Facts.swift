import JSON
import Jobs

/// What of a job is stored as JSON of our own: events, and the smaller facts of its end.
///
/// Arrays, not objects: read by this file alone, and written for every job.
enum Facts {
    // MARK: Events: [seq, time, attempt, type, …]

    static func write(_ events: some Sequence<JobEvent>) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(192)
        out.append("[")
        var isFirst = true
        for event in events {
            if !isFirst { out.append(",\n") }
            isFirst = false
            write(event, to: &out)
        }
        out.append("]")
        return out
    }

    private static func write(_ event: JobEvent, to out: inout [UInt8]) {
        out.append("[")
        out.append(integer: event.seq)
        out.append(",")
        out.append(integer: Int(event.time.nanoseconds))
        out.append(",")
        out.append(integer: event.attempt)
        switch event.kind {
        case .accepted: out.append(#","accepted"]"#)
        case .cancelling: out.append(#","cancelling"]"#)
        case .suspended: out.append(#","suspended"]"#)
        case .resumed: out.append(#","resumed"]"#)
        case .succeeded: out.append(#","succeeded"]"#)
        case .failed: out.append(#","failed"]"#)
        case .cancelled: out.append(#","cancelled"]"#)
        case .queued(let position):
            out.append(#","queued","#)
            out.append(integer: position)
            out.append("]")
        case .started(let pool, let worker):
            out.append(#","started","#)
            out.append(jsonString: pool.rawValue)
            out.append(",")
            out.append(text: worker)
            out.append("]")
        case .progress(let progress, let left):
            out.append(#","progress","#)
            out.append(contentsOf: value(of: progress).bytes)
            if let left {
                out.append(",")
                out.append(integer: Int(left))
            }
            out.append("]")
        case .log(let stream, let level, let text):
            out.append(#","log","#)
            out.append(jsonString: stream)
            out.append(",")
            out.append(jsonString: text)
            if let level {
                out.append(",")
                out.append(jsonString: level)
            }
            out.append("]")
        case .output(let json):
            // As text: it comes out again byte for byte.
            out.append(#","output","#)
            out.append(jsonString: String(decoding: json, as: UTF8.self))
            out.append("]")
        case .retrying(let error, let due):
            out.append(#","retrying","#)
            out.append(contentsOf: value(of: error).bytes)
            out.append(",")
            out.append(integer: Int(due.nanoseconds))
            out.append("]")
        case .gap(let from, let reason):
            out.append(#","gap","#)
            out.append(integer: from)
            out.append(",")
            out.append(jsonString: reason)
            out.append("]")
        }
    }

    /// - Returns: nil when the text is not what ``write(_:)`` makes.
    static func readEvents(_ text: String) -> [JobEvent]? {
        guard let rows = read(text)?.elements else { return nil }
        var events: [JobEvent] = []
        events.reserveCapacity(rows.count)
        for row in rows {
            guard let parts = row.elements, parts.count >= 4, let seq = parts[0].integer, let time = parts[1].integer,
                let attempt = parts[2].integer, let type = parts[3].string,
                let kind = kind(type, Array(parts.dropFirst(4)))
            else { return nil }
            // Whatever has happened to the file: a reader goes on from one number to a greater one.
            guard Int.counts.contains(seq), seq > events.last?.seq ?? 0 else { continue }
            let at = Instant(nanoseconds: Int64(time))
            events.append(JobEvent(seq: seq, time: at, attempt: attempt, kind: kind))
        }
        return events
    }

    private static func kind(_ type: String, _ parts: [JSONValue]) -> JobEvent.Kind? {
        switch (type, parts.count) {
        case ("accepted", 0): return .accepted
        case ("cancelling", 0): return .cancelling
        case ("suspended", 0): return .suspended
        case ("resumed", 0): return .resumed
        case ("succeeded", 0): return .succeeded
        case ("failed", 0): return .failed
        case ("cancelled", 0): return .cancelled
        case ("queued", 1): return parts[0].integer.map { .queued(position: $0) }
        case ("started", 2):
            return parts[0].string.flatMap { PoolName(rawValue: $0) }.map {
                .started(pool: $0, worker: parts[1].string)
            }
        case ("progress", 1...2):
            // What time was left, older servers did not write.
            let left = parts.count > 1 ? parts[1].integer.map { Int64($0) } : nil
            return progress(parts[0]).map { .progress($0, left: left) }
        case ("log", 2...3):
            return .log(
                stream: parts[0].string ?? "", level: parts.count > 2 ? parts[2].string : nil,
                text: parts[1].string ?? "")
        case ("output", 1): return parts[0].string.map { .output(Array($0.utf8)) }
        case ("retrying", 2):
            return parts[1].integer.map { .retrying(error(parts[0]), due: Instant(nanoseconds: Int64($0))) }
        case ("gap", 2): return parts[0].integer.map { .gap(from: $0, reason: parts[1].string ?? "") }
        default: return nil
        }
    }

    // MARK: The end: [worker, progress, usage, cancel, error]

    static func write(_ outcome: Outcome) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(64)
        out.append("[")
        out.append(text: outcome.worker)
        out.append(",")
        if let progress = outcome.progress {
            out.append(contentsOf: value(of: progress).bytes)
        } else {
            out.append("null")
        }
        out.append(",")
        if let usage = outcome.usage { write(usage, to: &out) } else { out.append("null") }
        out.append(",")
        if let cancel = outcome.cancel {
            out.append("[")
            out.append(jsonString: cancel.how.rawValue)
            out.append(",")
            out.append(integer: Int(cancel.took.nanoseconds))
            out.append("]")
        } else {
            out.append("null")
        }
        out.append(",")
        if let error = outcome.error { out.append(contentsOf: value(of: error).bytes) } else { out.append("null") }
        out.append("]")
        return out
    }

    /// Fills in what ``write(_:)`` made of an outcome; false when the text is something else.
    static func read(_ text: String, into record: JobRecord) -> Bool {
        guard let parts = read(text)?.elements, parts.count == 5 else { return false }
        record.worker = parts[0].string
        record.progress = progress(parts[1])
        record.usage = usage(parts[2])
        if let cancel = parts[3].elements, cancel.count == 2, let name = cancel[0].string,
            let how = StopMethod(rawValue: name), let took = cancel[1].integer
        {
            record.cancel = (how, .nanoseconds(Int64(took)))
        }
        record.error = error(parts[4])
        return true
    }

    // MARK: Labels: {name: value}

    static func write(labels: [(name: String, value: String)]) -> String? {
        guard !labels.isEmpty else { return nil }
        return text(JSONValue.object(labels.map { JSONValue.Member($0.name, .string($0.value)) }).bytes)
    }

    /// - Returns: nil when the text is not what ``write(labels:)`` makes.
    static func readLabels(_ text: String) -> [(name: String, value: String)]? {
        guard let members = read(text)?.members else { return nil }
        var labels: [(name: String, value: String)] = []
        for member in members {
            guard let value = member.value.string else { return nil }
            labels.append((member.key, value))
        }
        return labels
    }

    // MARK: Parts

    static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    private static func read(_ text: String) -> JSONValue? {
        // What cannot be read is reported by the caller, which knows where it stood.
        try? JSONReader.value(of: Array(text.utf8))
    }

    private static func value(of progress: Progress) -> JSONValue {
        [
            .number(progress.done), progress.total.map { .number($0) } ?? .null, string(progress.unit),
            string(progress.message),
        ]
    }

    private static func progress(_ value: JSONValue) -> Progress? {
        guard let parts = value.elements, parts.count == 4, let done = parts[0].number else { return nil }
        return Progress(done, of: parts[1].number, unit: parts[2].string, message: parts[3].string)
    }

    private static func value(of error: JobError?) -> JSONValue {
        guard let error else { return .null }
        return [
            .string(error.type), .string(error.message), .array(error.traceback.map { .string($0) }),
            error.exitCode.map { .integer($0) } ?? .null, error.signal.map { .integer($0) } ?? .null,
        ]
    }

    private static func error(_ value: JSONValue) -> JobError? {
        guard let parts = value.elements, parts.count == 5, let type = parts[0].string else { return nil }
        return JobError(
            type: type, message: parts[1].string ?? "", traceback: (parts[2].elements ?? []).compactMap(\.string),
            exitCode: parts[3].integer, signal: parts[4].integer)
    }

    private static func write(_ usage: Usage, to out: inout [UInt8]) {
        out.append("[")
        out.append(integer: Int(usage.cpuNanoseconds))
        out.append(",")
        out.append(integer: Int(usage.wallNanoseconds))
        out.append(",")
        if let bytes = usage.maxRSSBytes { out.append(integer: bytes) } else { out.append("null") }
        out.append(",")
        out.append(integer: usage.voluntarySwitches)
        out.append(",")
        out.append(integer: usage.involuntarySwitches)
        out.append("]")
    }

    private static func usage(_ value: JSONValue) -> Usage? {
        guard let parts = value.elements, parts.count == 5 else { return nil }
        var usage = Usage()
        usage.cpuNanoseconds = Int64(parts[0].integer ?? 0)
        usage.wallNanoseconds = Int64(parts[1].integer ?? 0)
        usage.maxRSSBytes = parts[2].integer
        usage.voluntarySwitches = parts[3].integer ?? 0
        usage.involuntarySwitches = parts[4].integer ?? 0
        return usage
    }

    private static func string(_ text: String?) -> JSONValue { text.map { .string($0) } ?? .null }
}

extension [UInt8] {
    fileprivate mutating func append(text: String?) {
        if let text { append(jsonString: text) } else { append("null") }
    }
}
