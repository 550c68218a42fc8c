import EventLoop
import GRDB
import GRDBSQLite
import Glibc
import Jobs

/// Room that is kept for the day when the disk is full, so that the ends of what runs can be recorded then.
///
/// It is not simply set free: on a full disk somebody else is writing, and would have it first. Piece by piece it goes into
/// the store's own files, beyond what they hold: a quarter into the log, the rest into the database, which takes over what
/// stands in the log.
struct Reserve: Sendable {
    /// In bytes. While the disk is full the log begins anew after each commit, and an end is written short: with some 1 KiB
    /// of it and its indices in the database, 5,000 that end together need 5 MiB, and 1 MiB of log for each commit.
    /// The rest is for longer results, and for a log that cannot begin anew because somebody reads. Less where the disk is
    /// small.
    private static let most = 20 << 20
    private static let least = 256 << 10
    /// In how many pieces it is moved: somebody else gets at most what is free for a moment. A file system with a journal
    /// has to write it for each.
    private static let pieces = 64
    /// What is too little to be shared out further, in bytes.
    private static let page = 4096

    private let store: String
    private let path: String
    let bytes: Int
    /// Bytes that a file may have, if this process has been set a limit. Where it has, the database itself stops before it.
    private let fileLimit: Int?
    /// Of the database; it stays open as long as SQLite has that file, whose locks would go with it.
    var database: CInt = -1

    /// - Parameter store: The path of the file that it stands beside. It need not be there yet.
    init(beside store: String) {
        self.store = store
        path = store + ".reserve"
        let directory = directory(of: store)
        var (disk, earlier, limit) = (statvfs(), stat(), rlimit())
        var wanted = Self.most
        if statvfs(directory, &disk) == 0 {
            // A server that starts on a full disk is to want as much as one that has seen it become full.
            wanted = max(Self.share(of: disk), stat(path, &earlier) == 0 ? Int(earlier.st_size) : 0)
        }
        wanted = min(max(wanted, Self.least), Self.most)
        // RLIMIT_FSIZE.
        let isLimited = getrlimit(__rlimit_resource_t(1), &limit) == 0 && limit.rlim_cur < rlim_t(Int.max)
        fileLimit = isLimited ? Int(limit.rlim_cur) : nil
        bytes = min(wanted, (fileLimit ?? .max) / 8)
    }

    /// What a file system can spare, in bytes, whatever it says of itself: some know no bounds, and say so.
    static func share(of disk: statvfs) -> Int {
        let unit = Int(clamping: disk.f_frsize)
        let (free, all) = (
            Int(clamping: disk.f_bavail).multiplied(saturating: unit),
            Int(clamping: disk.f_blocks).multiplied(saturating: unit)
        )
        return max(free / 8, all / 64)
    }

    /// - Returns: Whether there is room for it. What an earlier server has set aside stays.
    func fill(beside db: Database) throws -> Bool {
        if let fileLimit {
            let most = (fileLimit - bytes) / Self.page
            guard try Int.fetchOne(db, sql: "PRAGMA page_count") ?? 0 < most else { return false }
            try db.execute(sql: "PRAGMA max_page_count = \(most)")
        }
        guard fill(bytes) else { return false }
        setChunk(0, db)
        return true
    }

    /// As much of it as there is room for.
    func fillPartly() {
        var size = bytes
        while size >= Self.page, !fill(size) { size /= 2 }
    }

    private func fill(_ size: Int) -> Bool {
        guard let file = Descriptor(opening: path, O_RDWR | O_CREAT | O_NOFOLLOW, mode: 0o600) else { return false }
        var before = stat()
        guard fstat(file.number, &before) == 0 else { return false }
        if posix_fallocate(file.number, 0, off_t(size)) == 0 { return true }
        if before.st_size > 0 { ftruncate(file.number, before.st_size) } else { unlink(path) }
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
        let isEased = moveLimit(db)
        guard stat(path, &size) == 0, size.st_size > 0 else { return isEased }
        // SQLite has no lock on the log that would go with this.
        guard let log = Descriptor(opening: store + "-wal", O_RDWR | O_NOFOLLOW) else {
            giveUp()
            return true
        }
        var left = Int(size.st_size)
        let piece = max(left / Self.pieces, Self.page)
        var number = 0
        while left > 0 {
            let room = min(piece, left)
            left -= room
            guard truncate(path, off_t(left)) == 0 else { break }
            // What follows the last page of the one and the last frame of the other is not read.
            lengthen(number % 4 == 0 ? log.number : database, by: room)
            number += 1
        }
        unlink(path)
        keepLength(db)
        return true
    }

    /// - Returns: Whether the database may become longer than it might.
    private func moveLimit(_ db: Database) -> Bool {
        guard let fileLimit else { return false }
        let most = fileLimit / Self.page
        // What cannot be asked now is no easing.
        guard let before = try? Int.fetchOne(db, sql: "PRAGMA max_page_count"), before != most else { return false }
        return (try? db.execute(sql: "PRAGMA max_page_count = \(most)")) != nil
    }

    /// Makes a file longer, by as much of it as is not taken by others already.
    private func lengthen(_ file: CInt, by room: Int) {
        var (size, left, part) = (stat(), room, room)
        while left >= Self.page, part >= Self.page {
            guard fstat(file, &size) == 0 else { return }
            if posix_fallocate(file, size.st_size, off_t(min(part, left))) == 0 {
                left -= part
            } else {
                part /= 2
            }
        }
    }

    /// SQLite cuts the database's file to a multiple of a length after each copying: to the one that it has now. Without
    /// one, it cuts it to what is in it.
    private func keepLength(_ db: Database) {
        var size = stat()
        guard fstat(database, &size) == 0 else { return }
        // A number of 32 bits.
        let parts = Int(size.st_size) >> 30 + 1
        setChunk(CInt(clamping: (Int(size.st_size) / parts) & ~(Self.page - 1)), db)
    }

    private func setChunk(_ length: CInt, _ db: Database) {
        var length = length
        sqlite3_file_control(db.sqliteConnection, "main", SQLITE_FCNTL_CHUNK_SIZE, &length)
    }

    /// Whether nothing can be written beside a store, and why: for errors that say only that writing has failed.
    static func isDenied(beside store: String) -> Bool {
        let path = store + ".reserve"
        let isNew = access(path, F_OK) != 0
        guard let file = Descriptor(opening: path, O_RDWR | O_CREAT | O_NOFOLLOW, mode: 0o600) else {
            return DatabaseError.meansFull(errno)
        }
        defer { if isNew { unlink(path) } }
        // Where there is a reserve, it is what its owner is allowed to have.
        var size = stat()
        fstat(file.number, &size)
        let code = posix_fallocate(file.number, size.st_size, 1 << 16)
        if code == 0 { ftruncate(file.number, size.st_size) }
        return DatabaseError.meansFull(code)
    }
}
