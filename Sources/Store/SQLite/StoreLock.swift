import Glibc

/// Says that one server owns the store; the system takes it back when the process ends, however it does.
///
/// A file of its own beside the store: closing a second descriptor of the store itself would drop SQLite's locks.
final class StoreLock {
    private let file: CInt

    /// - Parameter wait: How long to wait for another owner to end, in seconds.
    init(beside store: String, waitingFor wait: Int = 0) throws(StoreFailure) {
        let path = store + ".lock"
        let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0 else { throw StoreFailure("cannot open \(path): \(String(cString: strerror(errno)))") }
        var triesLeft = wait * 100
        while flock(file, LOCK_EX | LOCK_NB) != 0 {
            guard triesLeft > 0 else {
                var text = [UInt8](repeating: 0, count: 20)
                let count = max(pread(file, &text, text.count, 0), 0)
                close(file)
                let owner = String(decoding: text[..<count], as: UTF8.self)
                throw StoreFailure(
                    "\(store) is in use by process \(owner): stop that server first, or give another --store")
            }
            triesLeft -= 1
            usleep(10_000)
        }
        self.file = file
        ftruncate(file, 0)
        let pid = Array("\(getpid())".utf8)
        pwrite(file, pid, pid.count, 0)
    }

    deinit { close(file) }
}
