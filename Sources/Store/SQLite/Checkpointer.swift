import GRDB
import Glibc

/// Copies what was committed from the log into the database, beside the writer and not in its way.
// Guard: only touched on its own queue, but for `wasWritten`, which belongs to the loop.
final class Checkpointer: @unchecked Sendable {
    /// Pages in the log (of 4 KiB) from which the writer itself takes the last step, so that the log begins anew.
    private static let longLog = 8192

    private let queue: DatabaseQueue
    private let writer: Writer
    private let fail: @Sendable (StoreFailure) -> Void

    init(_ path: String, _ writer: Writer, fail: @escaping @Sendable (StoreFailure) -> Void) throws {
        self.writer = writer
        self.fail = fail
        queue = try DatabaseQueue(path: path, configuration: SQLiteFile.configuration)
        try queue.writeWithoutTransaction { try SQLiteFile.setFullSync($0) }
    }

    /// Copies what there is.
    func run() {
        queue.asyncWriteWithoutTransaction { [self] db in
            guard let pages = checkpoint(db), pages > Self.longLog else { return }
            // What came in meanwhile is little: the writer copies it and may then begin the log anew.
            writer.pool.asyncWriteWithoutTransaction { [self] db in _ = checkpoint(db) }
        }
    }

    func close() { try? queue.close() }  // at the end: what is open then is closed by the system

    private func checkpoint(_ db: Database) -> Int? {
        do {
            return try db.checkpoint(.passive).walFrameCount
        } catch let error as DatabaseError where error.isFull(on: db) || error.resultCode == .SQLITE_BUSY {
            return nil  // the next one will
        } catch {
            fail(StoreFailure("the store cannot be brought up to date: \(error)"))
            return nil
        }
    }
}
