import GRDB

extension SQLiteStore {
    /// What was set while earlier servers ran.
    package func controls() throws(StoreFailure) -> [Control] {
        do {
            return try database.read { db in
                try Row.fetchAll(db, sql: "SELECT kind, name, what, value FROM controls ORDER BY kind, name, what")
                    .compactMap { Control(kind: $0[0], name: $0[1], what: $0[2], value: $0[3]) }
            }
        } catch {
            throw SQLiteFile.failure(database.path, error)
        }
    }
}

/// Writes what is set, and takes back what is as configured again.
///
/// Belongs to the writing queue.
struct ControlStatements {
    private let set, unset: HotStatement

    init(_ db: Database) throws {
        set = try HotStatement(db, "INSERT OR REPLACE INTO controls (kind, name, what, value) VALUES (?,?,?,?)")
        unset = try HotStatement(db, "DELETE FROM controls WHERE kind = ? AND name = ? AND what = ?")
    }

    func apply(_ control: Control) throws {
        let row = control.row
        let statement = row.value == nil ? unset : set
        statement.bind(row.kind)
        statement.bind(row.name)
        statement.bind(row.what)
        if let value = row.value { statement.bind(value) }
        try statement.run()
    }
}
