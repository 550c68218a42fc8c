import GRDB
import Jobs

import struct Foundation.Data

/// The statements of the hot path, prepared once, and what each change is on disk.
///
/// Belongs to the writing queue.
final class WriteStatements {
    private let insertLive, start, requeue, cancel, reserve, deleteLive: Statement
    private let insertEvents, trimEvents, deleteEvents, insertFinished: Statement
    private let findKey, insertKey, insertChild, deleteChild: Statement
    /// Jobs that have been added to the finished ones.
    private(set) var finished = 0

    init(_ db: Database) throws {
        insertLive = try db.makeStatement(
            sql: """
                INSERT INTO live (id, task, pool, queue, priority, max_attempts, timeout, key, labels, input, created_at,
                not_before, due_at, started_at, attempt, running) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
                """)
        start = try db.makeStatement(
            sql:
                "UPDATE live SET attempt = ?1, running = 1, started_at = ?2, due_at = NULL WHERE id = ?3 AND running = 0"
                + " AND attempt = ?1 - 1")
        requeue = try db.makeStatement(
            sql: "UPDATE live SET attempt = ?, running = 0, due_at = ?, crashes = ? WHERE id = ? AND attempt >= ?")
        cancel = try db.makeStatement(sql: "UPDATE live SET cancelled = 1 WHERE id = ?")
        reserve = try db.makeStatement(sql: "UPDATE live SET reserved = ? WHERE id = ?")
        deleteLive = try db.makeStatement(sql: "DELETE FROM live WHERE id = ? AND attempt = ?")
        insertEvents = try db.makeStatement(sql: "INSERT INTO events (job, last, events) VALUES (?,?,?)")
        trimEvents = try db.makeStatement(sql: "DELETE FROM events WHERE job = ? AND last <= ?")
        deleteEvents = try db.makeStatement(sql: "DELETE FROM events WHERE job = ?")
        insertFinished = try db.makeStatement(
            sql: """
                INSERT INTO finished (id, state, task, pool, queue, finished_at, priority, max_attempts, attempt, timeout,
                key, labels, created_at, not_before, started_at, facts, events, input, result, log, log_dropped)
                VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
                """)
        findKey = try db.makeStatement(sql: "SELECT job, fingerprint FROM keys WHERE key = ?")
        insertKey = try db.makeStatement(
            sql: "INSERT INTO keys (key, fingerprint, job, created_at) VALUES (?,?,?,?)")
        insertChild = try db.makeStatement(sql: "INSERT OR REPLACE INTO children (pid, started_at) VALUES (?,?)")
        deleteChild = try db.makeStatement(sql: "DELETE FROM children WHERE pid = ?")
    }

    func apply(_ change: Change, _ db: Database) throws -> Receipt {
        switch change {
        case .submitted(let job, let attempt, let identity): return try submit(job, attempt, identity)
        case .started(let id, let attempt, let time):
            return try run(start, [attempt, time.nanoseconds, id.column], fencedIn: db)
        case .requeued(let id, let attempt, let due, let crashes):
            return try run(requeue, [attempt, due.nanoseconds, crashes, id.column, attempt], fencedIn: db)
        case .cancelRequested(let id): return try run(cancel, [id.column], fencedIn: db)
        case .happened(let id, let events, let reserved): return try append(events, reserved, to: id, db)
        case .ended(let job, let outcome, let attempt, let hasHistory):
            guard try run(deleteLive, [job.id.column, attempt], fencedIn: db) == .stored else { return .stale }
            if hasHistory { try run(deleteEvents, [job.id.column]) }
            try finish(job, outcome)
        case .childStarted(let child): try run(insertChild, [child.pid, child.startedAt])
        case .childEnded(let pid): try run(deleteChild, [pid])
        case .reached: break
        }
        return .stored
    }

    private func submit(_ job: JobRecord, _ attempt: Int, _ identity: Identity?) throws -> Receipt {
        if let identity {
            if let row = try Row.fetchOne(findKey, arguments: [identity.key]) {
                let fingerprint: Data = row[1]
                return .duplicate(of: JobID(column: row[0]), isSame: Array(fingerprint) == identity.fingerprint)
            }
            try run(insertKey, [identity.key, identity.fingerprint.blob, job.id.column, job.createdAt.nanoseconds])
        }
        try run(
            insertLive,
            [
                job.id.column, job.task, job.pool.rawValue, job.queue, job.priority, job.maxAttempts,
                job.timeout?.nanoseconds, job.key, Facts.write(labels: job.labels), Facts.text(job.input),
                job.createdAt.nanoseconds, job.notBefore?.nanoseconds, job.notBefore?.nanoseconds,
                attempt > 0 ? job.createdAt.nanoseconds : nil, attempt, attempt > 0,
            ])
        return .stored
    }

    private func append(_ events: [JobEvent], _ reserved: Int, to id: JobID, _ db: Database) throws -> Receipt {
        guard try run(reserve, [reserved, id.column], fencedIn: db) == .stored else { return .stale }
        guard let last = events.last?.seq else { return .stored }
        try run(insertEvents, [id.column, last, Facts.text(Facts.write(events))])
        if last > EventLog.kept { try run(trimEvents, [id.column, last - 2 * EventLog.kept]) }
        return .stored
    }

    private func finish(_ job: JobRecord, _ outcome: Outcome) throws {
        let log = outcome.log.tail
        try run(
            insertFinished,
            [
                job.id.column, outcome.state.rawValue, job.task, job.pool.rawValue, job.queue,
                outcome.finishedAt.nanoseconds, job.priority, job.maxAttempts, outcome.attempt,
                job.timeout?.nanoseconds, job.key, Facts.write(labels: job.labels), job.createdAt.nanoseconds,
                job.notBefore?.nanoseconds, outcome.startedAt?.nanoseconds, Facts.text(Facts.write(outcome)),
                Facts.text(Facts.write(outcome.events.all)), Facts.text(job.input),
                outcome.result.isEmpty ? nil : Facts.text(outcome.result), log.isEmpty ? nil : Array(log).blob,
                outcome.log.end - log.count,
            ])
        finished += 1
    }

    private func run(_ statement: Statement, _ arguments: StatementArguments) throws {
        statement.setUncheckedArguments(arguments)
        try statement.execute()
    }

    /// Runs what must change one row: the fence.
    private func run(_ statement: Statement, _ arguments: StatementArguments, fencedIn db: Database) throws -> Receipt {
        try run(statement, arguments)
        return db.changesCount == 1 ? .stored : .stale
    }
}

extension JobID {
    /// As the tables have it: 42 bits of milliseconds leave the sign alone until the year 2109.
    var column: Int64 { Int64(bitPattern: rawValue) }
    init(column: Int64) { self.init(rawValue: UInt64(bitPattern: column)) }
}

extension [UInt8] {
    /// As a value that is stored as a blob.
    var blob: DatabaseValue { withUnsafeBufferPointer { Data(buffer: $0) }.databaseValue }
}
