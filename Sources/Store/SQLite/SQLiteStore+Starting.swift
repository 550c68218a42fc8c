import EventLoop
import GRDB
import Jobs
import Synchronization

/// What a server finds when it starts, besides its jobs.
package struct Found {
    /// Of the store; its children carry it in their environment.
    package let name: String
    /// One more at each start.
    package let epoch: Int
    /// Whether the last server ended in order, or there was none.
    package let wasClean: Bool
    /// The greatest id of any job.
    package let lastID: JobID?
}

/// A job that had not ended when the last server did.
package typealias LeftJob = (record: JobRecord, remains: Remains)

extension SQLiteStore {
    /// Begins a new epoch.
    ///
    /// - Parameters:
    ///   - boot: The machine's boot id.
    ///   - name: What the store is to be called if it is new.
    package func begin(
        boot: String, name: String, takingBack unbegun: [(job: JobID, grant: Int)] = []
    ) throws(StoreFailure) -> Found {
        let begin = { (db: Database) in
            // Together with the epoch: what is known of a server is used once.
            try Self.takeBack(unbegun, db)
            return try Self.begin(db, boot: boot, name: name)
        }
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

    private static func begin(_ db: Database, boot: String, name: String) throws -> Found {
        let last = try Row.fetchOne(db, sql: "SELECT * FROM server")
        let name = last.flatMap { String.fromDatabaseValue($0["name"]) } ?? name
        let epoch = (last.flatMap { Int.fromDatabaseValue($0["epoch"]) } ?? 0).asCount.adding(saturating: 1)
        try db.execute(sql: "DELETE FROM server")
        try db.execute(
            sql: "INSERT INTO server (name, epoch, boot, clean) VALUES (?,?,?,0)", arguments: [name, epoch, boot])
        try db.execute(sql: "DELETE FROM children")
        let lastID = try Int64.fetchOne(
            db, sql: "SELECT max((SELECT coalesce(max(id), 0) FROM finished), (SELECT coalesce(max(id), 0) FROM live))")
        return Found(
            name: name, epoch: epoch,
            wasClean: last.map { Bool.fromDatabaseValue($0["clean"]) ?? false } ?? true,
            lastID: lastID.flatMap { $0 > 0 ? JobID(column: $0) : nil })
    }

    /// Reads the jobs that an earlier server has left, on a connection of its own.
    ///
    /// Those that have run come first, for they hold their keys; each kind in the order of submission.
    ///
    /// - Parameters:
    ///   - count: Called on the loop with how many there are.
    ///   - take: Called on the loop with some of them, again and again.
    ///   - done: Called on the loop when there are no more, or what is wrong.
    /// - Returns: What ends it before its end; nobody is called after that, but for what is on its way.
    package func readLeft(
        at now: Instant, count: @escaping (Int) -> Void, take: @escaping ([LeftJob]) -> Void,
        done: @escaping (Result<Void, StoreFailure>) -> Void
    ) -> Reading {
        let reading = Reading()
        let bound = LoopBound((count: count, take: take, done: done), on: loop)
        pool.asyncRead { [path = pool.path] result in
            let end: Result<Void, StoreFailure>
            do {
                let db = try result.get()
                let jobs = try Int.fetchOne(db, sql: "SELECT count(*) FROM live") ?? 0
                bound.loop.submit { bound.value.count(jobs) }
                for condition in ["attempt > 0", "coalesce(attempt, 0) <= 0"] where jobs > 0 && !reading.isOver {
                    try Self.read(db, condition, at: now, reading) { batch in
                        bound.loop.submit { bound.value.take(batch) }
                    }
                }
                end = .success(())
            } catch {
                end = .failure(SQLiteFile.failure(reading: path, error))
            }
            bound.loop.submit { if !reading.isOver { bound.value.done(end) } }
        }
        return reading
    }

    /// Jobs that are handed over at once: little work for who takes them.
    private static let batch = 256

    private static func read(
        _ db: Database, _ condition: String, at now: Instant, _ reading: Reading, _ take: ([LeftJob]) -> Void
    ) throws {
        let rows = try LeftRows(db, condition)
        var batch: [LeftJob] = []
        while let job = try rows.next(at: now), !reading.isOver {
            batch.append(job)
            if batch.count == Self.batch {
                take(batch)
                batch = []
                batch.reserveCapacity(Self.batch)
            }
        }
        if !batch.isEmpty { take(batch) }
    }

    /// A long look at the store, which can be ended from any thread.
    package final class Reading: Sendable {
        private let over = Atomic(false)

        var isOver: Bool { over.load(ordering: .relaxed) }

        package func end() { over.store(true, ordering: .relaxed) }
    }
}
