import GRDB
import GRDBSQLite
import Jobs

/// The statements of the hot path, prepared once, and what each change is on disk.
///
/// Belongs to the writing queue.
final class WriteStatements {
    private let insertLive, start, requeue, cancel, reserve, deleteLive: HotStatement
    private let insertEvents, trimEvents, deleteEvents, insertFinished: HotStatement
    private let findKey, insertKey, insertChild, deleteChild: HotStatement
    private let controls: ControlStatements
    /// Jobs that have been added to the finished ones.
    private(set) var finished = 0

    init(_ db: Database) throws {
        insertLive = try HotStatement(
            db,
            """
            INSERT INTO live (id, task, pool, queue, priority, max_attempts, timeout, key, labels, input, created_at,
            not_before, due_at, started_at, attempt, running, pool_reason, grants)
            VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
            """)
        start = try HotStatement(
            db,
            """
            UPDATE live SET attempt = ?1, grants = ?2, running = 1, started_at = ?3, due_at = NULL
            WHERE id = ?4 AND running = 0 AND grants < ?2 AND attempt < ?1
            """)
        requeue = try HotStatement(
            db,
            """
            UPDATE live SET attempt = ?1, spared = ?2, crashes = ?3, running = 0, due_at = ?4
            WHERE id = ?5 AND running = 1 AND grants = ?6
            """)
        cancel = try HotStatement(db, "UPDATE live SET cancelled = 1 WHERE id = ?")
        reserve = try HotStatement(db, "UPDATE live SET reserved = ? WHERE id = ?")
        deleteLive = try HotStatement(db, "DELETE FROM live WHERE id = ? AND grants = ?")
        insertEvents = try HotStatement(db, "INSERT INTO events (job, last, events) VALUES (?,?,?)")
        trimEvents = try HotStatement(db, "DELETE FROM events WHERE job = ? AND last <= ?")
        deleteEvents = try HotStatement(db, "DELETE FROM events WHERE job = ?")
        insertFinished = try HotStatement(
            db,
            """
            INSERT INTO finished (id, state, task, pool, queue, finished_at, priority, max_attempts, attempt, timeout,
            key, labels, created_at, not_before, started_at, facts, events, input, result, log, log_dropped, pool_reason)
            VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
            """)
        findKey = try HotStatement(db, "SELECT job, fingerprint FROM keys WHERE key = ?")
        insertKey = try HotStatement(db, "INSERT INTO keys (key, fingerprint, job, created_at) VALUES (?,?,?,?)")
        insertChild = try HotStatement(db, "INSERT OR REPLACE INTO children (pid, started_at) VALUES (?,?)")
        deleteChild = try HotStatement(db, "DELETE FROM children WHERE pid = ?")
        controls = try ControlStatements(db)
    }

    /// The transaction came to nothing: what it added is not there.
    func rolledBack(to finished: Int) { self.finished = finished }

    /// - Parameter isBrief: There is hardly any room: an end comes without its progress and most of its log.
    func apply(_ change: Change, isBrief: Bool = false) throws -> Receipt {
        switch change {
        case .submitted(let job, let attempt, let identity): return try submit(job, attempt, identity)
        case .started(let id, let attempt, let grant, let time):
            start.bind(attempt)
            start.bind(grant)
            start.bind(time.nanoseconds)
            start.bind(id.column)
            return try fenced(start)
        case .requeued(let id, let tally, let grant, let due):
            requeue.bind(tally.attempt)
            requeue.bind(tally.spared)
            requeue.bind(tally.crashes)
            requeue.bind(due.nanoseconds)
            requeue.bind(id.column)
            requeue.bind(grant)
            return try fenced(requeue)
        case .cancelRequested(let id):
            cancel.bind(id.column)
            return try fenced(cancel)
        case .happened(let id, let events, let reserved): return try append(events, reserved, to: id)
        case .ended(let job, let outcome, let grant, let hasHistory):
            deleteLive.bind(job.id.column)
            deleteLive.bind(grant)
            guard try fenced(deleteLive) == .stored else { return .stale }
            if hasHistory {
                deleteEvents.bind(job.id.column)
                try deleteEvents.run()
            }
            try finish(job, outcome, isBrief)
        case .childStarted(let child):
            insertChild.bind(Int64(child.pid))
            insertChild.bind(child.startedAt)
            try insertChild.run()
        case .childEnded(let pid):
            deleteChild.bind(Int64(pid))
            try deleteChild.run()
        case .controlled(let control): try controls.apply(control)
        case .reached: break
        }
        return .stored
    }

    private func submit(_ job: JobRecord, _ attempt: Int, _ identity: Identity?) throws -> Receipt {
        if let identity {
            if let earlier = try use(of: identity) { return earlier }
            insertKey.bind(identity.key)
            insertKey.bind(blob: identity.fingerprint)
            insertKey.bind(job.id.column)
            insertKey.bind(job.createdAt.nanoseconds)
            try insertKey.run()
        }
        insertLive.bind(job.id.column)
        insertLive.bind(job.task)
        insertLive.bind(job.pool.rawValue)
        insertLive.bind(job.queue)
        insertLive.bind(job.priority)
        insertLive.bind(job.maxAttempts)
        insertLive.bind(job.timeout?.nanoseconds)
        insertLive.bind(job.key)
        insertLive.bind(Facts.write(labels: job.labels))
        insertLive.bind(utf8: job.input)
        insertLive.bind(job.createdAt.nanoseconds)
        insertLive.bind(job.notBefore?.nanoseconds)
        insertLive.bind(job.notBefore?.nanoseconds)
        insertLive.bind(attempt > 0 ? job.createdAt.nanoseconds : nil)
        insertLive.bind(attempt)
        insertLive.bind(attempt > 0 ? 1 : 0)
        insertLive.bind(job.poolReason)
        insertLive.bind(attempt)
        try insertLive.run()
        return .stored
    }

    private func use(of identity: Identity) throws -> Receipt? {
        findKey.bind(identity.key)
        return try findKey.first { row in
            let bytes = UnsafeRawBufferPointer(
                start: sqlite3_column_blob(row, 1), count: Int(sqlite3_column_bytes(row, 1)))
            return .duplicate(
                of: JobID(column: sqlite3_column_int64(row, 0)), isSame: bytes.elementsEqual(identity.fingerprint))
        }
    }

    private func append(_ events: [JobEvent], _ reserved: Int, to id: JobID) throws -> Receipt {
        reserve.bind(reserved)
        reserve.bind(id.column)
        guard try fenced(reserve) == .stored else { return .stale }
        guard let last = events.last?.seq else { return .stored }
        insertEvents.bind(id.column)
        insertEvents.bind(last)
        insertEvents.bind(utf8: Facts.write(events))
        try insertEvents.run()
        guard last > EventLog.kept else { return .stored }
        trimEvents.bind(id.column)
        trimEvents.bind(last - 2 * EventLog.kept)
        try trimEvents.run()
        return .stored
    }

    private func finish(_ job: JobRecord, _ outcome: Outcome, _ isBrief: Bool) throws {
        let (history, log) = (outcome.history?.events, outcome.history?.log ?? LogTail())
        let events = (isBrief ? history?.brief : history?.all) ?? []
        let tail = log.tail(atMost: isBrief ? LogTail.brief : LogTail.kept)
        insertFinished.bind(job.id.column)
        insertFinished.bind(outcome.state.rawValue)
        insertFinished.bind(job.task)
        insertFinished.bind(job.pool.rawValue)
        insertFinished.bind(job.queue)
        insertFinished.bind(outcome.finishedAt.nanoseconds)
        insertFinished.bind(job.priority)
        insertFinished.bind(job.maxAttempts)
        insertFinished.bind(outcome.attempt)
        insertFinished.bind(job.timeout?.nanoseconds)
        insertFinished.bind(job.key)
        insertFinished.bind(Facts.write(labels: job.labels))
        insertFinished.bind(job.createdAt.nanoseconds)
        insertFinished.bind(job.notBefore?.nanoseconds)
        insertFinished.bind(outcome.startedAt?.nanoseconds)
        insertFinished.bind(utf8: Facts.write(outcome))
        insertFinished.bind(utf8: Facts.write(events + [outcome.end]))
        insertFinished.bind(utf8: job.input)
        insertFinished.bind(utf8: outcome.result)
        insertFinished.bind(blob: tail)
        insertFinished.bind(log.end - tail.count)
        insertFinished.bind(job.poolReason)
        try insertFinished.run()
        finished += 1
    }

    /// Runs what must change one row: the fence.
    private func fenced(_ statement: HotStatement) throws -> Receipt {
        try statement.run() == 1 ? .stored : .stale
    }
}

extension JobID {
    /// As the tables have it: 42 bits of milliseconds leave the sign alone until the year 2109.
    var column: Int64 { Int64(bitPattern: rawValue) }
    init(column: Int64) { self.init(rawValue: UInt64(bitPattern: column)) }
}
