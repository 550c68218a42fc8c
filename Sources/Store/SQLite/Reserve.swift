import Glibc

/// Room that is kept for the day when the disk is full: given up then, so that what runs can still be recorded.
struct Reserve: Sendable {
    /// In bytes; less where the disk is small.
    private static let most = 8 << 20
    private static let least = 256 << 10

    private let path: String
    private let bytes: Int

    /// - Parameter store: The path of the file that it stands beside.
    init(beside store: String) {
        path = store + ".reserve"
        var disk = statvfs()
        let free = statvfs(store, &disk) == 0 ? Int(disk.f_bavail) * Int(disk.f_frsize) : Self.most
        bytes = min(max(free / 20, Self.least), Self.most)
    }

    /// - Returns: Whether there is room for it.
    func fill() -> Bool {
        let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0 else { return false }
        defer { close(file) }
        if posix_fallocate(file, 0, off_t(bytes)) == 0 { return true }
        unlink(path)
        return false
    }

    func giveUp() { unlink(path) }
}
