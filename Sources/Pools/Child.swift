import CSpindle
import EventLoop
import Glibc
import Jobs

/// A running child process: noticed by its pidfd when it ends, stopped with all that it has started.
///
/// Loop-confined. Owns the pidfd and the working directory.
final class Child {
    /// How a child ended.
    struct Exit {
        let status: CInt
        let usage: rusage

        var code: Int? { status & 0x7F == 0 ? Int(status >> 8 & 0xFF) : nil }
        var signal: Int? { status & 0x7F == 0 ? nil : Int(status & 0x7F) }
    }

    /// Between SIGTERM and SIGKILL.
    static let termTime = Duration.seconds(2)

    let pid: pid_t
    private let pidfd: Descriptor
    private let directory: String
    private let mark: Mark
    private let loop: EventLoop
    private let spawner: Spawner
    private let onExit: (Exit) -> Void
    private var watch: Watch?
    private var step: Deadline?
    private(set) var hasEnded = false
    /// The strongest thing that was done to end it; nil while nothing was.
    private(set) var stopped: StopMethod?

    /// - Parameters:
    ///   - onExcess: Called with what it holds while that is more than one of the limits.
    ///   - onExit: Called once, when the process is gone, and all that it had started, too.
    init(
        _ spawned: SpawnedChild, limits: ChildLimits, on loop: EventLoop, spawner: Spawner,
        onExcess: @escaping (Warden.Holding) -> Void, onExit: @escaping (Exit) -> Void
    ) throws(LoopError) {
        pid = spawned.pid
        pidfd = spawned.takeProcess()
        directory = spawned.directory
        mark = spawned.mark
        self.loop = loop
        self.spawner = spawner
        self.onExit = onExit
        let watch = try Watch(pidfd.number, for: .readable, on: loop) { [unowned self] _ in reap() }
        try watch.start()
        self.watch = consume watch
        spawner.warden.watch(pid, mark: spawned.mark, limits, on: loop) { [weak self] holding in
            if let self, !hasEnded { onExcess(holding) }
        }
    }

    deinit {
        watch = nil
        // Its owner could not be made, or lets it go: nobody else would end it, or wait for it.
        guard !hasEnded else { return }
        kill(-pid, SIGKILL)
        spawner.warden.release(pid)
        spawner.release(pid, directory: directory)
    }

    /// Whether it has ended, be it that nobody has looked yet: the server may have stood still meanwhile.
    var isOver: Bool {
        var end = pollfd(fd: pidfd.number, events: Int16(POLLIN), revents: 0)
        return hasEnded || poll(&end, 1, 0) == 1
    }

    /// Lets the group stand still, or go on.
    func hold(_ isHeld: Bool) { signal(isHeld ? SIGSTOP : SIGCONT) }

    /// Sends a signal to the group.
    func signal(_ number: CInt) {
        if !hasEnded { kill(-pid, number) }
    }

    /// Asks with SIGTERM after `grace`, and kills two seconds later.
    func stop(after grace: Duration) {
        guard !hasEnded, step == nil else { return }
        step = Deadline(after: grace, on: loop) { [unowned self] in terminate() }
    }

    /// Takes back a stop whose grace has not run out.
    func keepGoing() {
        if stopped == nil { step = nil }
    }

    /// SIGTERM to the group now; SIGKILL to the whole tree after `patience`, two seconds at least.
    func terminate(patience: Duration = .zero) {
        guard !hasEnded else { return }
        stopped = .sigterm
        kill(-pid, SIGTERM)
        // A stopped process takes no SIGTERM before it goes on.
        kill(-pid, SIGCONT)
        step = Deadline(after: max(Self.termTime, patience), on: loop) { [unowned self] in killTree() }
    }

    /// SIGKILL to the group and to whatever descends from it, in sessions of their own too.
    func killTree() {
        guard !hasEnded else { return }
        stopped = .sigkill
        step = nil
        spawner.warden.kill(pid)
    }

    private func reap() {
        var status: CInt = 0
        var usage = rusage()
        // While it is not reaped, no other group can have its number.
        kill(-pid, SIGKILL)
        // Before its number can be another's.
        spawner.warden.release(pid)
        guard !hasEnded, spindle_reap(pidfd.number, &status, &usage) != 0 else { return }
        hasEnded = true
        watch = nil
        step = nil
        let exit = Exit(status: status, usage: usage)
        // However it ended: what it has started has lost its reason to live, wherever it hides; the slot is free when it is
        // gone too.
        spawner.warden.sweep(after: pid, mark: mark, on: loop) { [self] in gone(exit) }
    }

    private func gone(_ exit: Exit) {
        spawner.release(pid, directory: directory)
        onExit(exit)
    }
}
