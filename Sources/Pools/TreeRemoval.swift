import EventLoop
import Glibc

/// Removes a directory with all that is in it.
///
/// Goes by descriptors and follows no link, whatever somebody changes in there meanwhile. However deep the tree is, a few
/// directories are open at once: what stands deeper is moved up first.
package func removeDirectory(_ path: String) {
    if rmdir(path) == 0 || errno == ENOENT { return }
    guard let directory = openDirectory(path, in: AT_FDCWD) else { return }
    TreeRemoval.clear(directory.number)
    rmdir(path)
}

/// Opens a directory that is no link; nil and errno when it is anything else.
func openDirectory(_ name: UnsafePointer<CChar>, in parent: CInt) -> Descriptor? {
    Descriptor(ifOpen: openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC))
}

enum TreeRemoval {
    /// Source: asm-generic/fcntl.h, O_PATH, which C shows to GNU programs only.
    private static let openPath: CInt = 0o10000000
    /// Rounds over the top directory, each of which takes away what stands there and moves up what stands below: a bound
    /// for a tree that somebody goes on filling.
    private static let maximumRounds = 100_000

    /// Empties a directory that is open.
    static func clear(_ top: CInt) {
        fchmod(top, 0o700)
        var moved = 0
        for _ in 0..<maximumRounds {
            var hasGone = false
            var isLeft = false
            forEachEntry(of: top) { name in
                let before = moved
                if remove(name, in: top) {
                    hasGone = true
                } else {
                    empty(name, in: top, &moved)
                    let isGone = remove(name, in: top)
                    hasGone = hasGone || isGone || moved > before
                    isLeft = isLeft || !isGone || moved > before
                }
            }
            if !isLeft || !hasGone { return }
        }
    }

    /// Removes what is directly in a directory; moves directories that are not empty up to `top`.
    private static func empty(_ name: UnsafePointer<CChar>, in top: CInt, _ moved: inout Int) {
        guard let owned = openPermitted(name, in: top) else { return }
        let directory = owned.number
        forEachEntry(of: directory) { entry in
            if remove(entry, in: directory) { return }
            // Moving a directory writes into it: to its entry `..`.
            guard openPermitted(entry, in: directory) != nil else { return }
            for _ in 0..<1000 {
                moved += 1
                // An empty directory of that name would be replaced, and anything else refused: both are well.
                if renameat(directory, entry, top, ".moved-\(moved)") == 0 { return }
                guard errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR else { break }
            }
            moved -= 1
        }
    }

    /// Removes a file or an empty directory.
    private static func remove(_ name: UnsafePointer<CChar>, in directory: CInt) -> Bool {
        if unlinkat(directory, name, 0) == 0 || errno == ENOENT { return true }
        return unlinkat(directory, name, AT_REMOVEDIR) == 0
    }

    /// Opens a directory and makes sure that we may change it, if it is ours.
    private static func openPermitted(_ name: UnsafePointer<CChar>, in parent: CInt) -> Descriptor? {
        if let directory = openDirectory(name, in: parent) {
            fchmod(directory.number, 0o700)
            return directory
        }
        guard errno == EACCES else { return nil }
        // Source: open(2), O_PATH: a way to what may not be read, through which its mode can be changed.
        guard
            let handle = Descriptor(ifOpen: openat(parent, name, openPath | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)),
            chmod("/proc/self/fd/\(handle.number)", 0o700) == 0
        else { return nil }
        return openDirectory(name, in: parent)
    }

    static func forEachEntry(of directory: CInt, _ body: (UnsafePointer<CChar>) -> Void) {
        // A descriptor of its own, which reads from the beginning.
        guard let fresh = openDirectory(".", in: directory), let stream = fdopendir(fresh.number) else { return }
        // The stream's now, and closed with it.
        _ = fresh.release()
        defer { closedir(stream) }
        while let entry = readdir(stream) {
            withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { name in
                    if strcmp(name, ".") != 0, strcmp(name, "..") != 0 { body(name) }
                }
            }
        }
    }
}
