import GRDB

extension SQLiteStore {
    /// What was set while earlier servers ran.
    package func controls() throws(StoreFailure) -> [Control] {
        do {
            return try database.read { db in
                try Row.fetchAll(db, sql: "SELECT kind, name, what, value FROM controls ORDER BY kind, name, what")
                    .compactMap { row in
                        // Like what this version does not know: nobody has set it.
                        guard let kind = String.fromDatabaseValue(row[0]), let name = String.fromDatabaseValue(row[1]),
                            let what = String.fromDatabaseValue(row[2]), let value = Int.fromDatabaseValue(row[3])
                        else { return nil }
                        return Control(kind: kind, name: name, what: what, value: value)
                    }
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
