import EventLoop
import GRDB
import Glibc

/// Says that one server owns the store; the system takes it back when the process ends, however it does.
///
/// A file of its own beside the store says who; the store itself is locked too, because it may have a second name. Where
/// that lock is one with SQLite's own (network file systems), a store with two names is refused.
final class StoreLock {
    /// How long a lock may outlive its owner, in hundredths of a second. A child that is being started as its server is killed
    /// has the server's descriptors for a moment more, until it runs a program of its own or is killed too.
    private static let afterlife = 500
    /// F_OFD_GETLK: which lock is in the way of this descriptor, not of this process. Source: fcntl(2).
    private static let askForLock: CInt = 36

    private let store: String
    private let file: Descriptor
    /// The store. Closing it would drop SQLite's locks: it outlives all connections.
    private var itself: Descriptor?
    /// For system calls on the store while SQLite has it open.
    var database: CInt { itself?.number ?? -1 }

    /// - Parameter wait: How long to wait for another owner to end, in seconds.
    init(beside store: String, waitingFor wait: Int = 0) throws(StoreFailure) {
        self.store = store
        let path = store + ".lock"
        guard let file = Descriptor(opening: path, O_RDWR | O_CREAT | O_NOFOLLOW, mode: 0o600) else {
            let code = errno
            throw StoreFailure(
                "cannot open \(path): \(String(cString: strerror(code)))", isFull: DatabaseError.meansFull(code))
        }
        let number = file.number
        guard try Self.lock(number, path, tries: wait * 100, orWhile: { !Self.isAlive(Self.owner(in: number)) }) else {
            let owner = Self.owner(in: number)
            throw StoreFailure(
                "\(store) is in use by process \(owner): stop that server first, or give another --store")
        }
        // On a full disk the room that an earlier number had is taken again, not given away first.
        let pid = Array("\(getpid())".utf8)
        pwrite(file.number, pid, pid.count, 0)
        ftruncate(file.number, off_t(pid.count))
        self.file = file
    }

    /// Locks the store itself, once it is there and before SQLite opens it.
    func lockStore(waitingFor wait: Int = 0) throws(StoreFailure) {
        guard itself == nil else { return }
        guard let opened = Descriptor(opening: store, O_RDWR | O_NOFOLLOW) else {
            throw StoreFailure("cannot open \(store): \(String(cString: strerror(errno)))")
        }
        let number = opened.number
        itself = consume opened
        // Who had the lock beside it is gone; what is left of it may have this one for a moment. Another owner has it for longer.
        guard try Self.lock(number, store, tries: max(wait * 100, Self.afterlife / 10)) else {
            throw StoreFailure(
                "\(store) is in use under another name: stop that server first, or give another --store")
        }
        guard isInTheWay else { return }
        flock(number, LOCK_UN)
        var status = stat()
        guard fstat(number, &status) == 0, status.st_nlink == 1 else {
            throw StoreFailure("\(store) has a second name: two servers could use it at once")
        }
    }

    /// Whether the lock is a record lock too, as on network file systems: SQLite could not have its own beside it.
    private var isInTheWay: Bool {
        guard let second = Descriptor(opening: store, O_RDWR | O_NOFOLLOW) else { return false }
        var lock = flock()
        lock.l_type = Int16(F_WRLCK)
        lock.l_whence = Int16(SEEK_SET)
        return fcntl(second.number, Self.askForLock, &lock) == 0 && lock.l_type != Int16(F_UNLCK)
    }

    /// Who stands in a lock file; empty for nobody.
    private static func owner(in file: CInt) -> String {
        var text = [UInt8](repeating: 0, count: 20)
        let count = max(pread(file, &text, text.count, 0), 0)
        return String(decoding: text[..<count], as: UTF8.self)
    }

    private static func isAlive(_ owner: String) -> Bool {
        guard let pid = Int32(owner), pid > 0 else { return true }
        return kill(pid, 0) == 0 || errno != ESRCH
    }

    /// - Parameters:
    ///   - tries: One each hundredth of a second.
    ///   - isLeft: Whether the lock is only what its owner has left, and worth ``afterlife``.
    /// - Returns: Whether it is ours now.
    private static func lock(
        _ file: CInt, _ path: String, tries: Int, orWhile isLeft: () -> Bool = { false }
    ) throws(StoreFailure) -> Bool {
        var tried = 0
        while flock(file, LOCK_EX | LOCK_NB) != 0 {
            switch errno {
            case EINTR: continue
            case EWOULDBLOCK:
                guard tried < tries || tried < afterlife && isLeft() else { return false }
                tried += 1
                usleep(10_000)
            case let code:
                throw StoreFailure(
                    "\(path) cannot be locked: \(String(cString: strerror(code))); a store needs a file system with locks"
                )
            }
        }
        return true
    }
}
