import JSON
import Jobs
import Store

/// What may be long of a job, and is in a list only up to ``JobQuery/briefBytes`` unless it was asked for by `fields`.
enum JobField: String, CaseIterable {
    case input, result

    static let all = Set(allCases)
    static let names = allCases.map(\.rawValue)
}

/// A job and its parts, written as the API has them.
extension [UInt8] {
    /// - Parameters:
    ///   - position: The place of a queued job.
    ///   - now: For the estimated end.
    ///   - fields: Which of input and result are written however long they are.
    mutating func append(job: JobRecord, position: Int?, now: Instant, whole fields: Set<JobField> = JobField.all) {
        append(#"{"id":""#)
        job.id.write(to: &self)
        append(#"","task":"#)
        append(jsonString: job.task)
        append(#","state":"#)
        append(jsonString: job.state.rawValue)
        append(#","pool":"#)
        append(jsonString: job.pool.rawValue)
        if let reason = job.poolReason {
            append(#","pool_reason":"#)
            append(jsonString: reason)
        }
        append(#","queue":"#)
        append(jsonString: job.queue)
        append(#","priority":"#)
        append(integer: job.priority)
        append(#","attempt":"#)
        append(integer: job.attempt)
        append(#","max_attempts":"#)
        append(integer: job.maxAttempts)
        append(#","timeout":"#)
        if let timeout = job.timeout { append(jsonString: timeout.text) } else { append("null") }
        append(#","key":"#)
        if let key = job.key { append(jsonString: key) } else { append("null") }
        append(#","progress":"#)
        if let progress = job.progress {
            append("{")
            let end = job.finishedAt ?? now
            let left = job.startedAt.flatMap { progress.left(after: end.nanoseconds(since: $0)) }
            appendMembers(of: progress, left: left)
            append("}")
        } else {
            append("null")
        }
        append(#","position":"#)
        if let position { append(integer: position) } else { append("null") }
        append(input: job.input, result: job.result, of: job, whole: fields)
        append(#","error":"#)
        if let error = job.error { append(error: error) } else { append("null") }
        append(#","labels":{"#)
        append(labels: job.labels)
        append(#"},"created_at":"#)
        append(timestamp: job.createdAt)
        append(#","due_at":"#)
        append(timestamp: job.state == .scheduled ? job.dueAt : nil)
        append(#","started_at":"#)
        append(timestamp: job.startedAt)
        append(#","finished_at":"#)
        append(timestamp: job.finishedAt)
        append(#","usage":"#)
        if let usage = job.usage { append(usage: usage) } else { append("null") }
        if let cancel = job.cancel {
            append(#","cancel":{"#)
            appendMembers(of: cancel)
            append("}")
        }
        append(#","links":{"self":"/v1/jobs/"#)
        job.id.write(to: &self)
        append(#"","events":"/v1/jobs/"#)
        job.id.write(to: &self)
        append(#"/events","result":"/v1/jobs/"#)
        job.id.write(to: &self)
        append(#"/result","log":"/v1/jobs/"#)
        job.id.write(to: &self)
        append(#"/log"}}"#)
    }

    /// Both, but for what is long and not asked for.
    private mutating func append(input: [UInt8], result: [UInt8], of job: JobRecord, whole fields: Set<JobField>) {
        var left: [JobField] = []
        append(#","input":"#)
        if input.isEmpty || input.count > JobQuery.briefBytes && !fields.contains(.input) {
            left.append(.input)
            append("null")
        } else {
            append(contentsOf: input)
        }
        append(#","result":"#)
        if job.isResultLeftOut || result.count > JobQuery.briefBytes && !fields.contains(.result) {
            left.append(.result)
            append("null")
        } else if result.isEmpty {
            append("null")
        } else {
            append(contentsOf: result)
        }
        guard !left.isEmpty else { return }
        append(#","left_out":["#)
        for (index, field) in left.enumerated() {
            if index > 0 { append(",") }
            append(jsonString: field.rawValue)
        }
        append("]")
    }

    /// The members, without the braces.
    mutating func append(labels: [(name: String, value: String)]) {
        append(list: labels) { out, label in
            out.append(jsonString: label.name)
            out.append(":")
            out.append(jsonString: label.value)
        }
    }

    /// Each item, with commas between.
    mutating func append<Items: Sequence>(list items: Items, _ write: (inout [UInt8], Items.Element) -> Void) {
        var isFirst = true
        for item in items {
            if !isFirst { append(",") }
            isFirst = false
            write(&self, item)
        }
    }

    /// `"fraction":0.42,"done":…`: the members without the braces.
    mutating func appendMembers(of progress: Progress, left: Int64?) {
        append(#""fraction":"#)
        if let fraction = progress.fraction { append(number: (fraction * 1e6).rounded() / 1e6) } else { append("null") }
        append(#","done":"#)
        append(number: progress.done)
        append(#","total":"#)
        if let total = progress.total { append(number: total) } else { append("null") }
        append(#","unit":"#)
        if let unit = progress.unit { append(jsonString: unit) } else { append("null") }
        append(#","message":"#)
        if let message = progress.message { append(jsonString: message) } else { append("null") }
        append(#","eta":"#)
        if let left { append(seconds: Swift.max(left, 0) / 1_000_000 * 1_000_000) } else { append("null") }
    }

    mutating func append(error: JobError) {
        append(#"{"type":"#)
        append(jsonString: error.type)
        append(#","message":"#)
        append(jsonString: error.message)
        append(#","traceback":["#)
        append(list: error.traceback) { $0.append(jsonString: $1) }
        append(#"],"exit_code":"#)
        if let code = error.exitCode { append(integer: code) } else { append("null") }
        append(#","signal":"#)
        if let signal = error.signal { append(integer: signal) } else { append("null") }
        append("}")
    }

    mutating func append(usage: Usage) {
        append(#"{"cpu_seconds":"#)
        append(seconds: usage.cpuNanoseconds)
        append(#","wall_seconds":"#)
        append(seconds: usage.wallNanoseconds)
        append(#","max_rss_bytes":"#)
        if let bytes = usage.maxRSSBytes { append(integer: bytes) } else { append("null") }
        append(#","voluntary_switches":"#)
        append(integer: usage.voluntarySwitches)
        append(#","involuntary_switches":"#)
        append(integer: usage.involuntarySwitches)
        append("}")
    }

    mutating func appendMembers(of cancel: (how: StopMethod, took: Duration)) {
        append(#""how":"#)
        append(jsonString: cancel.how.rawValue)
        append(#","seconds":"#)
        append(seconds: cancel.took.nanoseconds)
    }
}
