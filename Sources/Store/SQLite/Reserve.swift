import GRDB
import GRDBSQLite
import Glibc

/// Room that is kept for the day when the disk is full, so that the ends of what runs can be recorded then.
///
/// It is not simply set free: on a full disk somebody else is writing, and would have it first. It goes into the store's
/// own files, beyond what they hold: half into the log, half into the database, which takes over what stands in the log.
struct Reserve: Sendable {
    /// In bytes. While the disk is full the log begins anew after each commit, and an end is written short: with some 1 KiB
    /// of it and its indices in the database, 5,000 that end together need 5 MiB, and 1 MiB of log for each commit.
    /// The rest is for longer results, and for a log that cannot begin anew because somebody reads. Less where the disk is
    /// small.
    private static let most = 20 << 20
    private static let least = 256 << 10
    /// Less than this, in bytes, is not worth a call.
    private static let crumb = 64 << 10

    private let store: String
    private let path: String
    private let bytes: Int

    /// - Parameter store: The path of the file that it stands beside. It need not be there yet.
    init(beside store: String) {
        self.store = store
        path = store + ".reserve"
        let directory = store.lastIndex(of: "/").map { String(store[...$0]) } ?? "."
        var (disk, earlier, limit) = (statvfs(), stat(), rlimit())
        var wanted = Self.most
        if statvfs(directory, &disk) == 0 {
            let (free, all) = (Int(disk.f_bavail) * Int(disk.f_frsize), Int(disk.f_blocks) * Int(disk.f_frsize))
            // A server that starts on a full disk is to want as much as one that has seen it become full.
            wanted = max(free / 8, all / 64, stat(path, &earlier) == 0 ? Int(earlier.st_size) : 0)
        }
        wanted = min(max(wanted, Self.least), Self.most)
        if getrlimit(__rlimit_resource_t(1), &limit) == 0, limit.rlim_cur < Self.most * 8 {
            wanted = min(wanted, Int(limit.rlim_cur) / 8)
        }
        bytes = wanted
    }

    /// - Returns: Whether there is room for it. What an earlier server has set aside stays.
    func fill() -> Bool { fill(bytes) }

    /// As much of it as there is room for.
    func fillPartly() {
        var size = bytes
        while size >= Self.crumb, !fill(size) { size /= 2 }
    }

    private func fill(_ size: Int) -> Bool {
        let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0 else { return false }
        defer { close(file) }
        var before = stat()
        guard fstat(file, &before) == 0 else { return false }
        if posix_fallocate(file, 0, off_t(size)) == 0 { return true }
        if before.st_size > 0 { ftruncate(file, before.st_size) } else { unlink(path) }
        return false
    }

    /// Sets it free: the store's files are not open yet.
    func giveUp() { unlink(path) }

    /// Gives it to the store's files.
    ///
    /// - Parameter db: The connection that writes, on its queue; nobody else copies from the log into the database meanwhile.
    /// - Returns: Whether there was anything to give.
    func move(into db: Database) -> Bool {
        var size = stat()
        guard stat(path, &size) == 0, size.st_size > 0 else { return false }
        let half = Int(size.st_size) / 2
        if truncate(path, off_t(half)) == 0 { grow(db, by: Int(size.st_size) - half) }
        unlink(path)
        lengthenLog(by: half)
        return true
    }

    /// Makes the database's file longer than what is in it. It stays so as long as this connection alone copies into it.
    private func grow(_ db: Database, by room: Int) {
        var (size, room) = (stat(), room)
        guard stat(store, &size) == 0, let connection = db.sqliteConnection else { return }
        while room >= Self.crumb {
            // SQLite cuts the file to a multiple of this after each copying; it is a number of 32 bits.
            let pieces = (Int(size.st_size) + room) >> 30 + 1
            var chunk = CInt(clamping: ((Int(size.st_size) + room) / pieces + 4095) & ~4095)
            var length = sqlite3_int64(size.st_size) + sqlite3_int64(room)
            sqlite3_file_control(connection, "main", SQLITE_FCNTL_CHUNK_SIZE, &chunk)
            if sqlite3_file_control(connection, "main", SQLITE_FCNTL_SIZE_HINT, &length) == SQLITE_OK { return }
            room /= 2
        }
        shrink(db)
    }

    /// There is room again: the database's file is cut to what is in it by the next copying.
    func shrink(_ db: Database) {
        var chunk: CInt = 0
        sqlite3_file_control(db.sqliteConnection, "main", SQLITE_FCNTL_CHUNK_SIZE, &chunk)
    }

    private func lengthenLog(by room: Int) {
        let log = open(store + "-wal", O_RDWR | O_CLOEXEC | O_NOFOLLOW)
        guard log >= 0 else { return }
        // SQLite has no lock on the log that closing it would drop.
        defer { close(log) }
        var (size, room) = (stat(), room)
        guard fstat(log, &size) == 0 else { return }
        // What follows the last frame is not read.
        while room >= Self.crumb, posix_fallocate(log, size.st_size, off_t(room)) != 0 { room /= 2 }
    }

    /// Whether nothing can be written beside a store, and why: for errors that say only that writing has failed.
    static func isDenied(beside store: String) -> Bool {
        let path = store + ".reserve"
        let isNew = access(path, F_OK) != 0
        let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0 else { return DatabaseError.meansFull(errno) }
        defer {
            close(file)
            if isNew { unlink(path) }
        }
        // Where there is a reserve, it is what its owner is allowed to have.
        var size = stat()
        fstat(file, &size)
        let code = posix_fallocate(file, size.st_size, 1 << 16)
        if code == 0 { ftruncate(file, size.st_size) }
        return DatabaseError.meansFull(code)
    }
}
