import EventLoop
import GRDB
import GRDBSQLite
import Glibc
import Jobs
import Synchronization

/// The one who writes: takes what has come, commits it as one, says what became of it, and takes what has come since.
///
/// Group commit: while one batch waits for the disk the next one gathers. It runs on GRDB's writing queue, which is serial.
// Guard: `inbox` by `lock`; all else belongs to the writing queue, but for `isFull` and `isClosing`, which are atomic.
final class Writer: @unchecked Sendable {
    /// Changes of one transaction, and how long it gathers work before it commits, in nanoseconds.
    private static let batch = 512
    private static let batchNanoseconds: UInt64 = 2_000_000

    private struct Inbox {
        var changes: [Change] = []
        /// The number of the first of them.
        var first = 0
        var isServed = false
        var whenIdle: [@Sendable (Database) -> Void] = []
    }

    typealias Report = @Sendable ([(number: Int, receipt: Receipt)]) -> Void

    let pool: DatabasePool
    private let lock = Lock()
    private var inbox = Inbox()
    private let reserve: Reserve
    private let files: OpenedFiles
    private let retention: Retention
    private let report: Report
    private let fail: @Sendable (StoreFailure) -> Void
    /// The disk is full: submissions are refused until there is room again.
    let isFull = Atomic(false)
    /// The server ends: nothing waits for room any more.
    private let isClosing = Atomic(false)
    /// How long a server that ends waits for room, in nanoseconds.
    private static let lastWait: UInt64 = 1_000_000_000
    /// On a full disk, how long ends gather so that they share pages, in microseconds.
    private static let gathering: UInt32 = 20_000
    /// Histories that came while the disk was full. They wait, so that nobody writes more of them.
    private var held: [(number: Int, change: Change)] = []
    private var isCleaning = false
    private var statements: WriteStatements?
    private var lastProbe: UInt64 = 0
    private let cleaner = Cleaner()

    /// - Parameters:
    ///   - report: Told of each change's receipt, on the writing queue.
    ///   - fail: Told of an error after which nothing may be promised any more; must not return to promise it.
    init(
        _ pool: DatabasePool, _ files: OpenedFiles, _ reserve: Reserve, _ retention: Retention,
        report: @escaping Report, fail: @escaping @Sendable (StoreFailure) -> Void
    ) {
        self.pool = pool
        self.files = files
        self.reserve = reserve
        self.retention = retention
        self.report = report
        self.fail = fail
    }

    /// Adds changes to what is to be written. From any thread; the order of calls is the order on disk.
    func take(_ changes: [Change]) {
        let mustStart = lock.withLock {
            inbox.changes.append(contentsOf: changes)
            defer { inbox.isServed = true }
            return !inbox.isServed
        }
        if mustStart { start() }
    }

    /// Calls `done` on the writing queue once everything taken so far is written.
    private func whenIdle(_ done: @escaping @Sendable (Database) -> Void) {
        let mustStart = lock.withLock {
            inbox.whenIdle.append(done)
            defer { inbox.isServed = true }
            return !inbox.isServed
        }
        if mustStart { start() }
    }

    /// Writes what is left, empties the log, and lets go of the file; `done` is called on the writing queue.
    ///
    /// - Parameter inOrder: Whether nothing runs any more, so that the next server need not look for it.
    func close(inOrder: Bool, _ done: @escaping @Sendable () -> Void) {
        isClosing.store(true, ordering: .relaxed)
        whenIdle { [self] db in
            // A statement that is still there would keep the connection open.
            statements = nil
            // What fails here is mended by the next start: it reads the log and looks for orphans.
            if inOrder { try? db.execute(sql: "UPDATE server SET clean = 1") }
            _ = try? db.checkpoint(.truncate)
            done()
        }
    }

    private func start() {
        pool.asyncWriteWithoutTransaction { [self] db in serve(db) }
    }

    private func serve(_ db: Database) {
        while true {
            var changes: [Change] = []
            var first = 0
            var idle: [@Sendable (Database) -> Void] = []
            lock.withLock {
                first = inbox.first
                if inbox.changes.count <= Self.batch {
                    swap(&changes, &inbox.changes)
                } else {
                    changes = Array(inbox.changes.prefix(Self.batch))
                    inbox.changes.removeFirst(Self.batch)
                }
                inbox.first += changes.count
                guard changes.isEmpty else { return }
                swap(&idle, &inbox.whenIdle)
                if idle.isEmpty { inbox.isServed = false }
            }
            if !changes.isEmpty {
                write(changes, first, db)
            } else if idle.isEmpty {
                return
            } else {
                for done in idle { done(db) }
            }
        }
    }

    // MARK: One batch

    private func write(_ changes: [Change], _ first: Int, _ db: Database) {
        var start = 0
        while start < changes.count {
            if isFull.load(ordering: .relaxed) {
                probe(db)
                if isFull.load(ordering: .relaxed) {
                    return writeWithoutRoom(Array(changes[start...]), first + start, db)
                }
            }
            do {
                let (receipts, next) = try commit(changes, from: start, db)
                report(receipts.enumerated().map { (first + start + $0.offset, $0.element) })
                start = next
            } catch let error as DatabaseError where error.isFull(on: db) {
                writeWithoutRoom(Array(changes[start...]), first + start, db)
                return
            } catch let error as DatabaseError where error.resultCode == .SQLITE_BUSY {
                // Another program holds the file: it has had the busy time already, and gets more.
                usleep(10_000)
            } catch {
                fail(StoreFailure("the store cannot be written: \(error)"))
                return
            }
        }
    }

    /// Commits a prefix of what remains; how long it is, time decides.
    private func commit(_ changes: [Change], from start: Int, _ db: Database) throws -> ([Receipt], next: Int) {
        let statements = try self.statements ?? WriteStatements(db)
        self.statements = statements
        var receipts: [Receipt] = []
        receipts.reserveCapacity(changes.count - start)
        var next = start
        let began = nanoseconds()
        let finished = statements.finished
        do {
            try db.inTransaction(.immediate) {
                repeat {
                    receipts.append(try statements.apply(changes[next]))
                    next += 1
                } while next < changes.count && nanoseconds() - began < Self.batchNanoseconds
                return .commit
            }
        } catch {
            statements.rolledBack(to: finished)
            throw error
        }
        // Before anybody is told: into a file that has lost its name everything can be written.
        try files.check()
        return (receipts, next)
    }

    /// There is no room: submissions are refused at once, histories wait, and what concerns running jobs gets the reserve.
    private func writeWithoutRoom(_ changes: [Change], _ first: Int, _ db: Database) {
        isFull.store(true, ordering: .relaxed)
        reserve.giveUp()
        var refused: [(number: Int, receipt: Receipt)] = []
        var kept: [(number: Int, change: Change)] = []
        for (offset, change) in changes.enumerated() {
            switch change {
            case .submitted: refused.append((first + offset, .refused))
            case .happened: held.append((first + offset, change))
            case .started, .requeued, .cancelRequested, .ended, .childStarted, .childEnded, .controlled, .reached:
                kept.append((first + offset, change))
            }
        }
        report(refused)
        if !kept.isEmpty { usleep(Self.gathering) }
        var closingSince: UInt64?
        while !kept.isEmpty {
            do {
                let (receipts, next) = try commit(kept.map(\.change), from: 0, db)
                report(receipts.enumerated().map { (kept[$0.offset].number, $0.element) })
                kept.removeFirst(next)
            } catch let error as DatabaseError where error.isFull(on: db) || error.resultCode == .SQLITE_BUSY {
                // The reserve is used up too: what has ended waits untold until there is room, or the server ends.
                usleep(50_000)
                guard waitsOn(kept.count, since: &closingSince) else { return }
            } catch {
                fail(StoreFailure("the store cannot be written: \(error)"))
                return
            }
        }
    }

    /// - Returns: Whether there is still a file to wait for, and time.
    private func waitsOn(_ count: Int, since closing: inout UInt64?) -> Bool {
        do throws(StoreFailure) {
            try files.check()
        } catch {
            fail(error)
            return false
        }
        guard isClosing.load(ordering: .relaxed) else { return true }
        let now = nanoseconds()
        closing = closing ?? now
        guard let closing, now - closing > Self.lastWait else { return true }
        fail(StoreFailure("the disk is full: what became of \(count) jobs cannot be recorded"))
        return false
    }

    /// Looks now and then whether there is room again.
    private func probe(_ db: Database) {
        let now = nanoseconds()
        guard now - lastProbe > 250_000_000 else { return }
        lastProbe = now
        guard reserve.fill() else { return }
        isFull.store(false, ordering: .relaxed)
        writeHeld(db)
    }

    /// Histories that have waited for room. The end of a job that has ended meanwhile has brought its own.
    private func writeHeld(_ db: Database) {
        while !held.isEmpty {
            do {
                let (receipts, next) = try commit(held.prefix(Self.batch).map(\.change), from: 0, db)
                report(receipts.enumerated().map { (held[$0.offset].number, .stored) })
                held.removeFirst(next)
            } catch let error as DatabaseError where error.isFull(on: db) || error.resultCode == .SQLITE_BUSY {
                isFull.store(true, ordering: .relaxed)
                return
            } catch {
                fail(StoreFailure("the store cannot be written: \(error)"))
                return
            }
        }
    }

    /// How many finished jobs there were when the writer began.
    func count(_ finished: Int) {
        pool.asyncWriteWithoutTransaction { [cleaner] _ in cleaner.found = finished }
    }

    // MARK: Once a second

    func tick(at now: Instant) {
        whenIdle { [self] db in
            do throws(StoreFailure) {
                try files.check()
            } catch {
                return fail(error)
            }
            if isFull.load(ordering: .relaxed) { probe(db) }
        }
        guard !isFull.load(ordering: .relaxed) else { return }
        pool.asyncWriteWithoutTransaction { [self] _ in
            // One chain of steps at a time: a second would only double what a submission has to wait for.
            guard !isCleaning else { return }
            isCleaning = true
            clean(at: now)
        }
    }

    /// One small step of forgetting, and the next one after whatever has come meanwhile.
    private func clean(at now: Instant) {
        pool.asyncWriteWithoutTransaction { [self] db in
            isCleaning = false
            do {
                if try cleaner.step(db, retention, added: statements?.finished ?? 0, at: now) {
                    isCleaning = true
                    clean(at: now)
                }
            } catch let error as DatabaseError where error.isFull(on: db) || error.resultCode == .SQLITE_BUSY {
                return
            } catch {
                fail(StoreFailure("the store cannot be cleaned: \(error)"))
            }
        }
    }

    private func nanoseconds() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}

extension DatabaseError {
    /// Nothing was written for want of room; in the shared-memory file this is an error of its own.
    var isFull: Bool {
        resultCode == .SQLITE_FULL || extendedResultCode == .SQLITE_IOERR_SHMSIZE
    }

    /// The same for one who has a quota, for SQLite an error like any other: the file that was written to knows which.
    func isFull(on db: Database) -> Bool {
        if isFull { return true }
        guard [.SQLITE_IOERR, .SQLITE_IOERR_WRITE].contains(extendedResultCode), let connection = db.sqliteConnection
        else { return false }
        return [SQLITE_FCNTL_JOURNAL_POINTER, SQLITE_FCNTL_FILE_POINTER].contains { which in
            var file: UnsafeMutablePointer<sqlite3_file>?
            var code: CInt = 0
            sqlite3_file_control(connection, "main", which, &file)
            guard let methods = file?.pointee.pMethods else { return false }
            _ = methods.pointee.xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &code)
            return code == EDQUOT
        }
    }
}
