import CSpindle
import EventLoop
import Glibc

/// Our ends and the child's of all its descriptors, while it is being made. What nobody takes is closed with them.
// Guard: belongs to whoever makes the child: the spawner's thread, or the loop with a zygote.
final class ChildPipes {
    struct Pair: ~Copyable {
        var read: Descriptor?
        var write: Descriptor?
    }

    private(set) var null: Descriptor?
    private(set) var output = Pair()
    private(set) var errors = Pair()
    private(set) var channel = Pair()
    private(set) var input = Pair()
    /// What a worker shares with us, and the descriptor by which it gets it.
    private(set) var state: WorkerState?
    private(set) var stateDescriptor: Descriptor?
    /// What a worker has begun, for the server after this one; nil: none is to know.
    private(set) var page: StartPage?

    /// - Throws: ``SpawnFailure`` when there are no descriptors left.
    init(_ kind: ChildSpec.Channel, takesInput: Bool, _ starts: StartList?) throws(SpawnFailure) {
        null = Descriptor(ifOpen: open("/dev/null", O_RDONLY | O_CLOEXEC))
        guard null != nil else { throw Self.failure(errno) }
        output = try Self.pair(spindle_pipe)
        errors = try Self.pair(spindle_pipe)
        if takesInput {
            input = try Self.pair(spindle_pipe)
            // Of this one the other end is ours.
            _ = (fcntl(input.read.number, F_SETFL, 0), fcntl(input.write.number, F_SETFL, O_NONBLOCK))
        }
        switch kind {
        case .pipe: channel = try Self.pair(spindle_pipe)
        case .socket:
            channel = try Self.pair(spindle_socketpair)
            _ = fcntl(channel.read.number, F_SETFL, O_NONBLOCK)
            // Without it the worker gets one call at a time.
            stateDescriptor = Descriptor(ifOpen: spindle_shared_memory(WorkerState.size))
            if stateDescriptor != nil { state = WorkerState(mapping: stateDescriptor.number) }
            page = starts?.page()
        }
    }

    /// The child that they lead to: our ends are its own now.
    func taken(
        pid: pid_t, pidfd: consuming Descriptor, mark: Mark, directory: String, by spawner: Spawner
    ) -> SpawnedChild {
        SpawnedChild(
            pid: pid, pidfd: pidfd, mark: mark, output: output.read.take(), errors: errors.read.take(),
            channel: channel.read.take(), input: input.write.take(), state: state, page: page,
            directory: directory, spawner: spawner)
    }

    private static func pair(_ make: (UnsafeMutablePointer<CInt>?) -> CInt) throws(SpawnFailure) -> Pair {
        var ends: (CInt, CInt) = (-1, -1)
        let code = withUnsafeMutableBytes(of: &ends) { make($0.bindMemory(to: CInt.self).baseAddress) }
        guard code == 0 else { throw failure(-code) }
        return Pair(read: Descriptor(owning: ends.0), write: Descriptor(owning: ends.1))
    }

    private static func failure(_ code: CInt) -> SpawnFailure {
        SpawnFailure(message: "no descriptors left for a child: \(String(cString: strerror(code)))")
    }
}

/// A child that has just been started, and our ends of its descriptors; all but `pidfd` do not block.
///
/// Whoever takes it over takes them out. If nobody does, it is killed, and waited for.
// Guard: made on one thread and handed to the loop, once.
final class SpawnedChild: @unchecked Sendable {
    let pid: pid_t
    let mark: Mark
    let directory: String
    /// What a worker says of itself; nil: it is none, or there was no memory.
    let state: WorkerState?
    let page: StartPage?
    private var pidfd: Descriptor?
    private var output: Descriptor?
    private var errors: Descriptor?
    private var channel: Descriptor?
    private var input: Descriptor?
    private let spawner: Spawner

    fileprivate init(
        pid: pid_t, pidfd: consuming Descriptor, mark: Mark, output: consuming Descriptor?,
        errors: consuming Descriptor?, channel: consuming Descriptor?, input: consuming Descriptor?,
        state: WorkerState?, page: StartPage?, directory: String, spawner: Spawner
    ) {
        self.pid = pid
        self.mark = mark
        self.directory = directory
        self.state = state
        self.page = page
        self.pidfd = consume pidfd
        self.output = consume output
        self.errors = consume errors
        self.channel = consume channel
        self.input = consume input
        self.spawner = spawner
    }

    deinit {
        guard pidfd != nil else { return }
        kill(-pid, SIGKILL)
        spawner.release(pid, directory: directory)
    }

    /// It is the taker's now, to end and to wait for.
    func takeProcess() -> Descriptor { Self.once(pidfd.take()) }
    func takeOutput() -> Descriptor { Self.once(output.take()) }
    func takeErrors() -> Descriptor { Self.once(errors.take()) }
    func takeChannel() -> Descriptor { Self.once(channel.take()) }
    /// The writing end of its standard input; nil: there is none.
    func takeInput() -> Descriptor? { input.take() }

    private static func once(_ descriptor: consuming Descriptor?) -> Descriptor {
        guard let descriptor else { preconditionFailure("a child's descriptor was taken twice") }
        return descriptor
    }
}
