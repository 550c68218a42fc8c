import DequeModule
import EventLoop
import Jobs
import Pools
import Store

/// What waits for the disk, in the order in which it was written.
///
/// The store answers changes by number; who asked is remembered here.
final class Journal {
    /// What is to happen once a change is on disk.
    enum Waiting {
        case submission(JobID)
        case start(JobID, grant: Int)
        case end(JobID)
        case history(JobID, reserved: Int)
        case state(JobID)
        case then(() -> Void)
        /// - Parameter cell: Says until then that the attempt has not begun.
        case handedBack(JobID, StartCell)
        case nothing(JobID?)
    }

    let store: any JobStore
    private var waiting = Deque<Waiting?>()
    /// The number of the first that waits.
    private var first = 0
    private let loop: EventLoop
    /// Told of each change's receipt.
    var settle: (Waiting, Receipt) -> Void = { _, _ in }

    init(_ store: any JobStore, on loop: EventLoop) {
        self.store = store
        self.loop = loop
        store.receive = { [unowned self] receipts in
            for (number, receipt) in receipts { take(number, receipt) }
        }
    }

    /// Changes that are not yet on disk.
    var depth: Int { waiting.count }

    func write(_ change: Change, then waiting: Waiting) {
        if let receipt = store.write(change) {
            settle(waiting, receipt)
        } else {
            self.waiting.append(waiting)
            loop.workForHooks()
        }
    }

    private func take(_ number: Int, _ receipt: Receipt) {
        let index = number - first
        // On a full disk submissions are refused before what was written earlier is stored.
        guard let waiting = waiting[index] else { return }
        self.waiting[index] = nil
        while let next = self.waiting.first, next == nil {
            self.waiting.removeFirst()
            first += 1
        }
        settle(waiting, receipt)
    }
}
