import GRDB
import Jobs

/// Jobs that had not ended, in the order of their ids, each with what the disk has of its events. Belongs to its connection
/// and its queue.
final class LeftRows {
    private let rows: StoredRows
    private let history: StoredRows
    /// Both go by the same order; history of jobs that are not asked for is passed over.
    private var ahead: StoredRow?
    /// The id of the job that was read last, whether it could be or not.
    private(set) var last: Int64?

    /// - Parameters:
    ///   - ids: Which of them.
    ///   - count: How many at most; all, if it is negative.
    init(
        _ db: Database, _ condition: String = "TRUE", in ids: ClosedRange<Int64> = .min ... .max, atMost count: Int = -1
    )
        throws
    {
        rows = try StoredRows(
            db, Rows.liveColumns, "WHERE id BETWEEN ? AND ? AND (\(condition)) ORDER BY id LIMIT ?",
            [ids.lowerBound, ids.upperBound, count])
        history = try StoredRows(db, Rows.eventColumns, "WHERE job >= ? ORDER BY job, last", [ids.lowerBound])
        ahead = try history.next()
    }

    /// - Throws: ``StoreFailure`` for a job that cannot be read; the next call goes on behind it.
    func next(at now: Instant) throws -> LeftJob? {
        guard let row = try rows.next() else { return nil }
        last = row.key
        var events: [JobEvent] = []
        while let part = ahead, part.key <= row.key {
            if part.key == row.key { events += try Rows.events(part).events }
            ahead = try history.next()
        }
        return try Rows.live(row, events, at: now)
    }
}
