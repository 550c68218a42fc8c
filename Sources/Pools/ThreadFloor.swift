import DequeModule
import EventLoop
import Glibc
import Jobs

/// What a thread tells the loop.
enum ThreadMessage: Sendable {
    case took(thread: Int, ThreadRun)
    case said(ThreadRun, Report)
    /// The run holds its result.
    /// - Parameter next: What the thread went on with, from the queue.
    case ended(thread: Int, ThreadRun, next: ThreadRun?)
    /// A thread that had been given up came back and is gone.
    case returnedLate(thread: Int)
}

/// Where a pool's threads work: their seats, the queue, and the outbox to the loop, all under one lock.
// Guard: every stored variable by `lock`, except `deliver`, which is set once before the first thread exists.
final class ThreadFloor: @unchecked Sendable {
    private final class Seat {
        let condition = Condition()
        var run: ThreadRun?
        var current: ThreadRun?
        var isSitting = false
        var isRetired = false
    }

    var deliver: LoopBound<([ThreadMessage]) -> Void>!
    private let loop: EventLoop
    let lock = Lock()
    /// Broadcast when an attempt is cancelled, for those that wait.
    let cancelled = Condition()
    private var seats: [Seat] = []
    /// Numbers of seats whose thread has left, for the next ones.
    private var left: [Int] = []
    /// Threads that sit, the one that sat down last at the end: its caches are warm.
    private var sitting: [Int] = []
    private var queue = Deque<ThreadRun>()
    /// Runs in the queue that were taken back: they are passed over, or dropped when they are most of it.
    private var withdrawn = 0
    private var outbox: [ThreadMessage] = []
    private var isClosed = false
    /// Threads that are to leave when they have nothing to do.
    private var surplus = 0

    init(_ loop: EventLoop) { self.loop = loop }

    // MARK: For the loop

    /// Gives each attempt to a thread that sits, or to the queue.
    ///
    /// - Parameter seated: Called for those that got a seat.
    func handOver(_ runs: [ThreadRun], seated: (ThreadRun, _ thread: Int) -> Void) {
        var wake: [Seat] = []
        var placed: [(ThreadRun, Int)] = []
        lock.withLock {
            for run in runs {
                if let thread = sitting.popLast() {
                    let seat = seats[thread - 1]
                    seat.run = run
                    seat.isSitting = false
                    wake.append(seat)
                    placed.append((run, thread))
                } else {
                    run.isQueued = true
                    queue.append(run)
                }
            }
        }
        for (run, thread) in placed { seated(run, thread) }
        for seat in wake { seat.condition.signal() }
    }

    /// Takes an attempt back that no thread has begun.
    func withdraw(_ run: ThreadRun) -> Bool {
        lock.withLock {
            guard run.isQueued else { return false }
            run.isQueued = false
            withdrawn += 1
            if withdrawn > Self.toleratedWithdrawn, withdrawn * 2 > queue.count {
                queue.removeAll { !$0.isQueued }
                withdrawn = 0
            }
            return true
        }
    }

    private static let toleratedWithdrawn = 32

    func cancel(_ run: ThreadRun) {
        lock.withLock {
            run.cancel()
            cancelled.broadcast()
        }
    }

    /// Gives a thread up with the attempt that it runs.
    ///
    /// - Returns: False if the attempt has ended meanwhile.
    func abandon(_ run: ThreadRun) -> Bool {
        lock.withLock {
            guard seats.contains(where: { $0.current === run }) else { return false }
            run.isAbandoned = true
            return true
        }
    }

    func close() {
        lock.withLock {
            isClosed = true
            for seat in seats { seat.condition.signal() }
        }
    }

    var workers: [WorkerStatus] {
        lock.withLock {
            seats.enumerated().compactMap { index, seat in
                let id = workerName(index + 1)
                if let run = seat.current ?? seat.run {
                    let state: WorkerStatus.State = run.isAbandoned ? .abandoned : .busy
                    return WorkerStatus(id: id, pid: nil, state: state, job: run.attempt.id.job)
                }
                return seat.isSitting ? WorkerStatus(id: id, pid: nil, state: .idle, job: nil) : nil
            }
        }
    }

    /// Adds threads; those that were to leave and have not yet, stay.
    ///
    /// - Returns: How many are more than before: fewer than `count` when the system has no more.
    func addThreads(_ count: Int) -> Int {
        let staying = lock.withLock {
            let staying = min(surplus, count)
            surplus -= staying
            return staying
        }
        for added in staying..<count where !addThread() { return added }
        return count
    }

    /// Lets threads leave: those that sit at once, others when they have ended what they run.
    func retire(_ count: Int) {
        lock.withLock {
            surplus += count
            while surplus > 0, let number = sitting.popLast() {
                surplus -= 1
                seats[number - 1].isRetired = true
                seats[number - 1].isSitting = false
                seats[number - 1].condition.signal()
            }
        }
    }

    private func addThread() -> Bool {
        let number = lock.withLock {
            if let number = left.popLast() {
                seats[number - 1] = Seat()
                return number
            }
            seats.append(Seat())
            return seats.count
        }
        let isStarted = startThread(named: "task-\(number)", stackBytes: Self.stackBytes) { [self] in work(number) }
        if !isStarted { lock.withLock { left.append(number) } }
        return isStarted
    }

    /// What recursive tasks may use; only touched pages cost memory.
    static let stackBytes = 8 * 1024 * 1024

    // MARK: For threads

    func post(_ message: ThreadMessage) {
        let first = lock.withLock {
            outbox.append(message)
            return outbox.count == 1
        }
        if first { wakeLoop() }
    }

    private func wakeLoop() {
        loop.submit { [self] in
            let batch = lock.withLock {
                var batch: [ThreadMessage] = []
                batch.reserveCapacity(outbox.capacity)
                swap(&batch, &outbox)
                return batch
            }
            deliver.value(batch)
        }
    }

    private enum Next {
        case run(ThreadRun)
        case sitDown
        /// The thread had been given up, or is too many: its place is gone.
        case leave
    }

    private func work(_ number: Int) {
        var next = Next.sitDown
        var meter = UsageMeter()
        while true {
            switch next {
            case .run(let run):
                // The end of one attempt is the beginning of the next.
                run.execute(&meter)
                next = finish(number, run)
            case .sitDown:
                guard let run = sit(number) else { return }
                meter = UsageMeter()
                next = .run(run)
            case .leave: return
            }
        }
    }

    /// Waits for an attempt; nil when the floor closes, or the thread is one too many.
    private func sit(_ number: Int) -> ThreadRun? {
        lock.withLock {
            let seat = seats[number - 1]
            if let queued = takeQueued() {
                seat.current = queued
                outbox.append(.took(thread: number, queued))
                if outbox.count == 1 { wakeLoop() }
                return queued
            }
            // One that has just been made, and is one too many already.
            if surplus > 0 {
                surplus -= 1
                left.append(number)
                return nil
            }
            seat.isSitting = true
            sitting.append(number)
            while seat.run == nil {
                if isClosed { return nil }
                if seat.isRetired {
                    left.append(number)
                    return nil
                }
                seat.condition.wait(lock)
            }
            seat.current = seat.run
            seat.run = nil
            return seat.current
        }
    }

    /// Reports an end and takes what waits.
    private func finish(_ number: Int, _ run: ThreadRun) -> Next {
        var first = false
        let next: Next = lock.withLock {
            let seat = seats[number - 1]
            seat.current = nil
            first = outbox.isEmpty
            if run.isAbandoned {
                outbox.append(.returnedLate(thread: number))
                left.append(number)
                return .leave
            }
            if surplus > 0 {
                surplus -= 1
                outbox.append(.ended(thread: number, run, next: nil))
                left.append(number)
                return .leave
            }
            let following = takeQueued()
            seat.current = following
            outbox.append(.ended(thread: number, run, next: following))
            return following.map(Next.run) ?? .sitDown
        }
        if first { wakeLoop() }
        return next
    }

    private func takeQueued() -> ThreadRun? {
        while let run = queue.popFirst() {
            if run.isQueued {
                run.isQueued = false
                return run
            }
            withdrawn -= 1
        }
        return nil
    }
}
