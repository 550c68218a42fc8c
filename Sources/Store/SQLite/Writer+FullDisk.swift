import EventLoop
import GRDB
import GRDBSQLite
import Glibc
import Synchronization

/// A disk without room: submissions are refused, starts and histories wait, and what ends is written into the reserve.
extension Writer {
    /// How long what is due gathers, so that it shares pages, in microseconds.
    private static let gathering: UInt32 = 20_000
    /// Nanoseconds between two looks whether there is room again.
    private static let pause: Int64 = 250_000_000

    /// - Parameters:
    ///   - changes: Part of a batch.
    ///   - first: The number of the batch's first.
    func hold(_ changes: ArraySlice<Change>, _ first: Int, _ db: Database) {
        var refused: [(number: Int, receipt: Receipt)] = []
        for (index, change) in zip(changes.indices, changes) {
            if case .submitted = change {
                refused.append((first + index, .refused))
            } else {
                backlog.take(first + index, change)
            }
        }
        report(refused)
        if backlog.dueJobs > 0 { usleep(Self.gathering) }
        writeDue(db)
    }

    /// Writes what is due as far as there is room, short. What does not fit waits, untold.
    func writeDue(heavyToo: Bool = false, _ db: Database) {
        let due = backlog.due(startsToo: isHurried.load(ordering: .relaxed), heavyToo: heavyToo)
        if !due.isEmpty { beginLogAnew(db) }
        var start = 0
        var most = Self.batch
        while start < due.count {
            let group = due[start...].prefix(most)
            do {
                let (receipts, next) = try commit(group.map(\.change), isBrief: true, db)
                written(group.prefix(next), receipts)
                start += next
                beginLogAnew(db)
            } catch {
                switch setback(error, db) {
                case .otherProgram, .noRoom(isEased: true): continue
                // Fewer need less.
                case .noRoom where group.count > 1: most = group.count / 2
                // No other is shorter.
                case .noRoom: start = due.count
                case .theEnd: return
                }
            }
        }
        report(backlog.takeReached().map { ($0, .stored) })
    }

    private func written(_ entries: ArraySlice<Backlog.Entry>, _ receipts: [Receipt]) {
        var told: [(number: Int, receipt: Receipt)] = []
        for (entry, receipt) in zip(entries, receipts) {
            told.append((entry.number, receipt))
            told += backlog.remove(entry).map { ($0, .stored) }
        }
        report(told)
    }

    /// Copies what the log holds into the database, so that the next commit overwrites it: the log does not grow, and the
    /// database by no more than what ends.
    private func beginLogAnew(_ db: Database) {
        do {
            try db.checkpoint(.passive)
        } catch {
            // Without room in the database the log goes on as long as it can; while somebody reads, too.
            if let error = error as? DatabaseError, error.isFull(on: db) || error.resultCode == .SQLITE_BUSY { return }
            fail(StoreFailure("the store cannot be brought up to date", error))
        }
    }

    /// Looks now and then whether there is room again, and writes what has waited for it.
    func probe(_ db: Database) {
        let now = monotonicNanoseconds()
        guard now - lastProbe > Self.pause else { return }
        lastProbe = now
        do {
            guard try reserve.fill(beside: db) else { return }
        } catch {
            _ = setback(error, db)
            return
        }
        isFull.store(false, ordering: .relaxed)
        writeAll(db)
    }

    private func writeAll(_ db: Database) {
        let all = backlog.all
        var start = 0
        while start < all.count {
            do {
                let group = all[start...].prefix(Self.batch)
                let (receipts, next) = try commit(group.map(\.change), db)
                written(group.prefix(next), receipts)
                start += next
            } catch {
                guard case .otherProgram = setback(error, db) else { return }
            }
        }
        report(backlog.takeReached().map { ($0, .stored) })
    }

    /// Writes what has waited, for a server that ends: what is due, and the histories for which there is room after that.
    ///
    /// - Parameter limit: How long room is waited for, in nanoseconds.
    /// - Returns: Whether nothing is lost that anybody waits to be told.
    func emptyBacklog(within limit: Int64, _ db: Database) -> Bool {
        guard !backlog.isEmpty else { return true }
        let began = monotonicNanoseconds()
        writeDue(heavyToo: true, db)
        while backlog.dueJobs > 0 {
            guard monotonicNanoseconds() - began < limit else {
                fail(StoreFailure("the disk is full: what became of \(backlog.dueJobs) jobs cannot be recorded"))
                return false
            }
            usleep(50_000)
            writeDue(heavyToo: true, db)
        }
        // A start that waits never was: the next server finds the job waiting.
        let histories = backlog.histories
        var start = 0
        while start < histories.count {
            // Nobody waits for them, and there is no later time.
            guard let (_, next) = try? commit(histories[start...].prefix(Self.batch).map(\.change), db) else { break }
            start += next
            beginLogAnew(db)
        }
        return true
    }
}

extension DatabaseError {
    /// Nothing was written for want of room; in the shared-memory file this is an error of its own.
    var isFull: Bool {
        resultCode == .SQLITE_FULL || extendedResultCode == .SQLITE_IOERR_SHMSIZE
    }

    /// The same for one who has a quota or a limit for files, for SQLite an error like any other: the file that was written
    /// to knows which.
    func isFull(on db: Database) -> Bool { db.sqliteConnection.map(isFull(on:)) ?? isFull }

    func isFull(on connection: OpaquePointer) -> Bool {
        if isFull { return true }
        guard [.SQLITE_IOERR, .SQLITE_IOERR_WRITE].contains(extendedResultCode) else { return false }
        let codes = [SQLITE_FCNTL_JOURNAL_POINTER, SQLITE_FCNTL_FILE_POINTER].map { which in
            var file: UnsafeMutablePointer<sqlite3_file>?
            var code: CInt = 0
            sqlite3_file_control(connection, "main", which, &file)
            guard let methods = file?.pointee.pMethods else { return code }
            _ = methods.pointee.xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &code)
            return code
        }
        // A file remembers its last error for ever, but no disk that has failed is used for long.
        return codes.contains(where: Self.meansFull) && !codes.contains(EIO)
    }

    /// Of a system call's error: the disk, a quota, or the limit for a file's size. Source: errno(3).
    static func meansFull(_ code: CInt) -> Bool { [ENOSPC, EDQUOT, EFBIG].contains(code) }
}
