import JSON
import Jobs
import Pools
import Store

/// The parts of a frame and of the timeline, as JSON. Times are milliseconds since 1970, with microseconds behind the point.
extension [UInt8] {
    mutating func append(epoch nanoseconds: Int64) {
        let nanoseconds = Swift.max(nanoseconds, 0)
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
        append(list: engine.pools) { out, pool in
            let load = engine.scheduler.load(of: pool.name)
            out.append(#"{"name":"#)
            out.append(jsonString: pool.name.rawValue)
            out.append(#","capacity":"#)
            out.append(integer: load.slots)
            out.append(#","busy":"#)
            out.append(integer: Swift.min(load.busy, load.slots))
            out.append(#","waiting":"#)
            out.append(integer: engine.scheduler.waiting(for: pool.name))
            out.append("}")
        }
        append("]")
    }

    mutating func append(queuesOf engine: Engine) {
        append(#","queues":["#)
        append(list: engine.scheduler.queueNames.sorted()) { $0.append(queue: $1, of: engine) }
        append("]")
    }

    /// Tasks that have had or have jobs.
    mutating func append(tasksOf engine: Engine) {
        let known = engine.registry.all.filter { entry in
            entry.succeeded + entry.failed + entry.cancelled > 0 || entry.waiting + entry.running > 0
        }
        append(#","tasks":["#)
        append(list: known) { out, entry in
            out.append(#"{"name":"#)
            out.append(jsonString: entry.task.name)
            out.append(#","waiting":"#)
            out.append(integer: entry.waiting)
            out.append(#","running":"#)
            out.append(integer: entry.running)
            out.append(#","succeeded":"#)
            out.append(integer: Int(entry.succeeded))
            out.append(#","failed":"#)
            out.append(integer: Int(entry.failed))
            out.append(#","cancelled":"#)
            out.append(integer: Int(entry.cancelled))
            out.append(#","fraction":"#)
            out.append(optional: engine.monitor.progress[entry.task.name].map { $0.fractions / Double($0.jobs) })
            out.append("}")
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
        append(labels: job.labels)
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
        append(list: monitor.lanes.all) { out, lane in
            out.append(#"{"pool":"#)
            out.append(jsonString: lane.pool.rawValue)
            out.append(#","number":"#)
            out.append(integer: lane.number)
            out.append("}")
        }
        append(#"],"task_names":["#)
        append(list: monitor.taskNames) { $0.append(jsonString: $1) }
        append("]")
    }

    /// `[lane, task, ending, attempt, waited from, from, to, count, busy, job]` each; see ``Span``.
    mutating func append(spans: [Span]) {
        append("[")
        append(list: spans) { out, span in
            out.append("[")
            out.append(list: [Int(span.lane), Int(span.task), Int(span.ending.rawValue), span.attempt]) {
                $0.append(integer: $1)
            }
            for time in [span.waitedFrom, span.from, span.to] {
                out.append(",")
                out.append(epoch: time)
            }
            out.append(",")
            out.append(integer: span.count)
            out.append(",")
            out.append(epoch: span.busy)
            out.append(",\"")
            span.job.write(to: &out)
            out.append("\"]")
        }
        append("]")
    }

    /// `[lane, task, attempt, waited from, from, job, worker]` for each row that is taken.
    mutating func append(runningOf monitor: Monitor) {
        let taken = monitor.lanes.all.enumerated().compactMap { index, lane in
            lane.job.flatMap { job in job.record.startedAt.map { (index, job.record, $0) } }
        }
        append(#","running":["#)
        append(list: taken) { out, row in
            let (lane, record, from) = row
            out.append("[")
            out.append(list: [lane, Int(truncatingIfNeeded: monitor.number(of: record.task)), record.attempt]) {
                $0.append(integer: $1)
            }
            out.append(",")
            out.append(epoch: record.waitsSince.nanoseconds)
            out.append(",")
            out.append(epoch: from.nanoseconds)
            out.append(",\"")
            record.id.write(to: &out)
            out.append("\",")
            if let worker = record.worker { out.append(jsonString: worker) } else { out.append("null") }
            out.append("]")
        }
        append("]")
    }

    mutating func append(errors groups: ErrorGroups) {
        append(#"{"errors":["#)
        append(list: groups.all) { out, group in
            out.append(#"{"fingerprint":"#)
            out.append(jsonString: group.fingerprint)
            out.append(#","task":"#)
            out.append(jsonString: group.task)
            out.append(#","type":"#)
            out.append(jsonString: group.type)
            out.append(#","message":"#)
            out.append(jsonString: group.message)
            out.append(#","place":"#)
            out.append(jsonString: group.place)
            out.append(#","count":"#)
            out.append(integer: group.count)
            out.append(#","first_seen":"#)
            out.append(timestamp: group.firstSeen)
            out.append(#","last_seen":"#)
            out.append(timestamp: group.lastSeen)
            out.append(#","jobs":["#)
            out.append(list: group.jobs.suffix(ErrorGroups.jobsKept).reversed()) {
                $0.append(jsonString: $1.description)
            }
            out.append("]}")
        }
        append(#"],"forgotten":"#)
        append(integer: groups.forgotten)
        append("}\n")
    }
}
