import Jobs
import Pools
import Store

/// Counters of the engine, as Prometheus text.
///
/// Loop-confined: a count is an addition, and nothing is formatted before somebody asks.
final class Metrics {
    var submitted: UInt64 = 0
    var events: UInt64 = 0
    var staleWrites: UInt64 = 0
    var workersEnded: [Recycling.Reason: UInt64] = [:]
    private var runSeconds = [Buckets](repeating: Buckets(), count: PoolName.allCases.count)
    private var waitSeconds = [Buckets](repeating: Buckets(), count: PoolName.allCases.count)
    private var cancelSeconds: [StopMethod: Buckets] = [:]

    func ended(_ record: JobRecord) {
        if let started = record.startedAt, let finished = record.finishedAt {
            waitSeconds[record.pool.index].note(Double(started.nanoseconds(since: record.createdAt)) / 1e9)
            runSeconds[record.pool.index].note(Double(finished.nanoseconds(since: started)) / 1e9)
        }
        if let cancel = record.cancel { cancelSeconds[cancel.how, default: Buckets()].note(cancel.took.seconds) }
    }

    /// Everything about jobs.
    func write(of engine: Engine, to out: inout PrometheusText) {
        out.family("spindle_jobs_submitted_total", "counter", "Jobs accepted.", Double(submitted))
        out.family(
            "spindle_jobs_ended_total", "counter", "Jobs ended, by task and state.",
            engine.registry.all.flatMap { entry in
                [("succeeded", entry.succeeded), ("failed", entry.failed), ("cancelled", entry.cancelled)].map {
                    ([("task", entry.task.name), ("state", $0)], Double($1))
                }
            })
        out.family(
            "spindle_ready", "gauge", "1 when all jobs of an earlier server are here and can be asked for.",
            engine.restoration == nil ? 1 : 0)
        out.family("spindle_jobs_live", "gauge", "Jobs that have not ended.", Double(engine.live.count))
        out.family(
            "spindle_live_bytes", "gauge", "Bytes that jobs hold which have not ended, about.", Double(engine.liveBytes)
        )
        out.family(
            "spindle_live_bytes_limit", "gauge", "Bytes over which no more jobs are taken.",
            Double(engine.options.liveBytes))
        out.family(
            "spindle_queue_depth", "gauge", "Jobs that wait, by queue.",
            engine.scheduler.queueNames.map { ([("queue", $0)], Double(engine.scheduler.depth(of: $0))) })
        let loads = engine.pools.map {
            (labels: [("pool", $0.name.rawValue)], load: engine.scheduler.load(of: $0.name))
        }
        out.family(
            "spindle_pool_slots", "gauge", "Attempts that a pool runs at once.",
            loads.map { ($0.labels, Double($0.load.slots)) })
        out.family(
            "spindle_pool_busy", "gauge", "Attempts that a pool has in hand.",
            loads.map { ($0.labels, Double($0.load.busy)) })
        out.family(
            "spindle_workers_ended_total", "counter", "Worker processes that ended, by reason.",
            Recycling.Reason.allCases.map { ([("reason", $0.rawValue)], Double(workersEnded[$0] ?? 0)) })
        out.histogram(
            "spindle_job_run_seconds", "From start to end of the last attempt, by pool.", pools(runSeconds))
        out.histogram(
            "spindle_job_wait_seconds", "From acceptance to the last start, by pool.", pools(waitSeconds))
        out.histogram(
            "spindle_job_cancel_seconds", "From the wish to cancel to the end, by what worked.",
            cancelSeconds.sorted { $0.key.rawValue < $1.key.rawValue }.map { ([("how", $0.key.rawValue)], $0.value) })
        out.family("spindle_events_total", "counter", "Events of all jobs.", Double(events))
        out.family(
            "spindle_events_delivered_total", "counter", "Events sent to streams.", Double(engine.streams.delivered))
        out.family(
            "spindle_streams_open", "gauge", "Open event streams.",
            Double(engine.streams.count + engine.monitor.readerCount))
        out.family(
            "spindle_stale_ends_total", "counter", "Reports refused because another attempt was current.",
            Double(engine.scheduler.staleEvents + staleWrites))
        out.family(
            "spindle_store_pending", "gauge", "Changes that are not yet on disk.", Double(engine.journal.depth))
    }

    private func pools(_ buckets: [Buckets]) -> [(PrometheusText.Labels, Buckets)] {
        PoolName.allCases.map { ([("pool", $0.rawValue)], buckets[$0.index]) }.filter { $0.1.total > 0 }
    }
}
