import CLibevent
import Glibc
import Synchronization

/// One thread that waits: for descriptors, timers, signals, and for what other threads hand it.
///
/// ```
///   other threads                        the loop's thread
///   ─────────────                        ─────────────────
///   submit(work) ──► mailbox ─ eventfd ─► epoll ─► callbacks ─► end of turn ─┐
///                                          ▲                                 │
///                                          └─────────── next turn ◄──────────┘
/// ```
///
/// A *turn* is one wait and all that it woke. What must happen once for many callbacks (one `write` per connection, one
/// wake-up per thread) happens at the end of the turn, see ``atEndOfTurn(_:)``.
///
/// libevent's own locks are off. Only ``submit(_:)``, ``stop()`` and ``isOnLoop`` may be called from another thread;
/// everything else belongs to the loop's thread.
// Guard: `mailbox` by `lock`, `owner` is atomic, all other state is touched only on the loop's thread.
public final class EventLoop: @unchecked Sendable {
    typealias Work = @Sendable () -> Void

    package let base: OpaquePointer
    private let wakeDescriptor: Descriptor
    private let owner = Atomic<UInt>(0)
    private let lock = Lock()
    private var mailbox = Mailbox()

    private struct Mailbox {
        var work: [Work] = []
        /// True from the write to the eventfd until the loop has emptied the mailbox: one wake-up per batch.
        var signalled = false
    }

    // Loop-confined from here on.
    private var wakeEvent: OpaquePointer?
    private var spare: [Work] = []
    /// Swift jobs enqueued by the loop itself: they need neither lock nor wake-up.
    private var ready: [UnownedJob] = []
    private var isEndingTurn = false
    private var hooksRunAgain = false
    private var turnHooks: [() -> Void] = []
    private var stopping = false
    /// Until when the loop looks for events without sleeping; 0: it sleeps.
    private var awakeUntil: Int64 = 0
    private var commonTimeouts: [Int64: UnsafePointer<timeval>] = [:]
    /// libevent has room for 256, and complains beyond. Source: event.c, MAX_COMMON_TIMEOUTS.
    private static let mostCommonTimeouts = 200

    /// - Throws: ``LoopError`` when the process has no descriptors or memory left.
    package init() throws(LoopError) {
        guard let config = event_config_new() else { throw LoopError(.outOfMemory, call: "event_config_new") }
        defer { event_config_free(config) }
        event_config_set_flag(config, Int32(EVENT_BASE_FLAG_NOLOCK.rawValue))
        guard let base = event_base_new_with_config(config) else {
            throw LoopError(.outOfMemory, call: "event_base_new_with_config")
        }
        guard let wakeDescriptor = Descriptor(ifOpen: eventfd(0, CInt(EFD_NONBLOCK | EFD_CLOEXEC))) else {
            event_base_free(base)
            throw LoopError(.noDescriptors, call: "eventfd")
        }
        self.base = base
        let number = wakeDescriptor.number
        self.wakeDescriptor = consume wakeDescriptor
        wakeEvent = event_new(
            base, number, Int16(EV_READ | EV_PERSIST), Self.woken, Unmanaged.passUnretained(self).toOpaque())
        guard let wakeEvent, event_add(wakeEvent, nil) == 0 else { throw LoopError(.outOfMemory, call: "event_add") }
    }

    deinit {
        if let wakeEvent { event_free(wakeEvent) }
        event_base_free(base)
    }

    // MARK: From any thread

    /// Whether the caller runs on this loop's thread.
    public var isOnLoop: Bool { owner.load(ordering: .relaxed) == UInt(pthread_self()) }

    /// Runs `work` on the loop's thread, in the order of submission, at the loop's next turn.
    package func submit(_ work: @escaping @Sendable () -> Void) {
        let mustWake = lock.withLock {
            mailbox.work.append(work)
            defer { mailbox.signalled = true }
            return !mailbox.signalled
        }
        if mustWake { wake() }
    }

    /// Ends ``run()`` after the present turn.
    package func stop() {
        submit { [unowned self] in stopping = true }
    }

    // MARK: On the loop's thread

    /// Serves events on the calling thread until ``stop()``.
    package func run() {
        owner.store(UInt(pthread_self()), ordering: .relaxed)
        stopping = false
        // What was prepared before the first turn is not to wait for it.
        endTurn()
        while !stopping {
            event_base_loop(base, CInt(mustLookAgain ? EVLOOP_ONCE | EVLOOP_NONBLOCK : EVLOOP_ONCE))
            endTurn()
        }
        owner.store(0, ordering: .relaxed)
    }

    /// Makes the calling thread the loop's owner before ``run()``, so that set-up code may use the loop.
    package func adopt() {
        owner.store(UInt(pthread_self()), ordering: .relaxed)
    }

    /// Keeps the loop from going to sleep for a moment, because an answer from another thread is about to come: to be
    /// woken would take longer than to wait.
    package func stayAwake(for delay: Duration) {
        awakeUntil = monotonicNanoseconds() &+ delay.microseconds &* 1000
    }

    /// Says that there is work for the hooks at the end of a turn: they run once more before the loop sleeps.
    package func workForHooks() {
        if isEndingTurn { hooksRunAgain = true }
    }

    private var mustLookAgain: Bool {
        if !ready.isEmpty || hooksRunAgain { return true }
        guard awakeUntil != 0 else { return false }
        if monotonicNanoseconds() < awakeUntil { return true }
        awakeUntil = 0
        return false
    }

    /// Calls `hook` once at the end of every turn, for as long as the loop lives.
    package func atEndOfTurn(_ hook: @escaping () -> Void) {
        turnHooks.append(hook)
    }

    /// A `timeval` that libevent keeps in a queue instead of a heap: arming a timer with it costs O(1).
    ///
    /// For the few durations that thousands of connections share, because each stays for as long as the loop lives.
    ///
    /// - Returns: nil when there are too many of them already: then the heap does.
    func commonTimeout(_ delay: Duration) -> UnsafePointer<timeval>? {
        let microseconds = delay.microseconds
        if let known = commonTimeouts[microseconds] { return known }
        guard commonTimeouts.count < Self.mostCommonTimeouts else { return nil }
        var interval = timeval(microseconds: microseconds)
        guard let common = event_base_init_common_timeout(base, &interval) else { return nil }
        commonTimeouts[microseconds] = common
        return common
    }

    func enqueueLocally(_ job: UnownedJob) {
        ready.append(job)
    }

    private func endTurn() {
        if !ready.isEmpty {
            var batch: [UnownedJob] = []
            swap(&batch, &ready)
            for job in batch { runOnLoop(job) }
        }
        hooksRunAgain = false
        isEndingTurn = true
        for hook in turnHooks { hook() }
        isEndingTurn = false
    }

    private func emptyMailbox() {
        var count: UInt64 = 0
        read(wakeDescriptor.number, &count, 8)
        var batch = spare
        lock.withLock {
            swap(&batch, &mailbox.work)
            mailbox.signalled = false
        }
        for work in batch { work() }
        batch.removeAll(keepingCapacity: batch.capacity <= 1024)
        spare = batch
    }

    private func wake() {
        var one: UInt64 = 1
        write(wakeDescriptor.number, &one, 8)
    }

    private static let woken: event_callback_fn = { _, _, context in
        Unmanaged<EventLoop>.fromOpaque(context!).takeUnretainedValue().emptyMailbox()
    }
}

extension timeval {
    init(microseconds: Int64) {
        self.init(tv_sec: Int(microseconds / 1_000_000), tv_usec: Int(microseconds % 1_000_000))
    }
}

extension Duration {
    /// About 292,000 years in microseconds: less than a timer can hold, so that a fraction may be added.
    private static let longest = Int64.max / 2

    /// Whole microseconds, rounded down; a negative duration counts as zero.
    var microseconds: Int64 {
        let (seconds, attoseconds) = max(self, .zero).components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000)
        return overflow ? Self.longest : min(product, Self.longest) + attoseconds / 1_000_000_000_000
    }
}
