import JSON
import Jobs
import Pools
import Store

/// The parts of a frame and of the timeline, as JSON. Times are milliseconds since 1970, with microseconds behind the point.
extension [UInt8] {
    mutating func append(epoch nanoseconds: Int64) {
        append(integer: Int(nanoseconds / 1_000_000))
        let rest = Int(nanoseconds / 1000 % 1000)
        guard rest != 0 else { return }
        append(rest < 10 ? ".00" : rest < 100 ? ".0" : ".")
        append(integer: rest)
    }

    mutating func append(latencies: (wait: [Double?], run: [Double?], turn: Double)) {
        append(#","wait":"#)
        append(quantiles: latencies.wait)
        append(#","run":"#)
        append(quantiles: latencies.run)
        append(#","loop_lag":"#)
        append(number: latencies.turn)
    }

    /// p50 and p99 in seconds.
    private mutating func append(quantiles: [Double?]) {
        append(#"{"p50":"#)
        append(optional: quantiles[0])
        append(#","p99":"#)
        append(optional: quantiles[1])
        append("}")
    }

    private mutating func append(optional number: Double?) {
        if let number { append(number: (number * 1e6).rounded() / 1e6) } else { append("null") }
    }

    mutating func append(poolsOf engine: Engine) {
        append(#","pools":["#)
        for (index, pool) in engine.pools.enumerated() {
            if index > 0 { append(",") }
            let load = engine.scheduler.load(of: pool.name)
            append(#"{"name":"#)
            append(jsonString: pool.name.rawValue)
            append(#","capacity":"#)
            append(integer: load.slots)
            append(#","busy":"#)
            append(integer: Swift.min(load.busy, load.slots))
            append(#","waiting":"#)
            append(integer: engine.scheduler.waiting(for: pool.name))
            append("}")
        }
        append("]")
    }

    mutating func append(queuesOf engine: Engine, oldest: [String: Instant]) {
        append(#","queues":["#)
        for (index, name) in engine.scheduler.queueNames.sorted().enumerated() {
            if index > 0 { append(",") }
            append(queue: name, of: engine, oldest: oldest[name])
        }
        append("]")
    }

    /// Tasks that have had or have jobs.
    mutating func append(tasksOf engine: Engine, _ counts: Monitor.Counts) {
        append(#","tasks":["#)
        var isFirst = true
        for entry in engine.registry.all {
            let now = counts.tasks[entry.task.name] ?? Monitor.Counts.Task()
            guard entry.succeeded + entry.failed + entry.cancelled > 0 || now.waiting + now.running > 0 else {
                continue
            }
            if !isFirst { append(",") }
            isFirst = false
            append(#"{"name":"#)
            append(jsonString: entry.task.name)
            append(#","waiting":"#)
            append(integer: now.waiting)
            append(#","running":"#)
            append(integer: now.running)
            append(#","succeeded":"#)
            append(integer: Int(entry.succeeded))
            append(#","failed":"#)
            append(integer: Int(entry.failed))
            append(#","cancelled":"#)
            append(integer: Int(entry.cancelled))
            append(#","fraction":"#)
            append(optional: now.measured > 0 ? now.fraction / Double(now.measured) : nil)
            append("}")
        }
        append("]")
    }

    /// A job in a list.
    mutating func append(brief job: JobRecord) {
        append(#"{"id":""#)
        job.id.write(to: &self)
        append(#"","task":"#)
        append(jsonString: job.task)
        append(#","state":"#)
        append(jsonString: job.state.rawValue)
        append(#","pool":"#)
        append(jsonString: job.pool.rawValue)
        append(#","queue":"#)
        append(jsonString: job.queue)
        append(#","attempt":"#)
        append(integer: job.attempt)
        append(#","fraction":"#)
        append(optional: job.progress?.fraction)
        append(#","message":"#)
        if let message = job.progress?.message { append(jsonString: message) } else { append("null") }
        append(#","error":"#)
        if let error = job.error { append(jsonString: error.type) } else { append("null") }
        append(#","labels":{"#)
        for (index, label) in job.labels.enumerated() {
            if index > 0 { append(",") }
            append(jsonString: label.name)
            append(":")
            append(jsonString: label.value)
        }
        append(#"},"created_at":"#)
        append(timestamp: job.createdAt)
        append(#","started_at":"#)
        append(timestamp: job.startedAt)
        append(#","finished_at":"#)
        append(timestamp: job.finishedAt)
        append("}")
    }

    /// The rows and the names of tasks that spans give by number.
    mutating func append(legendOf monitor: Monitor) {
        append(#","lanes":["#)
        for (index, lane) in monitor.lanes.all.enumerated() {
            if index > 0 { append(",") }
            append(#"{"pool":"#)
            append(jsonString: lane.pool.rawValue)
            append(#","number":"#)
            append(integer: lane.number)
            append("}")
        }
        append(#"],"task_names":["#)
        for (index, name) in monitor.taskNames.enumerated() {
            if index > 0 { append(",") }
            append(jsonString: name)
        }
        append("]")
    }

    /// `[lane, task, ending, attempt, waited from, from, to, count, busy, job]` each; see ``Span``.
    mutating func append(spans: [Span]) {
        append("[")
        for (index, span) in spans.enumerated() {
            if index > 0 { append(",") }
            append("[")
            append(integer: Int(span.lane))
            append(",")
            append(integer: Int(span.task))
            append(",")
            append(integer: Int(span.ending.rawValue))
            append(",")
            append(integer: span.attempt)
            append(",")
            append(epoch: span.waitedFrom)
            append(",")
            append(epoch: span.from)
            append(",")
            append(epoch: span.to)
            append(",")
            append(integer: span.count)
            append(",")
            append(epoch: span.busy)
            append(",\"")
            span.job.write(to: &self)
            append("\"]")
        }
        append("]")
    }

    /// `[lane, task, attempt, waited from, from, job, worker]` for each row that is taken.
    mutating func append(runningOf monitor: Monitor) {
        append(#","running":["#)
        var isFirst = true
        for (index, lane) in monitor.lanes.all.enumerated() {
            guard let record = lane.job?.record, let from = record.startedAt else { continue }
            append(isFirst ? "[" : ",[")
            isFirst = false
            append(integer: index)
            append(",")
            append(integer: Int(monitor.number(of: record.task)))
            append(",")
            append(integer: record.attempt)
            append(",")
            append(epoch: record.waitsSince.nanoseconds)
            append(",")
            append(epoch: from.nanoseconds)
            append(",\"")
            record.id.write(to: &self)
            append("\",")
            if let worker = record.worker { append(jsonString: worker) } else { append("null") }
            append("]")
        }
        append("]")
    }

    mutating func append(errors groups: ErrorGroups) {
        append(#"{"errors":["#)
        for (index, group) in groups.all.enumerated() {
            if index > 0 { append(",") }
            append(#"{"fingerprint":"#)
            append(jsonString: group.fingerprint)
            append(#","task":"#)
            append(jsonString: group.task)
            append(#","type":"#)
            append(jsonString: group.type)
            append(#","message":"#)
            append(jsonString: group.message)
            append(#","place":"#)
            append(jsonString: group.place)
            append(#","count":"#)
            append(integer: group.count)
            append(#","first_seen":"#)
            append(timestamp: group.firstSeen)
            append(#","last_seen":"#)
            append(timestamp: group.lastSeen)
            append(#","jobs":["#)
            for (place, id) in group.jobs.suffix(ErrorGroups.jobsKept).reversed().enumerated() {
                if place > 0 { append(",") }
                append(jsonString: id.description)
            }
            append("]}")
        }
        append(#"],"forgotten":"#)
        append(integer: groups.forgotten)
        append("}\n")
    }
}
