import JSON
import Jobs

/// Jobs, read from their tables.
enum Rows {
    // What both tables have comes first, in one order.
    private static let common = [
        "id", "task", "pool", "queue", "priority", "max_attempts", "timeout", "key", "labels", "input", "created_at",
        "not_before", "pool_reason", "started_at",
    ]
    static let liveColumns = StoredRow.Columns(
        table: "live",
        names: common + ["spared", "attempt", "crashes", "grants", "running", "cancelled", "due_at", "reserved"])
    static let finishedColumns = StoredRow.Columns(
        table: "finished",
        names: common + ["attempt", "state", "finished_at", "facts", "events", "result", "log", "log_dropped"])
    /// For lists: without events and logs, which stay on the disk. Inputs and results are read, and left out where they are long.
    static let listedColumns = StoredRow.Columns(
        table: "finished",
        names: common + ["attempt", "state", "finished_at", "facts", "'[]'", "result", "NULL", "0"])
    static let eventColumns = StoredRow.Columns(table: "events", names: ["job", "events"])

    /// A live job, with what the disk knows of its attempts.
    ///
    /// - Parameter events: What the disk has of them.
    static func live(
        _ row: consuming StoredRow, _ events: [JobEvent], at now: Instant
    ) throws(StoreFailure) -> (JobRecord, Remains) {
        var row = row
        let record = try job(&row)
        let counts = Int.counts
        record.startedAt = try row.timeIfAny()
        let spared = try row.integer(in: counts)
        let attempt = try row.integer(in: spared...spared + record.maxAttempts)
        let tally = Tally(attempt: attempt, spared: spared, crashes: try row.integer(in: counts))
        let remains = Remains(
            tally, grant: try row.integer(in: counts), wasRunning: try row.flag(), wasCancelled: try row.flag())
        record.attempt = attempt
        record.dueAt = try row.timeIfAny()
        // Of a job that nothing has happened to, the disk has no events.
        let stored =
            events.isEmpty
            ? [JobEvent(seq: 1, time: record.createdAt, attempt: 0, kind: .accepted)] : events
        record.events = EventLog(stored: stored, reserved: try row.integer(in: counts), at: now)
        if events.isEmpty { record.events.lastStored = 0 }
        for event in events {
            if case .log(let stream, _, let text) = event.kind, stream != LogStream.control {
                record.log.append(line: text)
            }
        }
        return (record, remains)
    }

    static func finished(_ row: consuming StoredRow) throws(StoreFailure) -> JobRecord {
        var bytes = 0
        return try finished(row, read: &bytes)
    }

    /// - Parameters:
    ///   - longest: Of an input and a result; a longer one is left out.
    ///   - bytes: Grows by what was read.
    static func finished(
        _ row: consuming StoredRow, longest: Int = .max, read bytes: inout Int
    ) throws(StoreFailure) -> JobRecord {
        var row = row
        defer { bytes += row.bytes }
        let record = try job(&row, longest: longest)
        record.startedAt = try row.timeIfAny()
        record.attempt = try row.integer(in: Int.counts)
        record.state = try row.parsed("end of a job") { JobState(rawValue: $0).flatMap { $0.isFinal ? $0 : nil } }
        record.finishedAt = try row.time()
        try row.parsed("facts of ours") { Facts.read($0, into: record) ? () : nil }
        record.events = EventLog(stored: try events(&row))
        record.result = try row.bytesOfTextIfAny(longest: longest)
        record.isResultLeftOut = row.hasLeftOut
        record.log = LogTail(try row.blobIfAny(), dropped: try row.integer(in: Int.counts))
        return record
    }

    /// A job's events, a part of them, and which job's.
    static func events(_ row: consuming StoredRow) throws(StoreFailure) -> (job: JobID, events: [JobEvent]) {
        var row = row
        return (try row.id(), try events(&row))
    }

    private static func events(_ row: inout StoredRow) throws(StoreFailure) -> [JobEvent] {
        try row.parsed("events of ours") { Facts.readEvents($0) }
    }

    private static func job(_ row: inout StoredRow, longest: Int = .max) throws(StoreFailure) -> JobRecord {
        let id = try row.id()
        // No job's: tables mark free places with it.
        guard id.rawValue != 0 else { throw .damaged("table \(row.table), a job with the id 0") }
        let task = try row.text()
        let pool: PoolName = try row.parsed("pool") { PoolName(rawValue: $0) }
        let queue = try row.parsed("name") { $0.isEmpty ? nil : $0 }
        let priority = try row.integer(in: JobSpec.priorities)
        let maxAttempts = try row.integer(in: JobSpec.attempts)
        let timeout = try row.integerIfAny(in: 0 ... .max)
        let key = try row.textIfAny()
        let labels = try row.labelsIfAny()
        let input = try row.json(longest: longest)
        let createdAt = try row.time()
        let notBefore = try row.timeIfAny()
        let poolReason = try row.textIfAny()
        return JobRecord(
            id: id, task: task, pool: pool, queue: queue, priority: priority, maxAttempts: maxAttempts,
            timeout: timeout.map { .nanoseconds($0) }, key: key, labels: labels, input: input, createdAt: createdAt,
            notBefore: notBefore, poolReason: poolReason)
    }
}

extension StoredRow {
    fileprivate mutating func labelsIfAny() throws(StoreFailure) -> [(name: String, value: String)] {
        isNull ? [] : try parsed("labels of ours") { Facts.readLabels($0) }
    }

    /// JSON as it came.
    fileprivate mutating func json(longest: Int) throws(StoreFailure) -> [UInt8] {
        let place = self
        let bytes = try bytesOfText(longest: longest)
        guard !hasLeftOut else { return bytes }
        do throws(JSONError) {
            _ = try JSONReader.withReader(of: bytes, depth: JSONReader.envelopedDepth) { (reader) throws(JSONError) in
                try reader.readRange()
            }
        } catch {
            throw place.wrong("is no JSON: \(error.reason)")
        }
        return bytes
    }
}
