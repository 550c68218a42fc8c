import JSON
import Jobs
import Pools
import Store

/// Counters of the engine, as Prometheus text.
///
/// Loop-confined: a count is an addition, and nothing is formatted before somebody asks.
/// Source: Prometheus exposition formats, text format 0.0.4.
final class Metrics {
    var submitted: UInt64 = 0
    var events: UInt64 = 0
    var staleWrites: UInt64 = 0
    var workersEnded: [Recycling.Reason: UInt64] = [:]
    private var runSeconds = [Buckets](repeating: Buckets(), count: PoolName.allCases.count)
    private var waitSeconds = [Buckets](repeating: Buckets(), count: PoolName.allCases.count)
    private var cancelSeconds: [StopMethod: Buckets] = [:]

    /// A histogram with bounds from 100 us to 5 minutes.
    struct Buckets {
        static let bounds: [(seconds: Double, label: StaticString)] = [
            (0.0001, "0.0001"), (0.0005, "0.0005"), (0.001, "0.001"), (0.005, "0.005"), (0.01, "0.01"), (0.05, "0.05"),
            (0.1, "0.1"), (0.5, "0.5"), (1, "1"), (5, "5"), (10, "10"), (60, "60"), (300, "300"),
        ]
        var counts = [UInt64](repeating: 0, count: Buckets.bounds.count + 1)
        var sum = 0.0

        mutating func note(_ seconds: Double) {
            sum += seconds
            var index = 0
            while index < Self.bounds.count, seconds > Self.bounds[index].seconds { index += 1 }
            counts[index] += 1
        }

        var total: UInt64 { counts.reduce(0, +) }
    }

    func ended(_ record: JobRecord) {
        if let started = record.startedAt, let finished = record.finishedAt {
            waitSeconds[record.pool.index].note(Double(started.nanoseconds(since: record.createdAt)) / 1e9)
            runSeconds[record.pool.index].note(Double(finished.nanoseconds(since: started)) / 1e9)
        }
        if let cancel = record.cancel { cancelSeconds[cancel.how, default: Buckets()].note(cancel.took.seconds) }
    }

    func text(of engine: Engine, connections: Int) -> [UInt8] {
        var out = PrometheusText()
        out.family("spindle_jobs_submitted_total", "counter", "Jobs accepted.")
        out.sample("spindle_jobs_submitted_total", [], Double(submitted))
        out.family("spindle_jobs_ended_total", "counter", "Jobs ended, by task and state.")
        for entry in engine.registry.all {
            for (state, count) in [
                ("succeeded", entry.succeeded), ("failed", entry.failed), ("cancelled", entry.cancelled),
            ] {
                out.sample("spindle_jobs_ended_total", [("task", entry.task.name), ("state", state)], Double(count))
            }
        }
        out.family("spindle_jobs_live", "gauge", "Jobs that have not ended.")
        out.sample("spindle_jobs_live", [], Double(engine.live.count))
        out.family("spindle_live_bytes", "gauge", "Bytes that jobs hold which have not ended, about.")
        out.sample("spindle_live_bytes", [], Double(engine.liveBytes))
        out.family("spindle_live_bytes_limit", "gauge", "Bytes over which no more jobs are taken.")
        out.sample("spindle_live_bytes_limit", [], Double(engine.options.liveBytes))
        out.family("spindle_queue_depth", "gauge", "Jobs that wait, by queue.")
        for name in engine.scheduler.queueNames {
            out.sample("spindle_queue_depth", [("queue", name)], Double(engine.scheduler.depth(of: name)))
        }
        out.family("spindle_pool_slots", "gauge", "Attempts that a pool runs at once.")
        out.family("spindle_pool_busy", "gauge", "Attempts that a pool has in hand.")
        for pool in engine.pools {
            let (busy, slots) = engine.scheduler.load(of: pool.name)
            out.sample("spindle_pool_slots", [("pool", pool.name.rawValue)], Double(slots))
            out.sample("spindle_pool_busy", [("pool", pool.name.rawValue)], Double(busy))
        }
        out.family("spindle_workers_ended_total", "counter", "Worker processes that ended, by reason.")
        for reason in Recycling.Reason.allCases {
            out.sample(
                "spindle_workers_ended_total", [("reason", reason.rawValue)], Double(workersEnded[reason] ?? 0))
        }
        out.histogram(
            "spindle_job_run_seconds", "From start to end of the last attempt, by pool.", by: "pool", pools(runSeconds))
        out.histogram(
            "spindle_job_wait_seconds", "From acceptance to the last start, by pool.", by: "pool", pools(waitSeconds))
        out.histogram(
            "spindle_job_cancel_seconds", "From the wish to cancel to the end, by what worked.", by: "how",
            cancelSeconds.map { ($0.key.rawValue, $0.value) }.sorted { $0.0 < $1.0 })
        out.family("spindle_events_total", "counter", "Events of all jobs.")
        out.sample("spindle_events_total", [], Double(events))
        out.family("spindle_events_delivered_total", "counter", "Events sent to streams.")
        out.sample("spindle_events_delivered_total", [], Double(engine.streams.delivered))
        out.family("spindle_streams_open", "gauge", "Open event streams.")
        out.sample("spindle_streams_open", [], Double(engine.streams.count + engine.monitor.readerCount))
        out.family("spindle_stale_ends_total", "counter", "Reports refused because another attempt was current.")
        out.sample("spindle_stale_ends_total", [], Double(engine.scheduler.staleEvents + staleWrites))
        out.family("spindle_store_pending", "gauge", "Changes that are not yet on disk.")
        out.sample("spindle_store_pending", [], Double(engine.journal.depth))
        out.family("spindle_http_connections", "gauge", "Open connections.")
        out.sample("spindle_http_connections", [], Double(connections))
        return out.bytes
    }

    private func pools(_ buckets: [Buckets]) -> [(String, Buckets)] {
        PoolName.allCases.map { ($0.rawValue, buckets[$0.index]) }.filter { $0.1.total > 0 }
    }
}

/// Writes the text format.
private struct PrometheusText {
    var bytes: [UInt8] = []

    mutating func family(_ name: StaticString, _ type: StaticString, _ help: StaticString) {
        bytes.append(utf8: "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n")
    }

    mutating func sample(_ name: String, _ labels: [(name: String, value: String)], _ value: Double) {
        bytes.append(utf8: name)
        if !labels.isEmpty {
            let list = labels.map { label in
                "\(label.name)=\(String(decoding: JSONValue.string(label.value).bytes, as: UTF8.self))"
            }
            bytes.append(utf8: "{\(list.joined(separator: ","))}")
        }
        bytes.append(" ")
        bytes.append(number: value)
        bytes.append("\n")
    }

    mutating func histogram(
        _ name: StaticString, _ help: StaticString, by label: String, _ series: [(String, Metrics.Buckets)]
    ) {
        family(name, "histogram", help)
        for (value, buckets) in series {
            var total: UInt64 = 0
            for (bound, count) in zip(Metrics.Buckets.bounds, buckets.counts) {
                total += count
                sample("\(name)_bucket", [(label, value), ("le", "\(bound.label)")], Double(total))
            }
            sample("\(name)_bucket", [(label, value), ("le", "+Inf")], Double(buckets.total))
            sample("\(name)_sum", [(label, value)], buckets.sum)
            sample("\(name)_count", [(label, value)], Double(buckets.total))
        }
    }
}
