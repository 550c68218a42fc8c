import EventLoop
import GRDB
import GRDBSQLite
import Glibc
import Jobs

/// The store's file: opened, checked, brought up to date.
enum SQLiteFile {
    /// How long a start may look for damage, in nanoseconds; an ``Inspection`` looks at the rest.
    static let checkTime: Int64 = 250_000_000
    /// Files up to this size, in bytes, SQLite itself looks at, and nearly always wholly: that takes less time.
    private static let smallFile = 64 << 20

    /// What stays of a log that had to grow, in bytes.
    private static let logLimit = 32 << 20

    /// Connections with what every one of them needs.
    static var configuration: Configuration {
        var configuration = Configuration()
        configuration.label = "store"
        configuration.busyMode = .timeout(5)
        configuration.maximumReaderCount = 3
        configuration.prepareDatabase { db in
            // In KiB: the writer's pages are worth keeping; readers come rarely, and to all places.
            let cache = db.configuration.readonly ? 2048 : 32768
            // Debian's SQLite overwrites what is deleted, page by page, through the log: forgetting would write as much
            // as was ever stored. FAST does so only where the page is written anyway.
            try db.execute(
                sql: "PRAGMA cache_size = -\(cache); PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 0; "
                    + "PRAGMA journal_size_limit = \(logLimit); PRAGMA secure_delete = FAST")
        }
        return configuration
    }

    /// - Parameters:
    ///   - lock: Takes the file itself too, before SQLite has it.
    ///   - time: How long it may look for damage, in nanoseconds.
    /// - Returns: The file, and what is still to be looked at; nil when all of it was.
    static func open(
        _ path: String, _ lock: StoreLock, waitingForOwner wait: Int = 0, lookingFor time: Int64 = checkTime
    ) throws(StoreFailure) -> (pool: DatabasePool, seen: Walk?) {
        do {
            let isNew = access(path, F_OK) != 0
            if isNew { try make(path) } else { try mustBeFile(path) }
            keepPrivate(path)
            try lock.lockStore(waitingFor: wait)
            let seen = isNew ? nil : try look(at: path, for: time)
            let pool = try DatabasePool(path: name(path), configuration: configuration)
            if isNew { try keepName(of: path) }
            try pool.writeWithoutTransaction { db in
                try setFullSync(db)
                try db.execute(sql: "PRAGMA application_id = \(Schema.applicationID)")
            }
            try Schema.migrator.migrate(pool)
            return (pool, seen)
        } catch {
            throw failure(path, error)
        }
    }

    /// How SQLite is told of a file: it takes `file:…` for an address, and `:memory:` for no file at all.
    static func name(_ path: String) -> String {
        path.begins(with: "file:") || path.begins(with: ":") ? "./" + path : path
    }

    /// Makes an empty file for its owner only: what SQLite puts beside it later is as private as that, whatever the umask.
    static func make(_ path: String) throws {
        guard let file = Descriptor(opening: path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600),
            fchmod(file.number, 0o600) == 0
        else {
            let isFull = DatabaseError.meansFull(errno)
            let why = String(cString: strerror(errno))
            throw StoreFailure("\(path) cannot be made: \(why)", isFull: isFull)
        }
    }

    /// To open a pipe would wait for ever.
    static func mustBeFile(_ path: String) throws {
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { throw StoreFailure("is no file") }
    }

    /// What an earlier server has left beside the store is as private as the store, and can be written by its owner whatever
    /// the store is at this moment.
    private static func keepPrivate(_ path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return }
        for suffix in ["-wal", "-shm", ".lock", ".reserve"] {
            guard let file = Descriptor(opening: path + suffix, O_RDONLY | O_NOFOLLOW | O_NONBLOCK) else { continue }
            fchmod(file.number, status.st_mode & 0o777 | 0o600)
        }
    }

    /// GRDB sets NORMAL when it switches WAL on: then a commit would be told before it is on disk.
    static func setFullSync(_ db: Database) throws {
        try db.execute(sql: "PRAGMA synchronous = FULL")
        guard try Int.fetchOne(db, sql: "PRAGMA synchronous") == 2,
            try String.fetchOne(db, sql: "PRAGMA journal_mode") == "wal"
        else { throw StoreFailure("cannot be made to sync fully", isOfDisk: true) }
    }

    /// A file that has just been made is not there after a power cut unless its directory is on disk too. SQLite tries,
    /// but ignores that it may fail.
    private static func keepName(of path: String) throws {
        guard syncDirectory(of: path) else {
            throw StoreFailure(
                "cannot be kept: the directory of \(path): \(String(cString: strerror(errno)))", isOfDisk: true)
        }
    }

    /// Makes sure that the file is ours, whole, and not newer than we are, before anything is written to it.
    ///
    /// - Returns: What is to be looked at later; nil when it has been seen wholly.
    private static func look(at path: String, for time: Int64) throws -> Walk? {
        let isSmall = StoreCare.size(of: path) <= smallFile
        var walk: Walk?
        let queue = try DatabaseQueue(path: name(path), configuration: configuration)
        do {
            try queue.read { db in
                let id = try Int32.fetchOne(db, sql: "PRAGMA application_id")
                let isEmpty = try Int.fetchOne(db, sql: "SELECT count(*) FROM sqlite_master") == 0
                guard id == Schema.applicationID || id == 0 && isEmpty else {
                    throw StoreFailure("is a database of another program")
                }
                let isSeen = try isSmall && check(db, for: time)
                guard try !Schema.migrator.hasBeenSuperseded(db) else {
                    throw StoreFailure("was made by a newer Spindle than this one")
                }
                guard !isSeen, !isEmpty else { return }
                walk = Walk()
                // Of a small one the time is over.
                if !isSmall { try walk?.go(on: db, for: time) }
            }
        } catch {
            // Closing would copy the log into the file; it is to stay as it is, and the process is about to end, or tries
            // once more with the room that the reserve has left.
            _ = Unmanaged.passRetained(queue)
            throw error
        }
        try queue.close()
        return walk.flatMap { $0.isOver ? nil : $0 }
    }

    /// Looks for damage as long as that takes no time that anybody would notice.
    ///
    /// - Returns: Whether all of it was looked at.
    private static func check(_ db: Database, for time: Int64) throws -> Bool {
        // SQLite asks for the time only now and then.
        guard time > 0 else { return false }
        let deadline = Deadline(after: time)
        sqlite3_progress_handler(
            db.sqliteConnection, 10_000,
            { Unmanaged<Deadline>.fromOpaque($0!).takeUnretainedValue().hasPassed ? 1 : 0 },
            Unmanaged.passUnretained(deadline).toOpaque())
        defer {
            sqlite3_progress_handler(db.sqliteConnection, 0, nil, nil)
            withExtendedLifetime(deadline) {}
        }
        do {
            let found = try String.fetchAll(db, sql: "PRAGMA quick_check(1)")
            guard found == ["ok"] else { throw StoreFailure(damage: found.first ?? "") }
            return true
        } catch let error as DatabaseError where error.resultCode == .SQLITE_INTERRUPT {
            return false
        }
    }

    private final class Deadline {
        private let time: Int64
        init(after delay: Int64) { time = monotonicNanoseconds() + delay }
        var hasPassed: Bool { monotonicNanoseconds() > time }
    }

    /// What has gone wrong with a store that is in use, in words for people.
    static func failure(reading path: String, _ error: any Error) -> StoreFailure {
        switch error {
        case let failure as StoreFailure: failure
        case let error as DatabaseError where error.damage != nil: .damaged(error.damage ?? "")
        default: StoreFailure("the store \(path) cannot be read: \(error)", isOfDisk: true)
        }
    }

    /// In words for people.
    static func failure(_ path: String, _ error: any Error) -> StoreFailure {
        let why: String
        switch error {
        case let failure as StoreFailure where failure.isOfDisk || failure.isFull: return failure
        case let failure as StoreFailure:
            if let damage = failure.damage { return StoreFailure(damage: damage, in: path) }
            why = failure.description
        case let error as DatabaseError where error.damage != nil:
            return StoreFailure(damage: error.damage ?? "", in: path)
        case let error as DatabaseError
        where error.isFull
            || [.SQLITE_IOERR_WRITE, .SQLITE_CANTOPEN].contains(error.extendedResultCode)
                && Reserve.isDenied(beside: path):
            return StoreFailure("the store \(path) cannot be opened: the disk is full", isFull: true)
        case let error as DatabaseError where error.resultCode == .SQLITE_IOERR:
            return StoreFailure(
                "the store \(path) cannot be read or written: \(error.message ?? "I/O error")", isOfDisk: true)
        case let error as DatabaseError: why = "cannot be opened: \(error.message ?? "error \(error.resultCode)")"
        default: why = "cannot be opened: \(error)"
        }
        return StoreFailure("the store \(path) \(why)")
    }
}

extension StoreFailure {
    /// What could not be done, and why: a damaged file is called that, whoever meets the damage first.
    init(_ what: String, _ error: any Error) {
        if let damage = (error as? DatabaseError)?.damage {
            self.init(damage: damage)
        } else {
            self.init("\(what): \(error)")
        }
    }
}

extension DatabaseError {
    /// What is wrong in the file, where that is what SQLite says.
    var damage: String? {
        guard resultCode == .SQLITE_CORRUPT || resultCode == .SQLITE_NOTADB else { return nil }
        return message ?? "the file is malformed"
    }
}
