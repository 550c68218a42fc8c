import DequeModule
import EventLoop
import Glibc

/// Threads that do what may take long or block: reading files, looking through text. The loop only hears of the outcome.
///
/// On one thread errands are done one after the other, in the order in which they were given; on several an errand that
/// takes long keeps only those waiting that come when all are busy.
// Guard: `waiting` by `lock`.
package final class Errands: @unchecked Sendable {
    private let lock = Lock()
    private let arrived = Condition()
    private var waiting: Deque<@Sendable () -> Void> = []

    /// - Parameter name: Of the threads, at most 15 bytes.
    package init(_ name: String, threads: Int = 1) {
        for _ in 0..<threads {
            requireThread(named: name) { [self] in work() }
        }
    }

    /// Does `work` on a thread, and then tells the loop.
    package func run<Outcome: Sendable>(
        on loop: EventLoop, _ work: @escaping @Sendable () -> Outcome, then done: @escaping (Outcome) -> Void
    ) {
        let done = LoopBound(done, on: loop)
        run {
            let outcome = work()
            done.loop.submit { done.value(outcome) }
        }
    }

    /// Does `work` on a thread, and tells nobody.
    func run(_ work: @escaping @Sendable () -> Void) {
        lock.withLock {
            waiting.append(work)
            arrived.signal()
        }
    }

    private func work() -> Never {
        while true {
            let next = lock.withLock {
                while waiting.isEmpty { arrived.wait(lock) }
                return waiting.removeFirst()
            }
            next()
        }
    }
}
