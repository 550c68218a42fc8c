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

    let loop: EventLoop
    private let lock: StoreLock
    let reserve: Reserve
    let pool: DatabasePool
    private(set) var writer: Writer!
    private let checkpointer: Checkpointer
    /// Looks at what the start had no time for; nil when it has seen all. Whoever has the store runs it.
    package let inspection: Inspection?
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
        let seen: Walk?
        (pool, seen, isFull) = try Self.open(path, lock, wait, reserve)
        reserve.database = lock.database
        self.reserve = reserve
        inspection = seen.map { Inspection(path, from: $0, fail: fail) }
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
    ) throws(StoreFailure) -> (DatabasePool, seen: Walk?, isFull: Bool) {
        do throws(StoreFailure) {
            let (pool, seen) = try SQLiteFile.open(path, lock, waitingForOwner: wait)
            return (pool, seen, false)
        } catch {
            guard error.isFull else { throw error }
            reserve.giveUp()
            let (pool, seen) = try SQLiteFile.open(path, lock, waitingForOwner: wait)
            return (pool, seen, true)
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
        inspection?.end()
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
            try StoredRows(db, Rows.finishedColumns, "WHERE id = ?", [id.column]).next().map { try Rows.finished($0) }
        }
    }

    package func list(_ query: JobQuery, _ then: @escaping (Result<JobPage, StoreFailure>) -> Void) {
        guard query.filter.wantsFinished else { return then(.success(JobPage([], resume: nil))) }
        read(then) { db in
            var list = FinishedList(query)
            return try list.page(db)
        }
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
