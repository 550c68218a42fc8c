import EventLoop
import Glibc
import Jobs
import Synchronization

/// The directory that a server's children work below, for as long as the server lives.
///
/// ```
///   $TMPDIR/spindle-UID/     this user's alone; one that belongs to anybody else is refused
///       k3XfQ9/              one server's, named by chance and locked while the server lives
///           1/  2/  …        one child's each
/// ```
///
/// The system takes the lock back however the server ends, and the next one clears what nobody holds. Where somebody has
/// removed it while the server lives, to clear up /tmp say, it is made again for the next child.
// Guard: all that changes by `lock`; `isCleared` is atomic.
package final class WorkDirectory: @unchecked Sendable {
    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    package let path: String
    private let shelfPath: String
    private let lock = Lock()
    private var place: Place
    private var isRemoved = false
    /// It was made again, and not yet what children that live on had in it.
    private var owesChildren = false
    private let isCleared = Atomic(false)

    /// Makes it.
    ///
    /// - Parameter temporary: What stands in `TMPDIR`.
    package init(below temporary: String) throws(Failure) {
        guard let resolved = realpath(temporary, nil) else {
            throw Self.failed("cannot use \(temporary) (set TMPDIR to a directory)")
        }
        shelfPath = "\(String(cString: resolved))/spindle-\(geteuid())"
        free(resolved)
        var made = try Self.make(below: shelfPath)
        // A server that ends removes an empty shelf, perhaps at this moment.
        for _ in 0..<10 where made == nil { made = try Self.make(below: shelfPath) }
        guard let made else { throw Self.failed("cannot make a directory in \(shelfPath)") }
        path = "\(shelfPath)/\(made.name)"
        place = made
    }

    /// Makes the directory of one child, for its owner only.
    func makeChild(_ name: String) throws(Failure) -> String {
        let child = "\(path)/\(name)"
        // Not by the path: where it was removed, that may lead to somebody else's by now.
        func make() -> Bool { lock.withLock { mkdirat(place.directory.number, name, 0o700) == 0 } }
        if make() { return child }
        if errno == ENOENT {
            try restore()
            if make() { return child }
        }
        throw Self.failed("cannot make the working directory \(child)")
    }

    /// Whether somebody has removed it.
    var isGone: Bool {
        lock.withLock {
            var status = stat()
            return !isRemoved
                && (owesChildren || fstat(place.directory.number, &status) == 0 && status.st_nlink == 0)
        }
    }

    /// Makes it again, with those of these children that live on in what was removed.
    func restore(with children: [String]) throws(Failure) {
        try restore()
        lock.withLock {
            owesChildren = false
            for child in children { mkdirat(place.directory.number, child, 0o700) }
        }
    }

    private func restore() throws(Failure) {
        let outcome: Result<Void, Failure> = lock.withLock {
            if isRemoved { return .success(()) }
            var there = stat()
            var ours = stat()
            // Another thread may just have done it.
            if lstat(path, &there) == 0, fstat(place.directory.number, &ours) == 0, there.st_dev == ours.st_dev,
                there.st_ino == ours.st_ino
            {
                return .success(())
            }
            do throws(Failure) {
                if let made = try Self.make(place.name, below: shelfPath) {
                    place = made
                    owesChildren = true
                }
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        try outcome.get()
    }

    /// Removes it with all that is in it.
    package func remove() {
        // What a child has left may be on its way out already, moved about by another thread.
        lock.withLock {
            isRemoved = true
            for _ in 0..<10 {
                TreeRemoval.clear(place.directory.number)
                if unlinkat(place.shelf.number, place.name, AT_REMOVEDIR) == 0 || errno == ENOENT { break }
            }
        }
        // Not empty where others work; gone where others have just done the same.
        rmdir(shelfPath)
    }

    deinit { remove() }

    private struct Place: ~Copyable {
        let shelf: Descriptor
        /// Holds the lock.
        let directory: Descriptor
        let name: String
    }

    /// - Parameter name: nil: one by chance.
    /// - Returns: nil when the shelf went away meanwhile.
    private static func make(_ name: String? = nil, below path: String) throws(Failure) -> Place? {
        let shelf = try openShelf(path)
        // Held until the new directory is locked: nobody takes it for one without a server.
        let held = shelf.number
        flock(held, LOCK_EX)
        defer { flock(held, LOCK_UN) }
        var template = Array("\(path)/\(name ?? "XXXXXX")".utf8CString)
        guard name == nil ? mkdtemp(&template) != nil : mkdir(template, 0o700) == 0 else {
            if errno == ENOENT { return nil }
            throw failed("cannot make a directory in \(path)")
        }
        let name = name ?? String(decoding: template.suffix(7).dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        guard let directory = openDirectory(name, in: shelf.number),
            flock(directory.number, LOCK_EX | LOCK_NB) == 0
        else { throw failed("cannot use the directory \(path)/\(name)") }
        return Place(shelf: shelf, directory: directory, name: name)
    }

    /// The directory that all servers of this user share.
    private static func openShelf(_ path: String) throws(Failure) -> Descriptor {
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw failed("cannot make \(path)") }
        guard let shelf = openDirectory(path, in: AT_FDCWD) else {
            throw failed("\(path) is no directory to work in; remove it, or set TMPDIR")
        }
        var status = stat()
        guard fstat(shelf.number, &status) == 0, status.st_uid == geteuid() else {
            throw Failure(
                description: "\(path) belongs to user \(status.st_uid), not to us: remove it, or set TMPDIR"
            )
        }
        fchmod(shelf.number, 0o700)
        return shelf
    }

    /// Removes what servers that were killed have left, on a thread of its own.
    ///
    /// - Parameter patience: How long to wait for that; what takes longer goes on beside the server.
    package func clearDead(within patience: Duration) {
        let isStarted = startThread(named: "clear") { [self] in
            clearDead()
            isCleared.store(true, ordering: .releasing)
        }
        // Without a thread it is the next start's.
        guard isStarted else { return }
        for _ in 0..<Int(saturating: patience / .milliseconds(1)) where !isCleared.load(ordering: .acquiring) {
            usleep(1000)
        }
    }

    private func clearDead() {
        // Lists of starts may stand on the same shelf: their own store reads them first.
        guard let shelf = openDirectory(shelfPath, in: AT_FDCWD) else { return }
        Self.forEachDead(in: shelf.number) { faccessat($0, StartList.fileName, F_OK, 0) != 0 }
    }

    /// Shows the directories of servers of this user that are gone, each while nobody else has it.
    ///
    /// - Parameter body: Says whether it is to be removed.
    static func forEachDead(below root: String, _ body: (_ directory: CInt) -> Bool) {
        let path = "\(root)/spindle-\(geteuid())"
        guard let shelf = openDirectory(path, in: AT_FDCWD) else { return }
        forEachDead(in: shelf.number, body)
    }

    private static func forEachDead(in shelf: CInt, _ body: (_ directory: CInt) -> Bool) {
        var names: [String] = []
        TreeRemoval.forEachEntry(of: shelf) { names.append(String(cString: $0)) }
        for name in names {
            guard let directory = openDirectory(name, in: shelf) else { continue }
            flock(shelf, LOCK_EX)
            var status = stat()
            let isDead =
                fstat(directory.number, &status) == 0 && status.st_uid == geteuid()
                && flock(directory.number, LOCK_EX | LOCK_NB) == 0
            flock(shelf, LOCK_UN)
            guard isDead, body(directory.number) else { continue }
            TreeRemoval.clear(directory.number)
            unlinkat(shelf, name, AT_REMOVEDIR)
        }
    }

    private static func failed(_ what: String) -> Failure {
        Failure(description: "\(what): \(String(cString: strerror(errno)))")
    }
}

/// Makes the working directory of a child.
func childDirectory(_ number: Int, in work: WorkDirectory?) throws(SpawnFailure) -> String {
    guard let work else { throw SpawnFailure(message: "there is no directory to work in") }
    do {
        return try work.makeChild(String(number))
    } catch {
        throw SpawnFailure(message: error.description)
    }
}
