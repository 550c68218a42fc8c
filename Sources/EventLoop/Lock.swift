import Glibc

/// A mutex with condition variables: what `Synchronization` does not have. Thread sanitizer sees it, too, as it does not
/// see a `Mutex`.
///
/// Heap-allocated because POSIX forbids moving either. Public and inlinable, so that other modules' closures are inlined.
// Guard: the object is its own lock; the pointers never change.
public final class Lock: @unchecked Sendable {
    @usableFromInline let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)

    package init() { pthread_mutex_init(mutex, nil) }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    @inlinable
    @inline(__always)
    public func withLock<Result>(_ body: () throws -> Result) rethrows -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body()
    }
}

/// Where threads wait for something that a ``Lock`` guards.
// Guard: POSIX makes every operation on a condition variable safe from any thread.
package final class Condition: @unchecked Sendable {
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    package init() {
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        condition.deallocate()
    }

    package func signal() { pthread_cond_signal(condition) }
    package func broadcast() { pthread_cond_broadcast(condition) }

    /// Waits; the caller holds `lock` before and after.
    package func wait(_ lock: Lock) { pthread_cond_wait(condition, lock.mutex) }

    /// Waits at most until a monotonic time in nanoseconds.
    ///
    /// - Returns: False when the time had come.
    package func wait(_ lock: Lock, until deadline: Int64) -> Bool {
        var time = timespec(tv_sec: Int(deadline / 1_000_000_000), tv_nsec: Int(deadline % 1_000_000_000))
        return pthread_cond_timedwait(condition, lock.mutex, &time) != ETIMEDOUT
    }
}
