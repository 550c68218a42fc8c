import CSpindle
import Glibc
import Jobs

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
    static let root = "/dev/shm"
    static let besideOthers: UInt64 = 1 << 62

    private let directory: WorkDirectory
    private let memory: UnsafeMutableRawPointer
    private var free: [Int32]
    private let pages = Pages()

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
    func page() -> StartPage? { StartPage(pages.next(), in: directory.path) }
}

/// Where one attempt stands in a ``StartList``; nowhere where nobody keeps it.
// Guard: the words are atomic, and their memory is never given back.
package struct StartCell: @unchecked Sendable {
    fileprivate let words: UnsafeMutableRawPointer?

    package init() { words = nil }
    fileprivate init(_ words: UnsafeMutableRawPointer) { self.words = words }

    package var isNone: Bool { words == nil }

    /// From here on it may have effects.
    func begin() { if let words { spindle_store(words, 0) } }

    /// It is in a worker's hands, which says itself when it begins.
    func give(to page: StartPage, as call: Int, isConcurrent: Bool) {
        guard let words else { return }
        spindle_store(words + 24, UInt64(call) | (isConcurrent ? StartList.besideOthers : 0))
        spindle_store(words + 16, page.number)
    }

    /// It came back without having begun, whatever its worker's page is later.
    package func keep() { if let words { spindle_store(words + 16, 0) } }
}

/// What one worker has begun, for the server after this one. The worker writes there, and this server never reads it: a
/// worker that spoils it spoils nothing else.
///
/// | word | what the worker says with it |
/// | --- | --- |
/// | 0 | 1: it uses this |
/// | 1 | the last call of its line that has begun |
/// | 2 | the last concurrent call that has begun |
final class StartPage: Sendable {
    /// Names its path to the worker.
    static let variable = "SPINDLE_BEGUN"
    static let bytes = 4096

    let number: UInt64
    let path: String

    fileprivate init?(_ number: UInt64, in directory: String) {
        self.number = number
        path = "\(directory)/\(number)"
        guard let memory = makeShared(path, size: Self.bytes) else { return nil }
        munmap(memory, Self.bytes)
    }

    deinit { unlink(path) }

    /// This worker's, of a worker; never given back.
    static func own() -> UnsafeMutableRawPointer? {
        guard let path = getenv(variable) else { return nil }
        let descriptor = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_size == bytes,
            let memory = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), memory != MAP_FAILED
        else { return nil }
        spindle_store(memory, 1)
        return memory
    }
}
