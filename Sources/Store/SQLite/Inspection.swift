import EventLoop
import GRDB
import Glibc
import Synchronization

/// Looks for damage in a store that is in use: what a start had no time to look at.
///
/// On a thread of its own, behind everything else that the machine has to do.
// Guard: `walk` belongs to the thread that runs it.
package final class Inspection: @unchecked Sendable {
    /// How long it reads at once, and how long it then lets others have the disk, in nanoseconds. While it reads, the log
    /// cannot begin anew.
    private static let glance: Int64 = 5_000_000
    private static let pause: Int64 = 15_000_000

    private let path: String
    private var walk: Walk
    private let fail: @Sendable (StoreFailure) -> Void
    private let lock = Lock()
    private let changed = Condition()
    private let ended = Atomic(false)

    init(_ path: String, from walk: Walk, fail: @escaping @Sendable (StoreFailure) -> Void) {
        self.path = path
        self.walk = walk
        self.fail = fail
    }

    /// Whether there is nothing left to look at.
    package var isOver: Bool { walk.isOver }

    /// Looks at all of it, unless it is ended before.
    ///
    /// - Returns: Why it could not; nil when it has seen all of it, or was ended.
    package func run() -> String? {
        // Its own thread alone: for Linux, processes are threads. Where that is not allowed, it runs like the others.
        setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 19)
        do {
            let queue = try DatabaseQueue(path: SQLiteFile.name(path), configuration: SQLiteFile.configuration)
            while !walk.isOver, !ended.load(ordering: .relaxed) {
                try queue.read { try walk.go(on: $0, for: Self.glance) }
                rest()
            }
            try queue.close()
            return nil
        } catch let error as DatabaseError
            where ![.SQLITE_CORRUPT, .SQLITE_NOTADB, .SQLITE_IOERR].contains(error.resultCode)
        {
            // That there are no descriptors, say, is nothing that the file can help.
            return "\(error)"
        } catch {
            if !ended.load(ordering: .relaxed) { fail(SQLiteFile.failure(reading: path, error)) }
            return nil
        }
    }

    private func rest() {
        let end = monotonicNanoseconds() + Self.pause
        lock.withLock {
            while !ended.load(ordering: .relaxed), changed.wait(lock, until: end) {}
        }
    }

    /// Ends it. From any thread.
    package func end() {
        lock.withLock { ended.store(true, ordering: .relaxed) }
        changed.broadcast()
    }
}
