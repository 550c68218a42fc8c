import EventLoop
import GRDB
import Glibc
import Jobs
import Testing

@testable import Store

/// Files that are not as a server leaves them: what is wrong is found and said, and never ends a process by itself.
@Suite struct DamagedStoreTests {
    @Test func `what a start has no time to see of a small file, it leaves to be seen while the server runs`() throws {
        let file = try StoreFile()
        let said = Said()
        #expect(try file.look() == nil, "a small file is seen wholly")
        // SQLite asks for the time after some work only, and gives up.
        let hurried = try #require(try file.look(for: 1))
        let inspection = Inspection(file.path, from: hurried) { said.note($0) }
        #expect(!inspection.isOver)
        #expect(inspection.run() == nil && inspection.isOver && said.failures.isEmpty)

        try file.damage(root: "finished_badly")
        let unseen = try #require(try file.look(for: 0))
        let later = Inspection(file.path, from: unseen) { said.note($0) }
        #expect(later.run() == nil && said.failures.count == 1)
        #expect(said.failures.allSatisfy { $0.damage != nil && $0.isOfDisk })
        let refused = #expect(throws: StoreFailure.self) { try file.look() }
        #expect(refused?.damage != nil && refused?.description.contains(file.path) == true)
    }

    @Test
    func `the check finds every job that a server could not read, wherever it stands, and says nothing of others`()
        throws
    {
        let bench = try StoreBench(.sqlite)
        let jobs = (0..<4_100).map { bench.job(maxAttempts: 2, milliseconds: $0) }
        let event = JobEvent(seq: 1, time: bench.start, attempt: 0, kind: .accepted)
        bench.write(jobs.map { .submitted($0, attempt: 0, nil) })
        bench.write(jobs.prefix(3).map { .happened($0.id, [event], reserved: 8) })
        bench.finish(bench.job(milliseconds: 5_000))
        let queue = try DatabaseQueue(path: bench.path, configuration: SQLiteFile.configuration)
        // What the server ended by itself costs a job no attempt.
        try queue.write {
            try $0.execute(
                sql: "UPDATE live SET attempt = 3, spared = 2, grants = 3 WHERE id = ?", arguments: [jobs[5].id.column])
        }
        #expect(try StoreCare.check(bench.path) == [])
        #expect(try bench.left().count == jobs.count)

        try queue.write { db in
            for job in [jobs[0], jobs[1_999], jobs[2_000], jobs[4_099]] {
                try db.execute(sql: "UPDATE live SET priority = 'x' WHERE id = ?", arguments: [job.id.column])
            }
            try db.execute(sql: "UPDATE events SET events = '[[[' WHERE job = ?", arguments: [jobs[1].id.column])
            try db.execute(sql: "INSERT INTO events VALUES (?, 9, 'x')", arguments: [jobs[1].id.column])
            try db.execute(sql: "UPDATE live SET id = 0 WHERE id = ?", arguments: [jobs[7].id.column])
            try db.execute(sql: "UPDATE finished SET state = 'x'")
            try db.execute(
                sql: "INSERT INTO finished SELECT 0, state, task, pool, queue, finished_at, priority, "
                    + "max_attempts, attempt, timeout, key, labels, created_at, not_before, started_at, facts, events, input, "
                    + "result, log, log_dropped, pool_reason FROM finished")
        }
        let found = try StoreCare.check(bench.path)
        let priority = "column priority is no integer"
        #expect(
            found == [
                "1 jobs are live and finished at once",
                "table live, a job with the id 0", "table live, job \(jobs[0].id), \(priority)",
                "table events, job \(jobs[1].id), column events is no events of ours",
                "table live, job \(jobs[1_999].id), \(priority)", "table live, job \(jobs[2_000].id), \(priority)",
                "table live, job \(jobs[4_099].id), \(priority)", "table finished, a job with the id 0",
                "table finished, job \(try lastFinished(queue)), column state is no end of a job",
            ])
        let failure = #expect(throws: StoreFailure.self) { try bench.left() }
        // Whoever ends because of it says what to do, not who says what it is.
        #expect(failure?.damage == found[1] && failure?.description.contains("store check") == false)
    }

    private func lastFinished(_ queue: DatabaseQueue) throws -> JobID {
        JobID(column: try queue.read { try Int64.fetchOne($0, sql: "SELECT max(id) FROM finished") } ?? 0)
    }

    @Test func `a file that is no database is a finding, too`() throws {
        let file = try StoreFile()
        try file.write(Array(repeating: 0x78, count: 200), at: 0)
        #expect(try StoreCare.check(file.path).count == 1)
    }

    @Test func `values of any kind where only the house writes are read past`() throws {
        let bench = try StoreBench(.sqlite)
        let jobs = (0..<3).map { bench.job(milliseconds: $0) }
        for job in jobs { bench.finish(job) }
        let store = try #require(bench.store as? SQLiteStore)
        _ = try store.begin(boot: "boot", name: "name")
        let queue = try DatabaseQueue(path: bench.path, configuration: SQLiteFile.configuration)
        for value in ["'x'", "x'00ff'", "1.5e300", "9223372036854775807"] {
            try queue.write { db in
                try db.execute(
                    sql: """
                        INSERT OR REPLACE INTO controls VALUES ('queue', 'q', 'limit', \(value)), ('queue', \(value), 'paused', 1);
                        UPDATE server SET epoch = \(value), clean = \(value);
                        UPDATE finished SET finished_at = \(value), state = \(value) WHERE id = \(jobs[0].id.column);
                        DELETE FROM keys;
                        INSERT INTO keys (key, fingerprint, job, created_at) VALUES ('a', 'f', 1, \(value)), ('b', 'f', 1, 1);
                        """)
            }
            _ = try store.controls()
            _ = try StoreCare.figures(bench.path)
            let cleaner = Cleaner()
            try queue.writeWithoutTransaction { db in
                while try cleaner.step(db, Retention(), added: 0, at: bench.start) {}
                // What is no time keeps nothing behind it; what is one, and has not come, keeps its place.
                let left = try Int.fetchOne(db, sql: "SELECT count(*) FROM keys")
                #expect(left == (value == "9223372036854775807" ? 2 : 0), "\(value)")
            }
        }
        #expect(try StoreCare.figures(bench.path).finished.reduce(0) { $0 + $1.count } == 3)
    }

    @Test func `a file system may say of itself whatever it likes`() {
        var disk = statvfs()
        for (unit, blocks) in [(UInt.max, UInt.max), (4096, .max), (.max, 1), (0, .max), (1, 0)] {
            (disk.f_frsize, disk.f_blocks, disk.f_bavail) = (unit, blocks, blocks)
            let share = Reserve.share(of: disk)
            #expect(share == (min(unit, blocks) == 0 ? 0 : .max / 8))
        }
        (disk.f_frsize, disk.f_blocks, disk.f_bavail) = (4096, 1_000_000, 1_000)
        #expect(Reserve.share(of: disk) == 64_000_000)
    }
}

/// A copy of a small store, whose files go away with it.
private final class StoreFile {
    private let bench: StoreBench
    let path: String

    init() throws {
        bench = try StoreBench(.sqlite)
        path = bench.directory + "/copy.db"
        bench.finish((0..<1_000).map { bench.job(milliseconds: $0) }, each: [0x31])
        bench.finish(bench.job(milliseconds: 2_000), .failed)
        try StoreCare.backup(bench.path, to: path)
    }

    deinit { for suffix in ["", "-wal", "-shm", ".lock", ".reserve"] { unlink(path + suffix) } }

    /// As a start does.
    func look(for time: Int64 = .max / 2) throws -> Walk? {
        let lock = try StoreLock(beside: path)
        let (pool, seen) = try SQLiteFile.open(path, lock, lookingFor: time)
        try pool.close()
        return seen
    }

    func damage(root name: String) throws {
        let queue = try DatabaseQueue(path: path)
        let (root, size) = try queue.read { db in
            (
                try Int.fetchOne(db, sql: "SELECT rootpage FROM sqlite_master WHERE name = ?", arguments: [name]),
                try Int.fetchOne(db, sql: "PRAGMA page_size")
            )
        }
        // What a look has left in the log would be read instead.
        try queue.writeWithoutTransaction { _ = try $0.checkpoint(.truncate) }
        try queue.close()
        let page = try #require(size)
        try write(Array(repeating: 0x5a, count: page), at: (try #require(root) - 1) * page)
    }

    func write(_ bytes: [UInt8], at offset: Int) throws {
        guard let file = Descriptor(opening: path, O_WRONLY) else { throw StoreFailure("cannot be opened") }
        #expect(pwrite(file.number, bytes, bytes.count, off_t(offset)) == bytes.count)
    }
}

/// What an inspection has said, on its thread.
// Guard: `all` by `lock`.
private final class Said: @unchecked Sendable {
    private let lock = Lock()
    private var all: [StoreFailure] = []

    func note(_ failure: StoreFailure) { lock.withLock { all.append(failure) } }
    var failures: [StoreFailure] { lock.withLock { all } }
}
