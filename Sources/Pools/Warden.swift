import EventLoop
import Glibc
import Jobs

/// Watches what running children and all below them hold, and ends what they leave behind.
///
/// On a thread of its own: to read /proc takes milliseconds on a busy machine, and the loop has none.
///
/// ```
///   loop ── watch, look ───► one reading of /proc ──► found: too much memory, too many processes ──► loop
///        ├─ kill ──────────► one reading ─────► SIGKILL to it and all below it
///        └─ sweep ─────────► readings until nothing of the child is left ──────────────► done ─────► loop
/// ```
// Guard: everything by `lock`; readings are taken without it.
final class Warden: @unchecked Sendable {
    /// What a child and all below it hold.
    struct Holding: Sendable {
        let processes: Int
        /// Resident.
        let bytes: UInt64
    }

    /// When the same processes are left so many nanoseconds after they were killed, the kernel holds them, and we wait no longer.
    private static let patience: Int64 = 2_000_000_000
    /// What becomes more as fast as it is killed is given up after so many nanoseconds.
    private static let utmostPatience: Int64 = 60_000_000_000
    /// Looks take no more than this part of a core's time. What they take themselves counts, and not how long they wait for a
    /// core: where a fork bomb keeps all of them busy the next look would come after minutes.
    private static let share: Int64 = 50

    private struct Ward {
        let mark: Mark
        let limits: ChildLimits
        let found: LoopBound<(Holding) -> Void>
    }

    private struct Sweep {
        let child: pid_t
        let mark: Mark
        let done: LoopBound<() -> Void>
        /// What the last reading found, and how long we wait for exactly these.
        var left: Set<pid_t> = []
        var deadline: Int64 = 0
        let end = monotonicNanoseconds() + Warden.utmostPatience
    }

    private static let children = "/proc/self/task/\(getpid())/children"

    /// Whether the kernel was built to say that.
    private let listsChildren = access(children, R_OK) == 0
    private let lock = Lock()
    private let arrived = Condition()
    private var wards: [pid_t: Ward] = [:]
    private var sweeps: [Sweep] = []
    private var wantsLook = false
    /// Children that are to be killed with all below them.
    private var condemned: [pid_t] = []

    init() {
        requireThread(named: "warden") { [self] in work() }
    }

    /// Watches a child until ``release(_:)``.
    ///
    /// - Parameter found: Called on the loop with what it holds, whenever that is more than one of the limits.
    func watch(
        _ child: pid_t, mark: Mark, _ limits: ChildLimits, on loop: EventLoop, _ found: @escaping (Holding) -> Void
    ) {
        let ward = Ward(mark: mark, limits: limits, found: LoopBound(found, on: loop))
        lock.withLock { wards[child] = ward }
    }

    func release(_ child: pid_t) { _ = lock.withLock { wards.removeValue(forKey: child) } }

    /// Looks at all that are watched, soon; what is asked while it looks is one look more.
    func look() {
        lock.withLock {
            guard !wards.isEmpty else { return }
            wantsLook = true
            arrived.signal()
        }
    }

    /// Kills a child that is watched, its group and all that descends from it, in sessions of their own too.
    func kill(_ child: pid_t) {
        lock.withLock {
            condemned.append(child)
            arrived.signal()
        }
    }

    /// Kills whatever a child that has ended left behind: what is in its session, and what carries its mark.
    ///
    /// - Parameter done: Called on the loop, when nothing of it is left.
    func sweep(after child: pid_t, mark: Mark, on loop: EventLoop, done: @escaping () -> Void) {
        let sweep = Sweep(child: child, mark: mark, done: LoopBound(done, on: loop))
        lock.withLock {
            sweeps.append(sweep)
            arrived.signal()
        }
    }

    // MARK: Its thread

    private func work() -> Never {
        var open: [Sweep] = []
        var rest: Int64 = 0
        while true {
            var killed: [pid_t] = []
            let looks = lock.withLock {
                while condemned.isEmpty, sweeps.isEmpty, open.isEmpty, !wantsLook || monotonicNanoseconds() < rest {
                    if wantsLook { _ = arrived.wait(lock, until: rest) } else { arrived.wait(lock) }
                }
                swap(&killed, &condemned)
                open += sweeps
                sweeps = []
                defer { wantsLook = false }
                return wantsLook
            }
            if killed.isEmpty, !looks, !hasStrays() {
                for sweep in open { finish(sweep) }
                open = []
                continue
            }
            let before = threadNanoseconds()
            let tree = ProcessTree()
            for child in killed { end(child, in: tree) }
            if looks { look(at: tree) }
            open = sweep(open, in: tree)
            rest = monotonicNanoseconds() + (threadNanoseconds() - before) * Self.share
            // What was killed is on its way out.
            if !open.isEmpty { usleep(1000) }
        }
    }

    private func end(_ child: pid_t, in tree: ProcessTree) {
        // Before their parents are gone: some may carry no mark.
        let below = tree.descendants(of: child)
        lock.withLock {
            // Whose end has been noticed is not watched any more, and its number may be another's.
            if wards[child] != nil { _ = Glibc.kill(-child, SIGKILL) }
        }
        for member in below { member.kill() }
    }

    private func look(at tree: ProcessTree) {
        let watched = lock.withLock { wards }
        let all = Set(watched.keys)
        let children = tree.descendants(of: getpid()).filter { all.contains($0.pid) }
        let orphans = orphans(of: watched, in: tree)
        for child in children {
            guard let ward = watched[child.pid] else { continue }
            let members = [child] + tree.descendants(of: child.pid) + orphans[child.pid, default: []]
            guard let holding = excess(of: members, ward.limits) else { continue }
            let found = ward.found
            found.loop.submit { found.value(holding) }
        }
    }

    /// What has lost its parent and come to us, by the child that has started it.
    private func orphans(of watched: [pid_t: Ward], in tree: ProcessTree) -> [pid_t: [ProcessTree.Member]] {
        let orphans = tree.descendants(of: getpid(), notBelow: Set(watched.keys))
        guard !orphans.isEmpty else { return [:] }
        let branded = Dictionary(watched.map { ($1.mark.brand, $0) }, uniquingKeysWith: { first, _ in first })
        let marked = Dictionary(watched.map { ($1.mark.value, $0) }, uniquingKeysWith: { first, _ in first })
        var found: [pid_t: [ProcessTree.Member]] = [:]
        for orphan in orphans {
            let owner =
                watched[orphan.session] != nil
                ? orphan.session
                : ProcessTree.brand(of: orphan.pid).flatMap { branded[$0] }
                    ?? ProcessTree.variable(Mark.name, of: orphan.pid).flatMap { marked[$0] }
            if let owner { found[owner, default: []].append(orphan) }
        }
        return found
    }

    /// What they hold together, if that is too much.
    private func excess(of members: [ProcessTree.Member], _ limits: ChildLimits) -> Holding? {
        let resident = Holding(
            processes: members.count, bytes: members.reduce(0) { $0.adding(saturating: $1.residentBytes) })
        guard limits.areExceeded(by: resident) else { return nil }
        if limits.processes > 0, members.count > limits.processes { return resident }
        // What forked processes share was counted for each: now it is worth a closer look.
        let bytes = members.reduce(UInt64(0)) {
            $0.adding(saturating: ProcessTree.proportionalBytes(of: $1.pid) ?? $1.residentBytes)
        }
        let exact = Holding(processes: members.count, bytes: bytes)
        return limits.areExceeded(by: exact) ? exact : nil
    }

    /// - Returns: The sweeps that have found something and are to look again.
    private func sweep(_ open: [Sweep], in tree: ProcessTree) -> [Sweep] {
        guard !open.isEmpty else { return [] }
        // As subreaper we are above everything that our children have started; what they still answer for is not meant.
        let running = Set(lock.withLock { wards.keys })
        let strays = tree.descendants(of: getpid(), notBelow: running)
        let brands = strays.map { ProcessTree.brand(of: $0.pid) }
        return open.compactMap { sweep in
            let found = zip(strays, brands).filter { stray, brand in
                stray.session == sweep.child || sweep.mark.isOn(stray.pid, branded: brand)
            }
            for (member, _) in found { member.kill() }
            let left = Set(found.map(\.0.pid))
            let now = monotonicNanoseconds()
            if left.isEmpty || left == sweep.left && now >= sweep.deadline || now >= sweep.end {
                finish(sweep)
                return nil
            }
            var next = sweep
            if left != next.left { next.deadline = now + Self.patience }
            next.left = left
            return next
        }
    }

    private func finish(_ sweep: Sweep) {
        let done = sweep.done
        done.loop.submit { done.value() }
    }

    /// Whether any process has come to us, as subreaper, that is no child of ours: one read where most children leave
    /// nothing behind. Such processes come to the first thread. Source: proc(5), `children`.
    private func hasStrays() -> Bool {
        guard listsChildren else { return true }
        let text = ProcessTree.contents(of: Self.children, limit: 1 << 18) ?? ""
        let running = Set(lock.withLock { wards.keys })
        return text.parts(at: " ").contains { Int32($0).map { !running.contains($0) } ?? true }
    }
}
