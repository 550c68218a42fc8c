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
        try read(path) { db in
            var found: [String]
            do {
                found = try String.fetchAll(db, sql: "PRAGMA integrity_check(100)").filter { $0 != "ok" }
            } catch let error as DatabaseError where error.resultCode == .SQLITE_CORRUPT {
                return ["\(error.message ?? "the file is malformed")"]
            }
            guard found.isEmpty else { return found }
            let both = try Int.fetchOne(db, sql: "SELECT count(*) FROM live JOIN finished USING (id)") ?? 0
            if both > 0 { found.append("\(both) jobs are live and finished at once") }
            for row in try Row.fetchAll(db, sql: "SELECT id FROM live WHERE attempt > max_attempts") {
                found.append("job \(JobID(column: row[0])) has run more often than it may")
            }
            let jobs = try Row.fetchCursor(db, sql: "SELECT * FROM finished ORDER BY id")
            while let row = try jobs.next() {
                do throws(StoreFailure) {
                    _ = try Rows.finished(row)
                } catch {
                    found.append("job \(JobID(column: row["id"])) cannot be read")
                }
            }
            return found
        }
    }

    package static func figures(_ path: String) throws(StoreFailure) -> Figures {
        var figures = try read(path) { db in
            var figures = Figures()
            if let server = try Row.fetchOne(db, sql: "SELECT * FROM server") {
                figures.epoch = server["epoch"]
                figures.isClean = server["clean"]
            }
            figures.live = try Int.fetchOne(db, sql: "SELECT count(*) FROM live") ?? 0
            figures.running = try Int.fetchOne(db, sql: "SELECT count(*) FROM live WHERE running") ?? 0
            let bad = try Row.fetchAll(
                db, sql: "SELECT state, count(*) FROM finished WHERE state <> 'succeeded' GROUP BY state ORDER BY state"
            )
            let all = try Int.fetchOne(db, sql: "SELECT count(*) FROM finished") ?? 0
            figures.finished = bad.map { ($0[0], $0[1]) }
            figures.finished.insert(("succeeded", all - figures.finished.reduce(0) { $0 + $1.count }), at: 0)
            figures.keys = try Int.fetchOne(db, sql: "SELECT count(*) FROM keys") ?? 0
            let ends = try Row.fetchOne(db, sql: "SELECT min(finished_at), max(finished_at) FROM finished")
            figures.oldest = (ends?[0] as Int64?).map { Instant(nanoseconds: $0) }
            figures.newest = (ends?[1] as Int64?).map { Instant(nanoseconds: $0) }
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
        unlink(partial)
        do {
            let source = try open(path)
            // For its owner only from the beginning.
            try SQLiteFile.make(partial)
            let copy = try DatabaseQueue(path: partial)
            try source.backup(to: copy)
            let found = try copy.read { try String.fetchAll($0, sql: "PRAGMA quick_check(1)") }
            guard found == ["ok"] else { throw StoreFailure("is damaged: \(found.first ?? "")") }
            try copy.close()
            try source.close()
        } catch {
            unlink(partial)
            throw SQLiteFile.failure(path, error)
        }
        let file = Glibc.open(partial, O_RDONLY | O_CLOEXEC)
        let isSynced = file >= 0 && fsync(file) == 0
        close(file)
        guard isSynced, rename(partial, target) == 0 else {
            throw StoreFailure("cannot write \(target): \(String(cString: strerror(errno)))")
        }
    }

    /// Gives unused space back. No server may own the store.
    package static func vacuum(_ path: String) throws(StoreFailure) {
        guard access(path, F_OK) == 0 else { throw StoreFailure("the store \(path) is not there") }
        let lock = try StoreLock(beside: path)
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
        let queue = try DatabaseQueue(path: path, configuration: SQLiteFile.configuration)
        let id = try queue.read { try Int32.fetchOne($0, sql: "PRAGMA application_id") }
        guard id == Schema.applicationID else { throw StoreFailure("is no store of Spindle") }
        return queue
    }

    private static func size(of path: String) -> Int {
        var status = stat()
        return stat(path, &status) == 0 ? Int(status.st_size) : 0
    }
}
