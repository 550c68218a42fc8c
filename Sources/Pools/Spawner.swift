import CSpindle
import EventLoop
import Glibc
import Jobs
import Synchronization

/// What a child is to be.
struct ChildSpec: Sendable {
    /// What stands at descriptor 3.
    enum Channel: Sendable {
        /// One end of a stream socket, for the worker protocol; the worker's state stands at descriptor 4.
        case socket
        /// The writing end of a pipe, for progress as NDJSON.
        case pipe
    }

    /// The program and its arguments; the program has a slash in it.
    var argv: [String]
    var environment: Environment
    var channel: Channel
    /// Whether its standard input is a pipe; else it is empty.
    var takesInput = false
    /// The working directory is made fresh in this one.
    var work: WorkDirectory?
    var limits = ChildLimits()
}

/// Limits of one child, by `setrlimit`. Zero: none.
package struct ChildLimits: Sendable {
    /// Of a command; of each call in a worker, which moves the limit as it begins one.
    package var cpuSeconds: UInt64 = 0
    package var files: UInt64 = 1024
    /// Resident memory of the child and all below it, watched from outside, in bytes.
    package var memoryBytes: UInt64 = 2 << 30
    /// A worker that holds more is replaced once its job has ended.
    package var softMemoryBytes: UInt64 = 0
    /// Processes, the child and all below it, watched from outside.
    package var processes = 512

    package init() {}

    func areExceeded(by holding: Warden.Holding) -> Bool {
        excess(of: holding) != nil || softMemoryBytes > 0 && holding.bytes > softMemoryBytes
    }

    /// Why a child that holds so much is to end; nil: it may go on.
    func excess(of holding: Warden.Holding) -> JobError? {
        if processes > 0, holding.processes > processes {
            return JobError(type: "ProcessLimit", message: "ran more than \(processes) processes and was killed")
        }
        if memoryBytes > 0, holding.bytes > memoryBytes {
            return JobError(type: "MemoryLimit", message: "held more than \(memoryBytes >> 20) MiB and was killed")
        }
        return nil
    }
}

struct SpawnFailure: Error {
    let message: String
    /// The system's, where it was the system that refused.
    var code: CInt = 0
}

/// Starts children, on a thread that never exits: `PR_SET_PDEATHSIG` follows the thread, and the loop does not wait for
/// `exec`. Also reaps the strays that come to us as subreaper, because only this thread knows which children are ours.
// Guard: `requests` and `isReaping` by `lock`; `owned` belongs to the spawning thread.
final class Spawner: @unchecked Sendable {
    private enum Request {
        case spawn(ChildSpec, LoopBound<(Result<SpawnedChild, SpawnFailure>) -> Void>)
        /// Not started here, but ours to wait for.
        case own(pid_t)
        /// The child has been reaped; its directory may go.
        case release(pid_t, directory: String)
    }

    private let lock = Lock()
    private let arrived = Condition()
    private var requests: [Request] = []
    private var wantsReaping = false
    private var owned: Set<pid_t> = []
    private let childCount = Atomic(0)
    /// Tells our children from those of any other server.
    private let name: String
    private let brand: Brand
    let warden = Warden()
    /// Looking through output: each takes some tens of milliseconds at most.
    let looks = Errands("looks")
    /// Reading results that came as files: a large one takes seconds, and is not to keep every other one waiting.
    let results = Errands("results", threads: 2)
    /// Removing what children have left: as much as they liked.
    private let removals = Errands("removals")

    let starts: StartList?

    init(owner: String? = nil, _ starts: StartList? = nil) {
        self.starts = starts
        name = String(UInt64.random(in: 0...UInt64.max), radix: 36)
        brand = Brand(of: owner ?? name)
        spindle_become_subreaper()
        requireThread(named: "spawner") { [self] in work() }
    }

    /// - Parameter done: Called on the loop.
    func spawn(_ spec: ChildSpec, on loop: EventLoop, done: @escaping (Result<SpawnedChild, SpawnFailure>) -> Void) {
        add(.spawn(spec, LoopBound(done, on: loop)))
    }

    /// Of one more child, with a number that no other child of ours has.
    func nextMark() -> (mark: Mark, number: Int) {
        let number = childCount.add(1, ordering: .relaxed).newValue
        return (Mark(value: "\(name).\(number)", brand: brand.ofChild(number)), number)
    }

    /// Leaves a child that a ``Zygote`` has forked to its ``Child``.
    func own(_ pid: pid_t) { add(.own(pid)) }

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
        case .own(let pid): owned.insert(pid)
        case .release(let pid, let directory):
            owned.remove(pid)
            removals.run { removeDirectory(directory) }
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
        let ends = try ChildPipes(spec.channel, takesInput: spec.takesInput, starts)
        // The child's ends are closed here when it has them, not before.
        defer { withExtendedLifetime(ends) {} }
        let (mark, number) = nextMark()
        let directory = try childDirectory(number, in: spec.work)
        var child = spindle_child()
        child.descriptors = (
            spec.takesInput ? ends.input.read.number : ends.null.number, ends.output.write.number,
            ends.errors.write.number, ends.channel.write.number, ends.stateDescriptor.number
        )
        child.brand = mark.brand
        child.limit_cpu = spec.limits.cpuSeconds
        child.moves_limit_cpu = spec.channel == .socket ? 1 : 0
        child.limit_files = spec.limits.files
        var pidfd: CInt = -1
        var environment = spec.environment
        environment[Mark.name] = mark.value
        if let page = ends.page { environment[StartPage.variable] = page.path }
        let pid = withPointers(spec.argv.map { $0.utf8CString.map { $0 } }) { argv in
            withPointers(environment.entries) { environment in
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
            throw SpawnFailure(message: "\(spec.argv[0]): \(String(cString: strerror(-pid)))", code: -pid)
        }
        owned.insert(pid)
        return ends.taken(
            pid: pid, pidfd: Descriptor(owning: pidfd), mark: mark, directory: directory, by: self)
    }
}

/// - Parameter strings: Each with a zero behind it.
private func withPointers<Result>(
    _ strings: [[CChar]], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
    var pointers = strings.map { strdup($0) }
    pointers.append(nil)
    defer { for pointer in pointers { free(pointer) } }
    return pointers.withUnsafeBufferPointer { body($0.baseAddress!) }
}
