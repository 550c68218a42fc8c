import JSON
import Jobs
import Store

extension JobEvent {
    /// The event's name, as it stands in `type` and after `event:`.
    var type: StaticString {
        switch kind {
        case .accepted: "accepted"
        case .queued: "queued"
        case .started: "started"
        case .progress: "progress"
        case .log: "log"
        case .output: "output"
        case .retrying: "retrying"
        case .cancelling: "cancelling"
        case .suspended: "suspended"
        case .resumed: "resumed"
        case .succeeded: "succeeded"
        case .failed: "failed"
        case .cancelled: "cancelled"
        case .gap: "gap"
        }
    }

    var isProgress: Bool { if case .progress = kind { true } else { false } }
}

extension [UInt8] {
    /// One event as a JSON object on one line.
    mutating func append(event: JobEvent, of job: JobRecord) {
        append(#"{"seq":"#)
        append(integer: event.seq)
        append(#","type":""#)
        append(event.type)
        append(#"","job":""#)
        job.id.write(to: &self)
        append(#"","time":"#)
        append(timestamp: event.time)
        append(#","attempt":"#)
        append(integer: event.attempt)
        switch event.kind {
        case .accepted, .cancelling, .suspended, .resumed: break
        case .queued(let position):
            append(#","position":"#)
            append(integer: position)
        case .started(let pool, let worker):
            append(#","pool":"#)
            append(jsonString: pool.rawValue)
            append(#","worker":"#)
            if let worker { append(jsonString: worker) } else { append("null") }
        case .progress(let progress, let left):
            append(",")
            appendMembers(of: progress, left: left)
        case .log(let stream, let level, let text):
            append(#","stream":"#)
            append(jsonString: stream)
            if let level {
                append(#","level":"#)
                append(jsonString: level)
            }
            append(#","text":"#)
            append(jsonString: text)
        case .output(let json):
            append(#","value":"#)
            append(contentsOf: json)
        case .retrying(let error, let due):
            append(#","error":"#)
            if let error { append(error: error) } else { append("null") }
            append(#","due":"#)
            append(timestamp: due)
        case .succeeded:
            append(#","result":"#)
            if job.result.isEmpty { append("null") } else { append(contentsOf: job.result) }
            appendUsage(of: job)
        case .failed:
            append(#","error":"#)
            if let error = job.error { append(error: error) } else { append("null") }
            appendUsage(of: job)
        case .gap(let from, let reason):
            append(#","from":"#)
            append(integer: from)
            append(#","to":"#)
            append(integer: event.seq)
            append(#","reason":"#)
            append(jsonString: reason)
        case .cancelled:
            append(",")
            if let cancel = job.cancel { appendMembers(of: cancel) } else { append(#""how":null"#) }
        }
        append("}")
    }

    /// What stands where history was dropped.
    mutating func append(gapFrom first: Int, to last: Int, reason: String, of job: JobRecord, at time: Instant) {
        append(#"{"seq":"#)
        append(integer: last)
        append(#","type":"gap","job":""#)
        job.id.write(to: &self)
        append(#"","time":"#)
        append(timestamp: time)
        append(#","attempt":"#)
        append(integer: job.attempt)
        append(#","from":"#)
        append(integer: first)
        append(#","to":"#)
        append(integer: last)
        append(#","reason":"#)
        append(jsonString: reason)
        append("}")
    }

    private mutating func appendUsage(of job: JobRecord) {
        append(#","usage":"#)
        if let usage = job.usage { append(usage: usage) } else { append("null") }
    }
}
