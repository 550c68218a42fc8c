import Glibc

/// Nanoseconds since an arbitrary start; never goes back.
package func monotonicNanoseconds() -> Int64 { nanoseconds(of: CLOCK_MONOTONIC) }

/// Nanoseconds since the machine started, sleep included: the clock of a process's start time in /proc.
package func bootNanoseconds() -> Int64 { nanoseconds(of: CLOCK_BOOTTIME) }

/// What the calling thread has taken of the processors so far, in nanoseconds.
package func threadNanoseconds() -> Int64 { nanoseconds(of: CLOCK_THREAD_CPUTIME_ID) }

/// Nanoseconds since 1970-01-01 UTC by the wall clock, which an operator may step.
package func wallNanoseconds() -> Int64 { nanoseconds(of: CLOCK_REALTIME) }

private func nanoseconds(of clock: clockid_t) -> Int64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}
