import GRDB

/// The tables, and how older files become like new ones. Steps are only ever appended.
enum Schema {
    /// "SPDL": marks the file as ours. Source: sqlite.org/fileformat2.html#application_id.
    static let applicationID: Int32 = 0x5350_444C

    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1: live and finished jobs apart") { db in
            try db.execute(sql: firstTables)
        }
        migrator.registerMigration("2: why a pool was chosen") { db in
            try db.execute(
                sql: "ALTER TABLE live ADD COLUMN pool_reason TEXT; ALTER TABLE finished ADD COLUMN pool_reason TEXT")
        }
        migrator.registerMigration("3: grants fence attempts") { db in
            // Until now the attempt was its own fence.
            try db.execute(
                sql: """
                    ALTER TABLE live ADD COLUMN grants INTEGER NOT NULL DEFAULT 0;
                    ALTER TABLE live ADD COLUMN spared INTEGER NOT NULL DEFAULT 0;
                    UPDATE live SET grants = attempt;
                    """)
        }
        migrator.registerMigration("4: what was set while it ran") { db in
            try db.execute(
                sql: """
                    CREATE TABLE controls (
                        kind TEXT NOT NULL, name TEXT NOT NULL, what TEXT NOT NULL, value INTEGER NOT NULL,
                        PRIMARY KEY (kind, name, what)
                    ) WITHOUT ROWID
                    """)
        }
        return migrator
    }

    /// Times are nanoseconds since 1970, durations nanoseconds; JSON is text as it came.
    private static let firstTables = """
        CREATE TABLE server (
            name TEXT NOT NULL,        -- of this store: its children carry it
            epoch INTEGER NOT NULL,    -- one more at each start
            boot TEXT NOT NULL,        -- of the machine, at that start
            clean INTEGER NOT NULL     -- whether the last server ended in order
        );
        CREATE TABLE live (
            id INTEGER PRIMARY KEY,
            task TEXT NOT NULL, pool TEXT NOT NULL, queue TEXT NOT NULL,
            priority INTEGER NOT NULL, max_attempts INTEGER NOT NULL,
            timeout INTEGER, key TEXT, labels TEXT, input TEXT NOT NULL,
            created_at INTEGER NOT NULL, not_before INTEGER, due_at INTEGER, started_at INTEGER,
            attempt INTEGER NOT NULL,      -- started so far
            running INTEGER NOT NULL,      -- whether that attempt has not ended
            cancelled INTEGER NOT NULL DEFAULT 0,
            crashes INTEGER NOT NULL DEFAULT 0,
            reserved INTEGER NOT NULL DEFAULT \(EventLog.firstReserve)
        );
        CREATE TABLE events (
            job INTEGER NOT NULL, last INTEGER NOT NULL, events TEXT NOT NULL,
            PRIMARY KEY (job, last)
        ) WITHOUT ROWID;
        CREATE TABLE finished (
            id INTEGER PRIMARY KEY,
            state TEXT NOT NULL, task TEXT NOT NULL, pool TEXT NOT NULL, queue TEXT NOT NULL,
            finished_at INTEGER NOT NULL,
            priority INTEGER NOT NULL, max_attempts INTEGER NOT NULL, attempt INTEGER NOT NULL,
            timeout INTEGER, key TEXT, labels TEXT,
            created_at INTEGER NOT NULL, not_before INTEGER, started_at INTEGER,
            facts TEXT NOT NULL,           -- worker, progress, usage, cancel, error: see Facts
            events TEXT NOT NULL, input TEXT NOT NULL, result TEXT,
            log BLOB, log_dropped INTEGER NOT NULL DEFAULT 0
        );
        CREATE INDEX finished_by_end ON finished (finished_at);
        CREATE INDEX finished_badly ON finished (state, id) WHERE state <> 'succeeded';
        CREATE TABLE keys (
            number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE,
            fingerprint BLOB NOT NULL, job INTEGER NOT NULL, created_at INTEGER NOT NULL
        );
        CREATE TABLE children (
            pid INTEGER PRIMARY KEY, started_at INTEGER NOT NULL
        );
        """
}
