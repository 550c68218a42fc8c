import Glibc

/// Room that is kept for the day when the disk is full: given up then, so that the ends of what runs can be recorded.
struct Reserve: Sendable {
    /// In bytes. An end by itself is a commit of some eight pages of 4 KiB in the log: 32 KiB; this is enough for 640 of
    /// them when no two meet in one commit and the log cannot begin anew. Less where the disk is small.
    private static let most = 640 * (32 << 10)
    private static let least = 256 << 10

    private let path: String
    private let bytes: Int

    /// - Parameter store: The path of the file that it stands beside.
    init(beside store: String) {
        path = store + ".reserve"
        var disk = statvfs()
        let free = statvfs(store, &disk) == 0 ? Int(disk.f_bavail) * Int(disk.f_frsize) : Self.most
        bytes = min(max(free / 8, Self.least), Self.most)
    }

    /// - Returns: Whether there is room for it. What an earlier server has set aside stays.
    func fill() -> Bool {
        let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0 else { return false }
        defer { close(file) }
        var before = stat()
        guard fstat(file, &before) == 0 else { return false }
        if posix_fallocate(file, 0, off_t(bytes)) == 0 { return true }
        if before.st_size > 0 { ftruncate(file, before.st_size) } else { unlink(path) }
        return false
    }

    func giveUp() { unlink(path) }
}
