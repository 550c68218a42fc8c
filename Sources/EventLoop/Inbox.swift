import Synchronization

/// Messages from other threads to one receiver on the loop, delivered in batches: however many are posted while the loop
/// is busy, they cost it one wake-up.
package final class Inbox<Message: Sendable>: Sendable {
    private let waiting = Mutex<[Message]>([])
    private let loop: EventLoop
    private let receiver: LoopBound<([Message]) -> Void>

    /// - Parameter receive: Called on the loop's thread with all that was posted since its last call, in order.
    package init(on loop: EventLoop, receive: @escaping ([Message]) -> Void) {
        self.loop = loop
        receiver = LoopBound(receive, on: loop)
    }

    /// Callable from any thread.
    package func post(_ message: Message) {
        let first = waiting.withLock { messages in
            messages.append(message)
            return messages.count == 1
        }
        if first { loop.submit { [self] in deliver() } }
    }

    private func deliver() {
        let batch = waiting.withLock { messages in
            var batch: [Message] = []
            batch.reserveCapacity(messages.count)
            swap(&batch, &messages)
            return batch
        }
        receiver.value(batch)
    }
}
