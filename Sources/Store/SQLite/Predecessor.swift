import GRDB
import Jobs

/// The server that had the store before.
package struct Predecessor: Sendable {
    /// Of the store; its children carry it in their environment.
    package let name: String
    package let epoch: Int
    /// Whether it ended in order.
    package let wasClean: Bool
    /// Its children, if the machine has not started since.
    package let children: [ChildMark]
}

extension SQLiteStore {
    package var path: String { pool.path }

    /// Who had the store before; nil: nobody. It can be asked again until this server has begun.
    ///
    /// - Parameter boot: The machine's boot id.
    package func predecessor(boot: String) throws(StoreFailure) -> Predecessor? {
        do {
            return try pool.read { db in
                guard let last = try Row.fetchOne(db, sql: "SELECT * FROM server"),
                    let name = String.fromDatabaseValue(last["name"])
                else { return nil }
                // What is no number of a process is nobody's.
                let children = try Row.fetchAll(db, sql: "SELECT pid, started_at FROM children").compactMap { row in
                    Int32.fromDatabaseValue(row[0]).flatMap { pid in
                        Int64.fromDatabaseValue(row[1]).map { ChildMark(pid: pid, startedAt: $0) }
                    }
                }
                return Predecessor(
                    name: name, epoch: (Int.fromDatabaseValue(last["epoch"]) ?? 0).asCount,
                    wasClean: Bool.fromDatabaseValue(last["clean"]) ?? false,
                    children: String.fromDatabaseValue(last["boot"]) == boot ? children : [])
            }
        } catch {
            throw SQLiteFile.failure(pool.path, error)
        }
    }

    /// Attempts that never began are as if they had not been given a place, but for the grant: no later one has the same.
    static func takeBack(_ attempts: [(job: JobID, grant: Int)], _ db: Database) throws {
        for (job, grant) in attempts {
            try db.execute(
                sql: """
                    UPDATE live SET attempt = attempt - 1, running = 0,
                    started_at = CASE WHEN attempt > 1 THEN started_at END
                    WHERE id = ? AND grants = ? AND running = 1 AND attempt > 0
                    """, arguments: [job.column, grant])
        }
    }
}
