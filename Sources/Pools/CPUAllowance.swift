import Glibc
import Jobs

/// Seconds of CPU for each call of this process. The kernel's limit counts from the start of the process, so it is moved as a
/// call begins: what earlier calls took is not charged to the next one.
struct CPUAllowance {
    /// Of one call; 0: no limit.
    private let seconds: rlim_t
    /// What the limit is checked against, which may count by ticks and be a good part away from CLOCK_PROCESS_CPUTIME_ID: this
    /// process's (0) clock of the kind that ITIMER_PROF runs by. Source: Linux, include/linux/posix-timers_types.h.
    private static let clock: clockid_t = ~0 << 3
    private var bound = rlimit()

    /// What the process was started with is what each call gets.
    init() {
        guard getrlimit(__rlimit_resource_t(RLIMIT_CPU.rawValue), &bound) == 0, bound.rlim_cur < bound.rlim_max else {
            seconds = 0
            return
        }
        seconds = bound.rlim_cur
    }

    /// A call begins. A system call or two, where there is a limit.
    mutating func renew() {
        guard seconds > 0 else { return }
        var taken = timespec()
        clock_gettime(Self.clock, &taken)
        // In whole seconds, as the kernel has it; the one that has begun is given.
        let moved = rlim_t(max(0, taken.tv_sec)).adding(saturating: 1).adding(saturating: seconds)
        guard moved != bound.rlim_cur else { return }
        bound.rlim_cur = min(moved, bound.rlim_max)
        setrlimit(__rlimit_resource_t(RLIMIT_CPU.rawValue), &bound)
    }
}
