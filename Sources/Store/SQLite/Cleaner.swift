import GRDB
import Jobs

/// Forgets what is too old or too much, a little at a time.
///
/// Belongs to the writing queue.
final class Cleaner: @unchecked Sendable {  // Guard: only touched on the writing queue.
    /// Rows of one step: a millisecond or two, which is what a submission may have to wait for it.
    private static let step = 50

    /// Finished jobs at the beginning; nil until they have been counted.
    var found: Int?
    private var removed = 0

    /// - Parameter added: Jobs finished since the beginning.
    /// - Returns: Whether there is more to forget.
    func step(_ db: Database, _ retention: Retention, added: Int, at now: Instant) throws -> Bool {
        try db.execute(
            sql: """
                DELETE FROM finished WHERE id IN
                (SELECT id FROM finished WHERE finished_at < ? ORDER BY finished_at LIMIT ?)
                """, arguments: [(now - retention.age).nanoseconds, Self.step])
        let old = db.changesCount
        removed += old
        let surplus = min((found ?? 0) + added - removed - retention.jobs, Self.step)
        if found != nil, surplus > 0 {
            try db.execute(
                sql: "DELETE FROM finished WHERE id IN (SELECT id FROM finished ORDER BY finished_at LIMIT ?)",
                arguments: [surplus])
            removed += db.changesCount
        }
        try db.execute(
            sql:
                "DELETE FROM keys WHERE number IN (SELECT number FROM keys WHERE created_at < ? ORDER BY number LIMIT ?)",
            arguments: [(now - retention.keys).nanoseconds, Self.step])
        return old == Self.step || surplus == Self.step || db.changesCount == Self.step
    }
}
