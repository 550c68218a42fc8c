import EventLoop
import GRDB
import Glibc
import Jobs

/// Looking after a store from outside: `spindle store`.
package enum StoreCare {
    /// What is in a store, and what it takes.
    package struct Figures: Sendable {
        package var epoch = 0
        /// Whether the last server ended in order; false while one runs.
        package var isClean = true
        package var live = 0
        package var running = 0
        package var finished: [(state: String, count: Int)] = []
        package var keys = 0
        package var oldest: Instant?
        package var newest: Instant?
        package var fileBytes = 0
        package var logBytes = 0
        package var freeBytes = 0
    }

    /// Reads everything and compares it.
    ///
    /// - Returns: What is wrong, a line each; nothing when all is well.
    package static func check(_ path: String) throws(StoreFailure) -> [String] {
        do throws(StoreFailure) {
            let wrongs = try read(path) { db in
                try String.fetchAll(db, sql: "PRAGMA integrity_check(100)").filter { $0 != "ok" }
            }
            // Of a file that is not whole, what its jobs are like says nothing.
            return wrongs.isEmpty ? try readAll(path) : wrongs
        } catch {
            guard let damage = error.damage else { throw error }
            return [damage]
        }
    }

    /// Rows that are read at once: a longer look would keep the log of a server at work from beginning anew.
    private static let glance = 2_000

    /// Reads every job as servers do.
    ///
    /// - Returns: What is wrong with which.
    private static func readAll(_ path: String) throws(StoreFailure) -> [String] {
        do {
            let queue = try open(path)
            let (both, live, finished) = try queue.read { db in
                (
                    try Int.fetchOne(db, sql: "SELECT count(*) FROM live JOIN finished USING (id)") ?? 0,
                    try Int64.fetchOne(db, sql: "SELECT max(id) FROM live"),
                    try Int64.fetchOne(db, sql: "SELECT max(id) FROM finished")
                )
            }
            return try (both > 0 ? ["\(both) jobs are live and finished at once"] : [])
                + readLive(queue, to: live) + readFinished(queue, to: finished)
        } catch {
            throw SQLiteFile.failure(path, error)
        }
    }

    private static func readLive(_ queue: DatabaseQueue, to last: Int64?) throws -> [String] {
        var (found, first) = ([String](), Int64.min)
        let now = Instant(nanoseconds: wallNanoseconds())
        while let last, first <= last {
            let count = try queue.read { db in
                let rows = try LeftRows(db, in: first...last, atMost: glance)
                let count = try readAll(noting: &found) { try rows.next(at: now) != nil }
                first = (rows.last ?? last).adding(saturating: 1)
                return count
            }
            if count < glance { break }
        }
        return found
    }

    private static func readFinished(_ queue: DatabaseQueue, to last: Int64?) throws -> [String] {
        var (found, first) = ([String](), Int64.min)
        while let last, first <= last {
            let count = try queue.read { db in
                let rows = try StoredRows(
                    db, Rows.finishedColumns, "WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?", [first, last, glance])
                return try readAll(noting: &found) {
                    guard let row = try rows.next() else { return false }
                    first = row.key.adding(saturating: 1)
                    _ = try Rows.finished(row)
                    return true
                }
            }
            if count < glance { break }
        }
        return found
    }

    /// - Parameter next: Reads one job; false when there is none.
    /// - Returns: How many there were, whether they could be read or not.
    private static func readAll(noting found: inout [String], _ next: () throws -> Bool) throws -> Int {
        var count = 0
        while true {
            do {
                guard try next() else { return count }
            } catch let failure as StoreFailure {
                guard let damage = failure.damage else { throw failure }
                found.append(damage)
            }
            count += 1
        }
    }

    package static func figures(_ path: String) throws(StoreFailure) -> Figures {
        var figures = try read(path) { db in
            var figures = Figures()
            if let server = try Row.fetchOne(db, sql: "SELECT * FROM server") {
                // Here, too, anything may stand in any column.
                figures.epoch = Int.fromDatabaseValue(server["epoch"]) ?? 0
                figures.isClean = Bool.fromDatabaseValue(server["clean"]) ?? false
            }
            figures.live = try Int.fetchOne(db, sql: "SELECT count(*) FROM live") ?? 0
            figures.running = try Int.fetchOne(db, sql: "SELECT count(*) FROM live WHERE running") ?? 0
            let bad = try Row.fetchAll(
                db, sql: "SELECT state, count(*) FROM finished WHERE state <> 'succeeded' GROUP BY state ORDER BY state"
            )
            let all = try Int.fetchOne(db, sql: "SELECT count(*) FROM finished") ?? 0
            figures.finished = bad.map { (String.fromDatabaseValue($0[0]) ?? "other", $0[1]) }
            figures.finished.insert(("succeeded", all - figures.finished.reduce(0) { $0 + $1.count }), at: 0)
            figures.keys = try Int.fetchOne(db, sql: "SELECT count(*) FROM keys") ?? 0
            let ends = try Row.fetchOne(db, sql: "SELECT min(finished_at), max(finished_at) FROM finished")
            figures.oldest = ends.flatMap { Int64.fromDatabaseValue($0[0]) }.map { Instant(nanoseconds: $0) }
            figures.newest = ends.flatMap { Int64.fromDatabaseValue($0[1]) }.map { Instant(nanoseconds: $0) }
            let page = try Int.fetchOne(db, sql: "PRAGMA page_size") ?? 0
            figures.freeBytes = page * (try Int.fetchOne(db, sql: "PRAGMA freelist_count") ?? 0)
            return figures
        }
        figures.fileBytes = size(of: path)
        figures.logBytes = size(of: path + "-wal")
        return figures
    }

    /// Copies the store as it is at this moment, while a server may go on using it.
    ///
    /// - Parameter target: A file that is not there yet; it appears complete and synced, or not at all.
    package static func backup(_ path: String, to target: String) throws(StoreFailure) {
        guard access(target, F_OK) != 0 else { throw StoreFailure("\(target) is there already") }
        let partial = target + ".partial"
        let path = OpenedFiles.resolved(path)
        let source: DatabaseQueue
        do { source = try open(path) } catch { throw SQLiteFile.failure(path, error) }
        clear(partial)
        do {
            // For its owner only from the beginning.
            try SQLiteFile.make(partial)
            let copy = try DatabaseQueue(path: SQLiteFile.name(partial))
            // It is complete or it is thrown away: nothing of it has to be taken back.
            try copy.writeWithoutTransaction { try $0.execute(sql: "PRAGMA journal_mode = OFF") }
            try source.backup(to: copy)
            // What the original's server has started is not the copy's: a server of that one would end it as left behind.
            try copy.writeWithoutTransaction { db in
                let name = String(UInt64.random(in: 0...UInt64.max), radix: 36)
                try db.execute(sql: "UPDATE server SET name = ?", arguments: [name])
                try db.execute(sql: "DELETE FROM children")
            }
            let found = try copy.read { try String.fetchAll($0, sql: "PRAGMA quick_check(1)") }
            try copy.close()
            guard found == ["ok"] else {
                clear(partial)
                throw StoreFailure(damage: found.first ?? "", in: path)
            }
            try source.close()
        } catch let error as DatabaseError where isOfSource(error) {
            clear(partial)
            throw SQLiteFile.failure(path, error)
        } catch let failure as StoreFailure {
            clear(partial)
            throw failure
        } catch {
            clear(partial)
            throw StoreFailure("cannot write \(target): \((error as? DatabaseError)?.message ?? "\(error)")")
        }
        let file = Descriptor(opening: partial, O_RDONLY)
        let isSynced = if let file { fsync(file.number) == 0 } else { false }
        guard isSynced, rename(partial, target) == 0 else {
            let why = String(cString: strerror(errno))
            clear(partial)
            throw StoreFailure("cannot write \(target): \(why)")
        }
        clear(partial)
    }

    /// Removes a copy that is not complete, and what SQLite has put beside it.
    private static func clear(_ partial: String) {
        for suffix in ["", "-journal", "-wal", "-shm"] { unlink(partial + suffix) }
    }

    /// What is wrong with the store, not with its copy.
    private static func isOfSource(_ error: DatabaseError) -> Bool {
        [.SQLITE_CORRUPT, .SQLITE_NOTADB, .SQLITE_BUSY].contains(error.resultCode)
            || [.SQLITE_IOERR_READ, .SQLITE_IOERR_SHORT_READ].contains(error.extendedResultCode)
    }

    /// Gives unused space back. No server may own the store.
    package static func vacuum(_ path: String) throws(StoreFailure) {
        guard access(path, F_OK) == 0 else { throw StoreFailure("the store \(path) is not there") }
        let path = OpenedFiles.resolved(path)
        let lock = try StoreLock(beside: path)
        try lock.lockStore()
        do {
            let queue = try open(path)
            try queue.writeWithoutTransaction { db in
                try db.execute(sql: "VACUUM")
                try db.checkpoint(.truncate)
            }
            try queue.close()
        } catch {
            throw SQLiteFile.failure(path, error)
        }
        withExtendedLifetime(lock) {}
    }

    private static func read<Value>(
        _ path: String, _ body: (Database) throws -> Value
    ) throws(StoreFailure) -> Value {
        do {
            let queue = try open(path)
            return try queue.read(body)
        } catch {
            throw SQLiteFile.failure(path, error)
        }
    }

    private static func open(_ path: String) throws -> DatabaseQueue {
        guard access(path, F_OK) == 0 else { throw StoreFailure("is not there") }
        try SQLiteFile.mustBeFile(path)
        let queue = try DatabaseQueue(path: SQLiteFile.name(path), configuration: SQLiteFile.configuration)
        let id = try queue.read { try Int32.fetchOne($0, sql: "PRAGMA application_id") }
        guard id == Schema.applicationID else { throw StoreFailure("is no store of Spindle") }
        guard try !queue.read({ try Schema.migrator.hasBeenSuperseded($0) }) else {
            throw StoreFailure("was made by a newer Spindle than this one")
        }
        return queue
    }

    static func size(of path: String) -> Int {
        var status = stat()
        return stat(path, &status) == 0 ? Int(status.st_size) : 0
    }
}
