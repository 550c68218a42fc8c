import EventLoop
import GRDB
import Glibc
import Jobs
import Synchronization

/// Jobs on disk: what is acknowledged has been synced.
///
/// Confined to the loop. Changes go to the ``Writer`` once a turn; finished jobs are read on connections of their own,
/// and the last ones are kept in memory.
package final class SQLiteStore: JobStore {
    /// Finished jobs kept at hand, by count and by weight in bytes.
    private static let recentJobs = 2_000
    private static let recentBytes = 32 << 20
    /// Changes that are handed to the writer before the turn is over, so that it need not wait for a long one.
    private static let handful = 16

    package var receive: ([(number: Int, receipt: Receipt)]) -> Void = { _ in }

    private let loop: EventLoop
    private let lock: StoreLock
    private let reserve: Reserve
    private let pool: DatabasePool
    private var writer: Writer!
    private let checkpointer: Checkpointer
    private var recent = FinishedJobs(maximum: recentJobs, bytes: recentBytes)
    private var keys: IdempotencyKeys
    private var outgoing: [Change] = []
    private var wasWritten = false
    private var isClosed = false

    /// Opens the store, or makes it.
    ///
    /// - Parameters:
    ///   - wait: Seconds to wait for another server that still owns it.
    ///   - fail: Called on a thread of the store when nothing can be promised any more. The process is to end.
    package init(
        _ path: String, _ retention: Retention, on loop: EventLoop, waitingForOwner wait: Int = 0,
        fail: @escaping @Sendable (StoreFailure) -> Void
    ) throws(StoreFailure) {
        self.loop = loop
        let path = OpenedFiles.resolved(path)
        lock = try StoreLock(beside: path, waitingFor: wait)
        var reserve = Reserve(beside: path)
        let isFull: Bool
        (pool, isFull) = try Self.open(path, lock, wait, reserve)
        reserve.database = lock.database
        self.reserve = reserve
        keys = IdempotencyKeys(lifetime: retention.keys)
        do {
            checkpointer = try Checkpointer(path, pool, fail: fail)
        } catch {
            throw SQLiteFile.failure(path, error)
        }
        let bound = LoopBound(WeakStore(self), on: loop)
        writer = Writer(pool, checkpointer, try OpenedFiles(path), reserve, retention) { receipts in
            loop.submit { bound.value.store?.receive(receipts) }
        } fail: {
            fail($0)
        }
        checkpointer.writer = writer
        do {
            let hasReserve = try !isFull && pool.writeWithoutTransaction { try reserve.fill(beside: $0) }
            if !hasReserve {
                writer.isFull.store(true, ordering: .relaxed)
                reserve.fillPartly()
            }
        } catch {
            throw SQLiteFile.failure(path, error)
        }
        countFinished()
    }

    /// On a full disk the reserve makes the room that a start needs: what waits in the store is to be reached.
    private static func open(
        _ path: String, _ lock: StoreLock, _ wait: Int, _ reserve: Reserve
    ) throws(StoreFailure) -> (DatabasePool, isFull: Bool) {
        do throws(StoreFailure) {
            return (try SQLiteFile.open(path, lock, waitingForOwner: wait), false)
        } catch {
            guard error.isFull else { throw error }
            reserve.giveUp()
            return (try SQLiteFile.open(path, lock, waitingForOwner: wait), true)
        }
    }

    private struct WeakStore {
        weak var store: SQLiteStore?
        init(_ store: SQLiteStore) { self.store = store }
    }

    private func countFinished() {
        pool.asyncRead { [writer] result in
            // What cannot be counted will not be read either; the first to need it is told.
            guard let db = try? result.get(), let count = try? Int.fetchOne(db, sql: "SELECT count(*) FROM finished")
            else { return }
            writer!.count(count)
        }
    }

    package var durability: Durability { .fsync }
    var database: DatabasePool { pool }

    package var refusesJobs: String? {
        writer.isFull.load(ordering: .relaxed) ? "the disk is full" : nil
    }

    // MARK: Writing

    package func write(_ change: Change) -> Receipt? {
        guard !isClosed else { return nil }
        outgoing.append(change)
        if outgoing.count >= Self.handful { flush() }
        return nil
    }

    package func flush() {
        guard !outgoing.isEmpty else { return }
        wasWritten = true
        writer.take(outgoing)
        outgoing.removeAll(keepingCapacity: outgoing.count <= 1024)
    }

    package func keep(_ record: JobRecord) { recent.keep(record) }
    package func note(_ identity: Identity, _ job: JobID, at now: Instant) { keys.note(identity, job, at: now) }
    package func earlier(_ identity: Identity) -> Receipt? { keys.find(identity) }

    package func tick(at now: Instant) {
        guard !isClosed else { return }
        keys.expire(now: now)
        writer.tick(at: now)
        // On a full disk the writer copies by itself, into room that it alone has.
        if wasWritten, refusesJobs == nil { checkpointer.run() }
        wasWritten = false
    }

    package func hurry() {
        flush()
        writer.hurry()
    }

    package func close(inOrder: Bool, _ done: @escaping () -> Void) {
        flush()
        isClosed = true
        let bound = LoopBound(done, on: loop)
        let pool = self.pool
        let checkpointer = self.checkpointer
        writer.close(inOrder: inOrder) {
            bound.loop.submit {
                checkpointer.close()
                // What is open then is closed by the system.
                try? pool.close()
                bound.value()
            }
        }
    }

    // MARK: Reading

    package subscript(id: JobID) -> JobRecord? { recent[id] }

    package func find(_ id: JobID, _ then: @escaping (Result<JobRecord?, StoreFailure>) -> Void) {
        if let record = recent[id] { return then(.success(record)) }
        read(then) { db in
            try Row.fetchOne(db, sql: "SELECT * FROM finished WHERE id = ?", arguments: [id.column])
                .map { try Rows.finished($0) }
        }
    }

    package func list(_ query: JobQuery, _ then: @escaping (Result<JobPage, StoreFailure>) -> Void) {
        guard query.filter.wantsFinished else { return then(.success(JobPage([], resume: nil))) }
        read(then) { db in try FinishedList(query).page(db) }
    }

    /// Reads on a connection of its own and answers on the loop.
    private func read<Value: Sendable>(
        _ then: @escaping (Result<Value, StoreFailure>) -> Void,
        _ body: @escaping @Sendable (Database) throws -> Value
    ) {
        let bound = LoopBound(then, on: loop)
        pool.asyncRead { result in
            let answer: Result<Value, StoreFailure>
            do {
                answer = .success(try body(result.get()))
            } catch let failure as StoreFailure {
                answer = .failure(failure)
            } catch {
                answer = .failure(StoreFailure("the store cannot be read: \(error)"))
            }
            bound.loop.submit { bound.value(answer) }
        }
    }
}

// MARK: Starting

/// What a server finds when it starts.
package struct Found {
    /// Live jobs, in the order of submission.
    package var jobs: [(record: JobRecord, remains: Remains)]
    /// Children of earlier servers, if the machine has not started since.
    package var children: [ChildMark]
    /// Of the store; its children carry it in their environment.
    package let name: String
    /// One more at each start.
    package let epoch: Int
    /// Whether the last server ended in order, or there was none.
    package let wasClean: Bool
    /// The greatest id of any job.
    package let lastID: JobID?
}

extension SQLiteStore {
    /// Begins a new epoch and reads what an earlier server has left.
    ///
    /// - Parameters:
    ///   - boot: The machine's boot id.
    ///   - name: What the store is to be called if it is new.
    package func begin(at now: Instant, boot: String, name: String) throws(StoreFailure) -> Found {
        let begin = { (db: Database) in try Self.begin(db, at: now, boot: boot, name: name) }
        do {
            do {
                return try pool.write(begin)
            } catch  where SQLiteFile.failure(pool.path, error).isFull {
                writer.isFull.store(true, ordering: .relaxed)
                _ = pool.writeWithoutTransaction { reserve.move(into: $0) }
                return try pool.write(begin)
            }
        } catch {
            throw SQLiteFile.failure(pool.path, error)
        }
    }

    private static func begin(_ db: Database, at now: Instant, boot: String, name: String) throws -> Found {
        let last = try Row.fetchOne(db, sql: "SELECT * FROM server")
        let name: String = last?["name"] ?? name
        let epoch: Int = (last?["epoch"] ?? 0) + 1
        let isSameBoot = last?["boot"] == boot
        try db.execute(sql: "DELETE FROM server")
        try db.execute(
            sql: "INSERT INTO server (name, epoch, boot, clean) VALUES (?,?,?,0)", arguments: [name, epoch, boot])
        let children = try Row.fetchAll(db, sql: "SELECT pid, started_at FROM children").map {
            ChildMark(pid: $0[0], startedAt: $0[1])
        }
        try db.execute(sql: "DELETE FROM children")
        var events: [Int64: [JobEvent]] = [:]
        for row in try Row.fetchAll(db, sql: "SELECT job, events FROM events ORDER BY job, last") {
            let job: Int64 = row[0]
            guard let read = Facts.readEvents(row[1]) else { throw Rows.damaged(JobID(column: job)) }
            events[job, default: []] += read
        }
        var jobs: [(JobRecord, Remains)] = []
        for row in try Row.fetchAll(db, sql: "SELECT * FROM live ORDER BY id") {
            jobs.append(try Rows.live(row, events[row["id"]] ?? [], at: now))
        }
        let lastID = try Int64.fetchOne(
            db, sql: "SELECT max((SELECT coalesce(max(id), 0) FROM finished), (SELECT coalesce(max(id), 0) FROM live))")
        return Found(
            jobs: jobs, children: isSameBoot ? children : [], name: name, epoch: epoch,
            wasClean: last?["clean"] ?? true,
            lastID: lastID.flatMap { $0 > 0 ? JobID(column: $0) : nil })
    }
}
