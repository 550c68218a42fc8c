import CSpindle
import Glibc
import Jobs
import Synchronization

/// Which attempts were given a place and have not begun, in memory that outlives the server.
///
/// A store knows that an attempt may begin; whether it has, only memory can know without a system call for each. This is the
/// memory of a file in `/dev/shm`, which goes on when the server is killed: the next one reads there which of the attempts
/// that the store has as running certainly never began. They cost their jobs nothing. What it does not find may have begun.
///
/// ```
///   /dev/shm/spindle-UID/k3XfQ9/     locked while its server lives
///       starts                       whose it is, then a cell for each attempt that has not begun
///       1, 2, …                      a page of each worker: what it has begun
/// ```
///
/// | word of a cell | |
/// | --- | --- |
/// | 0 | the job; 0: nothing, or the attempt has begun |
/// | 1 | the grant |
/// | 2 | the page of the worker that has it in hand; 0: none has |
/// | 3 | its call there, and 1 << 62 more if it runs beside others |
///
/// A word is written after those that it speaks of, and the word of the job is cleared before anything of the attempt can
/// have an effect.
// Guard: `free` belongs to the loop; `pages` is atomic; of a cell's words the job's may be cleared by whoever begins it.
package final class StartList: @unchecked Sendable {
    /// Attempts that may wait inside all pools and be known not to have begun; there are seldom more.
    static let cells = 8192
    static let cellBytes = 32
    /// Whose it is stands before the cells, in text.
    static let headBytes = 4096
    static let fileName = "starts"
    /// Where the kernel keeps such memory. Source: shm_overview(7).
    package static let root = "/dev/shm"

    private let directory: WorkDirectory
    private let memory: UnsafeMutableRawPointer
    private var free: [Int32]
    private let pages = Atomic<UInt64>(0)

    /// - Parameter owner: Which server's it is.
    /// - Returns: nil where there is no such memory: then everything that was given a place may have begun.
    package init?(of owner: Owner) {
        // Any other file system would write it to a disk now and then, and could run out of room under our hands.
        // Nor is it of use where somebody else has taken our name.
        guard spindle_is_in_memory(Self.root) != 0, let directory = try? WorkDirectory(below: Self.root) else {
            return nil
        }
        let size = Self.headBytes + Self.cells * Self.cellBytes
        guard let memory = makeShared("\(directory.path)/\(Self.fileName)", size: size, head: owner.text) else {
            return nil
        }
        self.directory = directory
        self.memory = memory
        free = (0..<Int32(Self.cells)).reversed()
    }

    // It is never unmapped: a thread that was given up may hold a cell for as long as the process lives.

    /// The server ends in order: nothing is left to be known.
    package func remove() { directory.remove() }

    // MARK: For the loop

    /// Notes that an attempt is given a place.
    package func note(_ id: AttemptID) -> StartCell {
        guard let index = free.popLast() else { return StartCell() }
        let words = memory + Self.headBytes + Int(index) * Self.cellBytes
        spindle_store(words + 8, UInt64(id.grant))
        spindle_store(words + 16, 0)
        spindle_store(words, id.job.rawValue)
        return StartCell(words)
    }

    /// The store knows what became of it.
    package func release(_ cell: StartCell) {
        guard let words = cell.words else { return }
        spindle_store(words, 0)
        // Bounded: a cell of ours.
        free.append(Int32((words - memory - Self.headBytes) / Self.cellBytes))
    }

    // MARK: For any thread

    /// A page for one more worker; nil when there is no memory.
    func page() -> StartPage? { StartPage(pages.add(1, ordering: .relaxed).newValue, in: directory.path) }
}
