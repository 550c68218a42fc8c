import EventLoop
import GRDB
import GRDBSQLite
import Glibc
import Jobs
import Synchronization

/// The one who writes: takes what has come, commits it as one, says what became of it, and takes what has come since.
///
/// Group commit: while one batch waits for the disk the next one gathers. It runs on GRDB's writing queue, which is serial.
// Guard: `inbox` by `lock`; all else belongs to the writing queue, but for `isFull` and `isHurried`, which are atomic.
final class Writer: @unchecked Sendable {
    /// Changes of one transaction, and how long it gathers work before it commits, in nanoseconds.
    static let batch = 512
    private static let batchNanoseconds: Int64 = 2_000_000

    private struct Inbox {
        var changes: [Change] = []
        /// The number of the first of them.
        var first = 0
        var isServed = false
        var whenIdle: [@Sendable (Database) -> Void] = []
    }

    typealias Report = @Sendable ([(number: Int, receipt: Receipt)]) -> Void

    let pool: DatabasePool
    private let checkpointer: Checkpointer
    private let lock = Lock()
    private var inbox = Inbox()
    let reserve: Reserve
    private let files: OpenedFiles
    private let retention: Retention
    let report: Report
    let fail: @Sendable (StoreFailure) -> Void
    /// The disk is full: submissions are refused until there is room again.
    let isFull = Atomic(false)
    /// The server ends: starts wait for room no longer.
    let isHurried = Atomic(false)
    /// What came while the disk was full and is not written yet.
    var backlog = Backlog()
    var lastProbe: Int64 = 0
    /// How long a server that ends waits for room, in nanoseconds.
    private static let lastWait: Int64 = 1_000_000_000
    private var isCleaning = false
    /// Nothing may be asked of the file any more.
    private var isClosed = false
    private var statements: WriteStatements?
    private let cleaner = Cleaner()

    /// - Parameters:
    ///   - report: Told of each change's receipt, on the writing queue.
    ///   - fail: Told of an error after which nothing may be promised any more; must not return to promise it.
    init(
        _ pool: DatabasePool, _ checkpointer: Checkpointer, _ files: OpenedFiles, _ reserve: Reserve,
        _ retention: Retention, report: @escaping Report, fail: @escaping @Sendable (StoreFailure) -> Void
    ) {
        self.pool = pool
        self.checkpointer = checkpointer
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
        whenIdle { [self] db in
            // Nobody is there any more who could take a start back.
            isHurried.store(false, ordering: .relaxed)
            guard emptyBacklog(within: Self.lastWait, db) else { return }
            // A statement that is still there would keep the connection open.
            statements = nil
            // What fails here is mended by the next start: it reads the log and looks for orphans.
            if inOrder { try? db.execute(sql: "UPDATE server SET clean = 1") }
            _ = try? db.checkpoint(.truncate)
            isClosed = true
            done()
        }
    }

    /// Starts wait for room no longer: the server ends, and takes them back.
    func hurry() {
        isHurried.store(true, ordering: .relaxed)
        whenIdle { [self] db in if isFull.load(ordering: .relaxed) { writeDue(db) } }
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
                if isFull.load(ordering: .relaxed) { return hold(changes[start...], first, db) }
            }
            do {
                let (receipts, next) = try commit(changes, from: start, db)
                report(receipts.enumerated().map { (first + start + $0.offset, $0.element) })
                start = next
            } catch {
                switch setback(error, db) {
                case .otherProgram: continue
                case .noRoom: return hold(changes[start...], first, db)
                case .theEnd: return
                }
            }
        }
    }

    /// What an error means for one who wanted to write.
    enum Setback {
        /// It holds the file, has had the busy time already, and gets more.
        case otherProgram
        /// - Parameter isEased: The store has got the reserve just now.
        case noRoom(isEased: Bool)
        /// Nothing may be written any more.
        case theEnd
    }

    func setback(_ error: any Error, _ db: Database) -> Setback {
        switch error {
        case let error as DatabaseError where error.isFull(on: db):
            isFull.store(true, ordering: .relaxed)
            let isEased = checkpointer.whileNobodyCopies { reserve.move(into: db) }
            if isEased { backlog.heavyShare = reserve.bytes / 2 }
            return .noRoom(isEased: isEased)
        case let error as DatabaseError where error.resultCode == .SQLITE_BUSY:
            usleep(10_000)
            return .otherProgram
        case let failure as StoreFailure: fail(failure)
        default: fail(StoreFailure("the store cannot be written", error))
        }
        return .theEnd
    }

    /// Commits a prefix of what remains; how long it is, time decides.
    ///
    /// - Parameter isBrief: There is hardly any room: ends are written short.
    func commit(
        _ changes: [Change], from start: Int = 0, isBrief: Bool = false, _ db: Database
    ) throws -> ([Receipt], next: Int) {
        let statements = try self.statements ?? WriteStatements(db)
        self.statements = statements
        var receipts: [Receipt] = []
        receipts.reserveCapacity(changes.count - start)
        var next = start
        let began = monotonicNanoseconds()
        let finished = statements.finished
        do {
            try db.inTransaction(.immediate) {
                repeat {
                    receipts.append(try statements.apply(changes[next], isBrief: isBrief))
                    next += 1
                } while next < changes.count && monotonicNanoseconds() - began < Self.batchNanoseconds
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
            guard isFull.load(ordering: .relaxed) else { return }
            probe(db)
            if isFull.load(ordering: .relaxed) { writeDue(db) }
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
            // Nobody waits for it. It goes on a second later.
            guard !isClosed, !checkpointer.isLong else { return }
            do {
                if try cleaner.step(db, retention, added: statements?.finished ?? 0, at: now) {
                    isCleaning = true
                    clean(at: now)
                }
            } catch let error as DatabaseError where error.isFull(on: db) || error.resultCode == .SQLITE_BUSY {
                return
            } catch {
                fail(StoreFailure("the store cannot be cleaned", error))
            }
        }
    }
}
