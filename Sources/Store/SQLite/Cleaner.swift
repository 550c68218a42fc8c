import EventLoop
import GRDB
import Jobs

/// Forgets what is too old or too much, a little at a time.
///
/// Belongs to the writing queue.
final class Cleaner: @unchecked Sendable {  // Guard: only touched on the writing queue.
    /// What one step may take, in nanoseconds: a submission may have to wait for it.
    private static let stepTime: Int64 = 1_000_000
    /// Rows of one step, and pages that they may leave free: a job of many bytes costs a read for each page. It may be
    /// more by what the last of them leaves.
    static let stepRows = 200
    static let stepPages = 512

    /// Finished jobs at the beginning; nil until they have been counted.
    var found: Int?
    private var removed = 0

    /// - Parameter added: Jobs finished since the beginning.
    /// - Returns: Whether there is more to forget.
    func step(_ db: Database, _ retention: Retention, added: Int, at now: Instant) throws -> Bool {
        let before = removed
        do {
            var hasMore = false
            // Nothing is begun that would end with nothing done.
            guard try nextJob(db, retention, added, now) != nil || nextKey(db, retention, now) != nil else {
                return false
            }
            try db.inTransaction(.immediate) {
                hasMore = try forget(db, retention, added, now)
                return .commit
            }
            return hasMore
        } catch {
            removed = before
            throw error
        }
    }

    private func forget(_ db: Database, _ retention: Retention, _ added: Int, _ now: Instant) throws -> Bool {
        let deadline = monotonicNanoseconds() + Self.stepTime
        let pages = try freePages(db) + Self.stepPages
        for _ in 0..<Self.stepRows {
            if let id = try nextJob(db, retention, added, now) {
                try db.cachedStatement(sql: "DELETE FROM finished WHERE id = ?").execute(arguments: [id])
                removed += 1
            } else if let number = try nextKey(db, retention, now) {
                try db.cachedStatement(sql: "DELETE FROM keys WHERE number = ?").execute(arguments: [number])
            } else {
                return false
            }
            guard try monotonicNanoseconds() < deadline && freePages(db) < pages else { return true }
        }
        return true
    }

    /// The job that ended first, if it is to be forgotten.
    private func nextJob(_ db: Database, _ retention: Retention, _ added: Int, _ now: Instant) throws -> Int64? {
        let oldest = try db.cachedStatement(sql: "SELECT id, finished_at FROM finished ORDER BY finished_at LIMIT 1")
        guard let row = try Row.fetchOne(oldest) else { return nil }
        // What is no time comes behind all times, and is not old; that it cannot be read, others say.
        let isOld = (Int64.fromDatabaseValue(row[1]) ?? .max) < (now - retention.age).nanoseconds
        let isTooMany = found.map { $0 + added - removed > retention.jobs } ?? false
        return isOld || isTooMany ? row[0] : nil
    }

    /// The first key, if it is to be forgotten. Those behind it are younger: to look for one among all of them would take long.
    private func nextKey(_ db: Database, _ retention: Retention, _ now: Instant) throws -> Int64? {
        let first = try db.cachedStatement(sql: "SELECT number, created_at FROM keys ORDER BY number LIMIT 1")
        // What is no time is not to keep those behind it.
        guard let row = try Row.fetchOne(first),
            (Int64.fromDatabaseValue(row[1]) ?? .min) < (now - retention.keys).nanoseconds
        else { return nil }
        return row[0]
    }

    private func freePages(_ db: Database) throws -> Int {
        try Int.fetchOne(db.cachedStatement(sql: "PRAGMA freelist_count")) ?? 0
    }
}
