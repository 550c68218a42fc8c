import GRDB
import Jobs

import struct Foundation.Data

/// Jobs, read from their tables.
enum Rows {
    /// A live job, with what the disk knows of its attempts.
    static func live(_ row: Row, _ events: [JobEvent], at now: Instant) throws(StoreFailure) -> (JobRecord, Remains) {
        let record = try job(row)
        record.dueAt = time(row["due_at"])
        record.startedAt = time(row["started_at"])
        record.attempt = row["attempt"]
        // Of a job that nothing has happened to, the disk has no events.
        let accepted = [JobEvent(seq: 1, time: record.createdAt, attempt: 0, kind: .accepted)]
        record.events = EventLog(stored: events.isEmpty ? accepted : events, reserved: row["reserved"], at: now)
        if events.isEmpty { record.events.lastStored = 0 }
        for case .log(_, _, let text) in events.map(\.kind) { record.log.append(line: text) }
        let remains = Remains(
            Tally(attempt: record.attempt, spared: row["spared"], crashes: row["crashes"]), grant: row["grants"],
            wasRunning: row["running"], wasCancelled: row["cancelled"])
        return (record, remains)
    }

    static func finished(_ row: Row) throws(StoreFailure) -> JobRecord {
        let record = try job(row)
        guard let state = JobState(rawValue: row["state"]), let events = Facts.readEvents(row["events"]),
            Facts.read(row["facts"], into: record)
        else { throw damaged(record.id) }
        record.state = state
        record.attempt = row["attempt"]
        record.startedAt = time(row["started_at"])
        record.finishedAt = time(row["finished_at"])
        record.result = Array((row["result"] as String? ?? "").utf8)
        record.events = EventLog(stored: events)
        record.log = LogTail(Array(row["log"] as Data? ?? Data()), dropped: row["log_dropped"])
        return record
    }

    private static func job(_ row: Row) throws(StoreFailure) -> JobRecord {
        let id = JobID(column: row["id"])
        guard let pool = PoolName(rawValue: row["pool"]) else { throw damaged(id) }
        return JobRecord(
            id: id, task: row["task"], pool: pool, queue: row["queue"], priority: row["priority"],
            maxAttempts: row["max_attempts"], timeout: (row["timeout"] as Int64?).map { .nanoseconds($0) },
            key: row["key"], labels: Facts.readLabels(row["labels"]), input: Array((row["input"] as String).utf8),
            createdAt: Instant(nanoseconds: row["created_at"]), notBefore: time(row["not_before"]),
            poolReason: row["pool_reason"])
    }

    private static func time(_ nanoseconds: Int64?) -> Instant? { nanoseconds.map { Instant(nanoseconds: $0) } }

    static func damaged(_ id: JobID) -> StoreFailure {
        StoreFailure("job \(id) cannot be read: the store is damaged; run `spindle store check`")
    }
}
