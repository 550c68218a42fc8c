import Glibc

/// The store's file and its log as they were opened: what is written goes into these, whatever their names mean by now.
///
/// A file that was deleted or replaced while it is open takes everything without an error, and is gone with the process.
struct OpenedFiles: Sendable {
    private struct Place: Sendable, Equatable {
        let device: dev_t
        let inode: ino_t

        init?(_ path: String) {
            var status = stat()
            guard stat(path, &status) == 0 else { return nil }
            (device, inode) = (status.st_dev, status.st_ino)
        }
    }

    private let files: [(path: String, place: Place)]

    /// - Parameter path: Of the database, which is open, so that its log is there; no symbolic link.
    init(_ path: String) throws(StoreFailure) {
        var files: [(String, Place)] = []
        for path in [path, path + "-wal"] {
            guard let place = Place(path) else { throw Self.lost(path) }
            files.append((path, place))
        }
        self.files = files
    }

    /// Makes sure that the names still lead to what is written: two system calls that touch no disk.
    func check() throws(StoreFailure) {
        for (path, place) in files where Place(path) != place { throw Self.lost(path) }
    }

    private static func lost(_ path: String) -> StoreFailure {
        StoreFailure(
            "\(path) was deleted or replaced while the server had it open: what was in it is gone with it",
            isOfDisk: true)
    }

    /// Where a path leads: two names of one store are to be one.
    static func resolved(_ path: String) -> String {
        guard let real = realpath(path, nil) else { return path }
        defer { free(real) }
        return String(cString: real)
    }
}
