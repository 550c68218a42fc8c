import CSpindle
import EventLoop
import Glibc

/// A thread that does what may take long or block, one after the other: reading files, looking through text. The loop only
/// hears of the outcome.
// Guard: `waiting` by `lock`.
final class Errands: @unchecked Sendable {
    private let lock = Lock()
    private let arrived = Condition()
    private var waiting: [@Sendable () -> Void] = []
    private let name: String

    /// - Parameter name: Of the thread, at most 15 bytes.
    init(_ name: String) {
        self.name = name
        var thread = pthread_t()
        let context = Unmanaged.passRetained(self).toOpaque()
        let created = pthread_create(&thread, nil, Self.main, context)
        precondition(created == 0, "no memory for the thread \(name)")
        pthread_detach(thread)
    }

    /// Does `work` on the thread, and then tells the loop.
    func run<Outcome: Sendable>(
        on loop: EventLoop, _ work: @escaping @Sendable () -> Outcome, then done: @escaping (Outcome) -> Void
    ) {
        let done = LoopBound(done, on: loop)
        lock.withLock {
            waiting.append {
                let outcome = work()
                done.loop.submit { done.value(outcome) }
            }
            arrived.signal()
        }
    }

    private func work() -> Never {
        while true {
            var batch: [@Sendable () -> Void] = []
            lock.withLock {
                while waiting.isEmpty { arrived.wait(lock) }
                swap(&batch, &waiting)
            }
            for work in batch { work() }
        }
    }

    private static let main: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { context in
        let errands = Unmanaged<Errands>.fromOpaque(context!).takeUnretainedValue()
        spindle_name_thread(errands.name)
        errands.work()
    }
}
