import EventLoop
import GRDB
import GRDBSQLite
import Synchronization

/// Copies what was committed from the log into the database, beside the writer and not in its way, so that the log stays short.
///
/// ```
///   writer       commit … commit ── log is due ──┐                            commit, rest ── commit: the log begins anew
///   this one                                     └► copy, sync, copy, sync ──┘
/// ```
///
/// What one copies while the other writes is never all: the writer itself takes the last little step, after which its next
/// commit begins the log anew. While somebody reads the store for long (a backup, a check), nothing can; then the log grows
/// with what is submitted, and forgetting waits (``isLong``).
// Guard: `state` by `lock`; the connections belong to their queues, and `copying` keeps them from copying at once.
final class Checkpointer: @unchecked Sendable {
    /// Pages (of 4 KiB) after which the log is copied, and from which it is to begin anew.
    private static let due = 2048
    /// Pages from which nothing is added to the log that can wait.
    private static let long = 6144
    /// Pages from which the writer waits for the copying, however much is left: 48 MiB, and the log never has 64.
    private static let most = 12288
    /// What is little enough, in pages, for the writer to copy it.
    private static let little = 256

    private struct State {
        /// Pages in the log since the writer's last commit.
        var length = 0
        var nextRun = Checkpointer.due
        var nextWait = Checkpointer.most
        var isRunning = false
        /// The writer is to take the last step.
        var wantsRest = false
    }

    private let queue: DatabaseQueue
    private let copying = Lock()
    private let lock = Lock()
    private var state = State()
    private let fail: @Sendable (StoreFailure) -> Void
    /// Whose commits these are. Set before the first of them.
    weak var writer: Writer?

    /// - Parameter pool: Whose commits are to be followed. It must not outlive this.
    init(_ path: String, _ pool: DatabasePool, fail: @escaping @Sendable (StoreFailure) -> Void) throws {
        self.fail = fail
        queue = try DatabaseQueue(path: SQLiteFile.name(path), configuration: SQLiteFile.configuration)
        try queue.writeWithoutTransaction { try SQLiteFile.setFullSync($0) }
        pool.writeWithoutTransaction { db in
            _ = sqlite3_wal_hook(db.sqliteConnection, Self.committed, Unmanaged.passUnretained(self).toOpaque())
        }
    }

    func close() { try? queue.close() }  // at the end: what is open then is closed by the system

    /// Whether it is better to add nothing to the log but what somebody waits for.
    var isLong: Bool { lock.withLock { state.length >= Self.long } }

    /// On a full disk the writer copies by itself, into room that it alone has.
    private var isFull: Bool { writer?.isFull.load(ordering: .relaxed) ?? false }

    /// Calls `body` while nobody copies; on a full disk nobody but the writer will afterwards.
    func whileNobodyCopies<Value>(_ body: () -> Value) -> Value { copying.withLock(body) }

    /// Copies what there is.
    func run() {
        guard lock.withLock({ !state.isRunning && state.length > 0 }) else { return }
        start()
    }

    private func start() {
        lock.withLock { state.isRunning = true }
        queue.asyncWriteWithoutTransaction { [self] db in copyBesideTheWriter(db) }
    }

    // MARK: Beside the writer

    private func copyBesideTheWriter(_ db: Database) {
        var isReached = false
        var left = Int.max
        while let (log, copied) = copy(db.sqliteConnection) {
            isReached = copied == log
            let rest = lock.withLock { state.length } - copied
            // Synced here, so that the writer need not wait for all that was copied.
            guard isReached, rest > 0, sync(db), rest > Self.little, rest < left else { break }
            left = rest
        }
        lock.withLock {
            state.isRunning = false
            state.wantsRest = isReached && state.length >= Self.due
            state.nextRun = state.length + Self.due
        }
    }

    /// SQLite itself syncs the database only when nothing was added to the log meanwhile.
    private func sync(_ db: Database) -> Bool {
        var file: UnsafeMutablePointer<sqlite3_file>?
        sqlite3_file_control(db.sqliteConnection, "main", SQLITE_FCNTL_FILE_POINTER, &file)
        guard let file, let sync = file.pointee.pMethods?.pointee.xSync else { return false }
        guard sync(file, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY) == SQLITE_OK else {
            fail(StoreFailure("the store cannot be synced", isOfDisk: true))
            return false
        }
        return true
    }

    // MARK: On the writing queue

    /// SQLite calls this after each commit of the writer, when its lock is given back. Source: sqlite.org/c3ref/wal_hook.html.
    private static let committed:
        @convention(c) (UnsafeMutableRawPointer?, OpaquePointer?, UnsafePointer<CChar>?, CInt) -> CInt = {
            context, connection, _, pages in
            guard let context, let connection else { return SQLITE_OK }
            Unmanaged<Checkpointer>.fromOpaque(context).takeUnretainedValue().committed(Int(pages), connection)
            return SQLITE_OK
        }

    private enum Step { case nothing, run, rest, wait }

    private func committed(_ pages: Int, _ connection: OpaquePointer) {
        let step = lock.withLock { next(after: pages) }
        switch step {
        case .nothing: break
        case .run: start()
        case .rest, .wait:
            let isWhole = copy(connection).map { $0.log == $0.copied } ?? false
            lock.withLock {
                // Whole, yet not begun anew by the next commit, for somebody reads just now: soon again.
                let pause = isWhole ? Self.little : Self.due
                state.nextRun = pages + pause
                state.nextWait = max(Self.most, pages + pause)
            }
        }
    }

    private func next(after pages: Int) -> Step {
        // It has begun anew.
        if pages < state.length { (state.nextRun, state.nextWait) = (Self.due, Self.most) }
        state.length = pages
        if isFull { return .nothing }
        if pages >= state.nextWait { return .wait }
        if state.wantsRest {
            state.wantsRest = false
            return .rest
        }
        return pages >= state.nextRun && !state.isRunning ? .run : .nothing
    }

    // MARK: Both

    /// - Returns: Pages of the log, and those of them that are in the database too; nil when that is not known.
    private func copy(_ connection: OpaquePointer?) -> (log: Int, copied: Int)? {
        guard let connection else { return nil }
        var (log, copied): (CInt, CInt) = (-1, -1)
        let code: CInt = copying.withLock { () -> CInt in
            // It would cut the database to what is in it.
            if isFull { return SQLITE_BUSY }
            return sqlite3_wal_checkpoint_v2(connection, "main", SQLITE_CHECKPOINT_PASSIVE, &log, &copied)
        }
        if code == SQLITE_OK { return (Int(log), Int(copied)) }
        let error = DatabaseError(
            resultCode: ResultCode(rawValue: code), message: String(cString: sqlite3_errmsg(connection)))
        // The next one will.
        if error.isFull(on: connection) || error.resultCode == .SQLITE_BUSY { return nil }
        fail(StoreFailure("the store cannot be brought up to date", error))
        return nil
    }
}
