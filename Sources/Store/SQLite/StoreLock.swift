import EventLoop
import GRDB
import Glibc

/// Says that one server owns the store; the system takes it back when the process ends, however it does.
///
/// A file of its own beside the store says who; the store itself is locked too, because it may have a second name. Where
/// that lock is one with SQLite's own (network file systems), a store with two names is refused.
final class StoreLock {
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
        guard try Self.lock(file.number, path, waitingFor: wait) else {
            var text = [UInt8](repeating: 0, count: 20)
            let count = max(pread(file.number, &text, text.count, 0), 0)
            let owner = String(decoding: text[..<count], as: UTF8.self)
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
        guard try Self.lock(number, store, waitingFor: wait) else {
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

    /// - Returns: Whether it is ours now.
    private static func lock(_ file: CInt, _ path: String, waitingFor wait: Int) throws(StoreFailure) -> Bool {
        var triesLeft = wait * 100
        while flock(file, LOCK_EX | LOCK_NB) != 0 {
            switch errno {
            case EINTR: continue
            case EWOULDBLOCK:
                guard triesLeft > 0 else { return false }
                triesLeft -= 1
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
