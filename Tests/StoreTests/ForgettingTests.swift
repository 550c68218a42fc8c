import GRDB
import Glibc
import Jobs
import Testing

@testable import Store

/// What forgetting, and what is written meanwhile, may take of the disk and of the writer's time: counted in rows, pages
/// and bytes.
@Suite struct ForgettingTests {
    private static let start = Instant(nanoseconds: 1_790_000_000_000_000_000)

    @Test
    func `a step of forgetting frees a bounded number of rows and pages, and together they leave what is to stay`()
        throws
    {
        let bench = try StoreBench(.sqlite)
        let queue = try DatabaseQueue(path: "\(bench.directory)/other.db", configuration: SQLiteFile.configuration)
        defer { unlink("\(bench.directory)/other.db") }
        try Schema.migrator.migrate(queue)
        let sizes = [10, 10, 23_000, 10, 60_000, 10, 10, 300_000]
        try queue.write { db in
            for number in 0..<600 {
                try insert(number, bytes: number < 300 ? 10 : sizes[number % sizes.count], db)
            }
        }
        let cleaner = Cleaner()
        cleaner.found = 600
        var retention = Retention()
        retention.jobs = 20
        var steps = 0
        try queue.writeWithoutTransaction { db in
            var before = try figures(db)
            while try cleaner.step(db, retention, added: 0, at: Self.start + .seconds(60)) {
                let after = try figures(db)
                #expect(after.rows < before.rows)
                #expect(before.rows - after.rows <= Cleaner.stepRows)
                #expect(after.free - before.free <= Cleaner.stepPages + 300_000 / 4096 + 16)
                before = after
                steps += 1
            }
            #expect(try figures(db).rows == 20 + 600)
            while try cleaner.step(db, retention, added: 0, at: Self.start + .seconds(8 * 86400)) {}
            #expect(try figures(db).rows == 0)
        }
        #expect(steps >= 580 / Cleaner.stepRows)
        try queue.close()
    }

    private func insert(_ number: Int, bytes: Int, _ db: Database) throws {
        let time = (Self.start + .milliseconds(number)).nanoseconds
        try db.execute(
            sql: """
                INSERT INTO finished (id, state, task, pool, queue, finished_at, priority, max_attempts, attempt,
                created_at, facts, events, input, result)
                VALUES (?, 'succeeded', 't', 'thread', 'default', ?, 0, 1, 1, ?, '[]', '[]', '{}', ?)
                """, arguments: [number + 1, time, time, String(repeating: "x", count: bytes)])
        try db.execute(
            sql: "INSERT INTO keys (key, fingerprint, job, created_at) VALUES (?, ?, ?, ?)",
            arguments: ["k\(number)", "f", number + 1, time])
    }

    /// Rows that are there, of jobs and keys, and pages that are free.
    private func figures(_ db: Database) throws -> (rows: Int, free: Int) {
        let rows = try Int.fetchOne(
            db, sql: "SELECT (SELECT count(*) FROM finished) + (SELECT count(*) FROM keys)")
        return (rows!, try Int.fetchOne(db, sql: "PRAGMA freelist_count")!)
    }

    @Test func `the log stays short, however much is written and forgotten between two ticks`() throws {
        var retention = Retention()
        retention.jobs = 50
        let bench = try StoreBench(.sqlite, retention)
        let text = Array(("\"" + String(repeating: "x", count: 30_000) + "\"").utf8)
        let (batch, batches) = (32, 90)
        var longest = 0
        for number in 0..<batches {
            if number == batches / 2 { bench.store.tick(at: Self.start) }
            bench.finish((0..<batch).map { bench.job(milliseconds: number * batch + $0) }, each: text)
            longest = max(longest, size("\(bench.path)-wal"))
        }
        // It is well above what the log may have: three copies of each text went through it.
        #expect(batch * batches * text.count * 2 > 128 << 20)
        #expect(longest <= 64 << 20)
        var last = Int.max
        let deadline = ContinuousClock.now + .seconds(60)
        while last > retention.jobs, ContinuousClock.now < deadline {
            bench.store.tick(at: Self.start)
            last = try bench.list(JobQuery(limit: 500)).jobs.count
        }
        #expect(last == retention.jobs)
        #expect(size("\(bench.path)-wal") <= 64 << 20)
    }

    @Test func `a store that is closed while it forgets forgets no more, and says nothing of it`() throws {
        var retention = Retention()
        retention.jobs = 1
        for round in 0..<20 {
            let bench = try StoreBench(.sqlite, retention)
            bench.finish((0..<(50 * round)).map { bench.job(milliseconds: $0) }, each: [0x31])
            bench.store.tick(at: Self.start + .seconds(8 * 86400))
            #expect(try bench.reopen().wasClean)
        }
    }

    private func size(_ path: String) -> Int {
        var status = stat()
        return stat(path, &status) == 0 ? Int(status.st_size) : 0
    }
}
