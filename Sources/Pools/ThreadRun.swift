import CSpindle
import EventLoop
import Glibc
import JSON
import Jobs
import Synchronization

/// One attempt on a thread: what the task sees as its context, and what the loop holds to cancel it.
// Guard: `isAbandoned` and `isQueued` by the floor's lock; `gate` belongs to the thread that runs the attempt, and so
// does `result` until the floor's lock hands it over; `isStarting` and `isOver` belong to the loop.
final class ThreadRun: TaskContext, @unchecked Sendable {
    let attempt: Attempt
    private let floor: ThreadFloor
    private let isCancelledFlag = Atomic<Bool>(false)
    var isAbandoned = false
    /// Waits in the floor's queue.
    var isQueued = false
    private var gate = ProgressGate()
    private(set) var result = AttemptResult(.succeeded)
    /// Still in the loop's hands: goes over at the end of the turn.
    var isStarting = true
    /// Reported as ended: nothing more of it counts.
    var isOver = false

    /// - Parameter attempt: Of a task that has a blocking form.
    init(_ attempt: Attempt, on floor: ThreadFloor) {
        self.attempt = attempt
        self.floor = floor
    }

    func execute(_ meter: inout UsageMeter) {
        attempt.cell.begin()
        guard case .function(let body?, _) = attempt.task.body else { preconditionFailure("the pool has checked") }
        do {
            result = AttemptResult(.succeeded, value: try body(attempt.input.value, self))
        } catch is TaskCancelled {
            result = AttemptResult(.stopped(.cooperative))
        } catch {
            result = AttemptResult(failure: error)
        }
        tell(gate.rest())
        result.usage = meter.read()
    }

    var isCancelled: Bool {
        if gate.holds { tell(gate.due()) }
        return isCancelledFlag.load(ordering: .relaxed)
    }

    func cancel() { isCancelledFlag.store(true, ordering: .relaxed) }

    func report(_ progress: Progress) {
        tell(gate.pass(progress))
    }

    private func tell(_ progress: Progress?) {
        if let progress { floor.post(.said(self, .progress(attempt.id, progress))) }
    }

    func output(_ json: [UInt8]) { floor.post(.said(self, .output(attempt.id, json: json))) }
    func log(_ text: String) { floor.post(.said(self, .log(attempt.id, stream: "log", text: text))) }

    func wait(for delay: Duration) throws {
        tell(gate.rest())
        let deadline = monotonicNanoseconds() + delay.nanoseconds
        floor.lock.withLock {
            while !isCancelledFlag.load(ordering: .relaxed), floor.cancelled.wait(floor.lock, until: deadline) {}
        }
        try checkpoint()
    }
}

/// Measures what the calling thread takes, from one reading to the next.
struct UsageMeter {
    private var start = monotonicNanoseconds()
    private var before = UsageMeter.now()

    /// What was taken since the last reading.
    mutating func read() -> Usage {
        let after = Self.now()
        let end = monotonicNanoseconds()
        defer { (start, before) = (end, after) }
        var usage = Usage()
        usage.wallNanoseconds = end - start
        usage.cpuNanoseconds = after.cpuNanoseconds - before.cpuNanoseconds
        usage.voluntarySwitches = Int(after.ru_nvcsw - before.ru_nvcsw)
        usage.involuntarySwitches = Int(after.ru_nivcsw - before.ru_nivcsw)
        usage.maxRSSBytes = Int(after.ru_maxrss) * 1024
        return usage
    }

    private static func now() -> rusage {
        var usage = rusage()
        spindle_thread_usage(&usage)
        return usage
    }
}

extension rusage {
    var cpuNanoseconds: Int64 {
        Int64(ru_utime.tv_sec + ru_stime.tv_sec) * 1_000_000_000 + Int64(ru_utime.tv_usec + ru_stime.tv_usec) * 1000
    }
}
