import CSpindle
import EventLoop
import Glibc

/// What a child is to be.
struct ChildSpec: Sendable {
    /// What stands at descriptor 3.
    enum Channel: Sendable {
        /// One end of a stream socket, for the worker protocol.
        case socket
        /// The writing end of a pipe, for progress as NDJSON.
        case pipe
    }

    /// The program and its arguments; the program has a slash in it.
    var argv: [String]
    var environment: [String]
    var channel: Channel
    /// Whether its standard input is a pipe; else it is empty.
    var takesInput = false
    /// The working directory is made fresh below this one.
    var directoryRoot: String
    var limits = ChildLimits()
}

/// Limits of one child, by `setrlimit`. Zero: none.
package struct ChildLimits: Sendable {
    package var cpuSeconds: UInt64 = 0
    package var files: UInt64 = 1024
    /// Resident memory of the child's process, watched from outside, in bytes.
    package var memoryBytes: UInt64 = 2 << 30

    package init() {}
}

/// A child that has just been started, and our ends of its descriptors; all but `pidfd` do not block.
struct SpawnedChild: Sendable {
    let pid: pid_t
    let pidfd: CInt
    let output: CInt
    let errors: CInt
    let channel: CInt
    /// The writing end of its standard input; -1: there is none.
    let input: CInt
    let directory: String
}

struct SpawnFailure: Error {
    let message: String
}

/// Starts children, on a thread that never exits: `PR_SET_PDEATHSIG` follows the thread, and the loop does not wait for
/// `exec`. Also reaps the strays that come to us as subreaper, because only this thread knows which children are ours.
// Guard: `requests` and `isReaping` by `lock`; `owned` belongs to the spawning thread.
final class Spawner: @unchecked Sendable {
    private enum Request {
        case spawn(ChildSpec, LoopBound<(Result<SpawnedChild, SpawnFailure>) -> Void>)
        /// The child has been reaped; its directory may go.
        case release(pid_t, directory: String)
    }

    private let lock = Lock()
    private let arrived = Condition()
    private var requests: [Request] = []
    private var wantsReaping = false
    private var owned: Set<pid_t> = []
    private var nextDirectory = 0

    init() {
        spindle_become_subreaper()
        var thread = pthread_t()
        let context = Unmanaged.passRetained(self).toOpaque()
        let created = pthread_create(&thread, nil, Self.main, context)
        precondition(created == 0, "no memory for the spawner's thread")
        pthread_detach(thread)
    }

    /// - Parameter done: Called on the loop.
    func spawn(_ spec: ChildSpec, on loop: EventLoop, done: @escaping (Result<SpawnedChild, SpawnFailure>) -> Void) {
        add(.spawn(spec, LoopBound(done, on: loop)))
    }

    func release(_ pid: pid_t, directory: String) { add(.release(pid, directory: directory)) }

    /// Looks for children that nobody waits for.
    func reapStrays() {
        lock.withLock {
            wantsReaping = true
            arrived.signal()
        }
    }

    private func add(_ request: Request) {
        lock.withLock {
            requests.append(request)
            arrived.signal()
        }
    }

    private func work() -> Never {
        while true {
            var batch: [Request] = []
            let reaps = lock.withLock {
                while requests.isEmpty, !wantsReaping { arrived.wait(lock) }
                swap(&batch, &requests)
                defer { wantsReaping = false }
                return wantsReaping
            }
            for request in batch { serve(request) }
            if reaps { reapNow() }
        }
    }

    private func serve(_ request: Request) {
        switch request {
        case .spawn(let spec, let done):
            let result: Result<SpawnedChild, SpawnFailure>
            do throws(SpawnFailure) {
                result = .success(try start(spec))
            } catch {
                result = .failure(error)
            }
            done.loop.submit { done.value(result) }
        case .release(let pid, let directory):
            owned.remove(pid)
            removeDirectory(directory)
            reapNow()
        }
    }

    private func reapNow() {
        while true {
            let pid = spindle_peek_ended_child()
            guard pid > 0, !owned.contains(pid) else { return }
            var status: CInt = 0
            waitpid(pid, &status, 0)
        }
    }

    // MARK: Starting

    private func start(_ spec: ChildSpec) throws(SpawnFailure) -> SpawnedChild {
        var ends = Ends()
        defer { ends.closeAll() }
        try ends.open(spec.channel, takesInput: spec.takesInput)
        let directory = try makeDirectory(below: spec.directoryRoot)
        var child = spindle_child()
        child.descriptors = (
            spec.takesInput ? ends.input.read : ends.null, ends.output.write, ends.errors.write, ends.channel.write
        )
        child.limit_cpu = spec.limits.cpuSeconds
        child.limit_files = spec.limits.files
        var pidfd: CInt = -1
        let pid = withCStrings(spec.argv) { argv in
            withCStrings(spec.environment) { environment in
                directory.withCString { path in
                    child.path = UnsafePointer(argv[0])
                    child.argv = argv
                    child.envp = environment
                    child.directory = path
                    return spindle_spawn(&child, &pidfd)
                }
            }
        }
        guard pid > 0 else {
            removeDirectory(directory)
            throw SpawnFailure(message: "\(spec.argv[0]): \(String(cString: strerror(-pid)))")
        }
        owned.insert(pid)
        return SpawnedChild(
            pid: pid, pidfd: pidfd, output: ends.take(\.output), errors: ends.take(\.errors),
            channel: ends.take(\.channel), input: ends.takeInput(), directory: directory)
    }

    private func makeDirectory(below root: String) throws(SpawnFailure) -> String {
        nextDirectory += 1
        let path = "\(root)/\(nextDirectory)"
        guard mkdir(path, 0o700) == 0 else {
            throw SpawnFailure(
                message: "cannot make the working directory \(path): \(String(cString: strerror(errno)))")
        }
        return path
    }

    /// Our ends and the child's of all its descriptors, while it is being made.
    private struct Ends {
        struct Pair {
            var read: CInt = -1
            var write: CInt = -1
        }

        var null: CInt = -1
        var output = Pair()
        var errors = Pair()
        var channel = Pair()
        var input = Pair()

        mutating func open(_ kind: ChildSpec.Channel, takesInput: Bool) throws(SpawnFailure) {
            null = Glibc.open("/dev/null", O_RDONLY | O_CLOEXEC)
            var made = null >= 0 && pipe(&output) && pipe(&errors)
            if takesInput {
                made = made && pipe(&input)
                // Of this one the other end is ours.
                if made { _ = (fcntl(input.read, F_SETFL, 0), fcntl(input.write, F_SETFL, O_NONBLOCK)) }
            }
            switch kind {
            case .pipe: made = made && pipe(&channel)
            case .socket:
                var pair: (CInt, CInt) = (-1, -1)
                let code = withUnsafeMutableBytes(of: &pair) {
                    spindle_socketpair($0.bindMemory(to: CInt.self).baseAddress)
                }
                made = made && code == 0
                channel = Pair(read: pair.0, write: pair.1)
                if channel.read >= 0 { _ = fcntl(channel.read, F_SETFL, O_NONBLOCK) }
            }
            guard made else {
                throw SpawnFailure(message: "no descriptors left for a child: \(String(cString: strerror(errno)))")
            }
        }

        /// Keeps one of our ends from being closed.
        mutating func take(_ pair: WritableKeyPath<Ends, Pair>) -> CInt {
            defer { self[keyPath: pair].read = -1 }
            return self[keyPath: pair].read
        }

        mutating func takeInput() -> CInt {
            defer { input.write = -1 }
            return input.write
        }

        func closeAll() {
            let all = [
                null, output.read, output.write, errors.read, errors.write, channel.read, channel.write, input.read,
                input.write,
            ]
            for descriptor in all where descriptor >= 0 { close(descriptor) }
        }

        private func pipe(_ pair: inout Pair) -> Bool {
            var ends: (CInt, CInt) = (-1, -1)
            let code = withUnsafeMutableBytes(of: &ends) { spindle_pipe($0.bindMemory(to: CInt.self).baseAddress) }
            pair = Pair(read: ends.0, write: ends.1)
            return code == 0
        }
    }

    private static let main: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { context in
        spindle_name_thread("spawner")
        Unmanaged<Spawner>.fromOpaque(context!).takeUnretainedValue().work()
    }
}

private func withCStrings<Result>(
    _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
    var pointers = strings.map { strdup($0) }
    pointers.append(nil)
    defer { for pointer in pointers { free(pointer) } }
    return pointers.withUnsafeBufferPointer { body($0.baseAddress!) }
}

/// Removes a directory with all that is in it; follows no link.
func removeDirectory(_ path: String) {
    if rmdir(path) == 0 || errno == ENOENT { return }
    guard let directory = opendir(path) else { return }
    while let entry = readdir(directory) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name == "." || name == ".." { continue }
        let child = path + "/" + name
        if unlink(child) != 0 { removeDirectory(child) }
    }
    closedir(directory)
    rmdir(path)
}
