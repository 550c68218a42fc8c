/// Messages from other threads to one receiver on the loop, delivered in batches: however many are posted while the loop
/// is busy, they cost it one wake-up.
// Guard: `waiting` by `lock`; nothing else changes.
package final class Inbox<Message: Sendable>: @unchecked Sendable {
    private let lock = Lock()
    private var waiting: [Message] = []
    private let loop: EventLoop
    private let receiver: LoopBound<([Message]) -> Void>

    /// - Parameter receive: Called on the loop's thread with all that was posted since its last call, in order.
    package init(on loop: EventLoop, receive: @escaping ([Message]) -> Void) {
        self.loop = loop
        receiver = LoopBound(receive, on: loop)
    }

    /// Callable from any thread.
    package func post(_ message: Message) {
        let first = lock.withLock {
            waiting.append(message)
            return waiting.count == 1
        }
        if first { loop.submit { [self] in deliver() } }
    }

    private func deliver() {
        let batch = lock.withLock {
            var batch: [Message] = []
            batch.reserveCapacity(waiting.count)
            swap(&batch, &waiting)
            return batch
        }
        receiver.value(batch)
    }
}
