import EventLoop
import Jobs

/// Attempts on threads of its own: short CPU work, in this process.
///
/// ```
///   loop                              floor (one lock)               thread 1 … N
///   start ─ end of turn ─► hand over ─► a seat, if one sits ─ wake ─► run
///                                     └─► else the queue ◄─ take next ─┤ or sit down
///   reports ◄──────── one wake-up per batch ──────── ended, took next ─┘
/// ```
///
/// A thread can only be asked to stop. One that does not listen is given up after its grace and replaced, at most
/// ``maximumAbandoned`` times at once: until it returns it burns a core that nobody gave it.
package final class ThreadPool: Pool {
    /// Threads given up and still running, over which no further one is given up.
    package static let maximumAbandoned = 16

    /// How long the loop waits for quick attempts without sleeping: about what being woken takes.
    private static let awakeTime = Duration.microseconds(15)

    package let name = PoolName.thread
    package private(set) var slots: Int
    package let ahead = 32
    package let unavailable: String? = nil

    private let loop: EventLoop
    private let report: (Report) -> Void
    private let floor: ThreadFloor
    private var runs = JobTable<ThreadRun>()
    private var starting: [ThreadRun] = []
    private var graces: [AttemptID: Deadline] = [:]
    private var abandoned = 0
    /// Threads in the place of abandoned ones that the system did not have yet.
    private var missing = 0
    private var nextTry: Deadline?
    private var whenIdle: (() -> Void)?

    package init(slots: Int, on loop: EventLoop, report: @escaping (Report) -> Void) {
        self.slots = slots
        self.loop = loop
        self.report = report
        floor = ThreadFloor(loop)
        floor.deliver = LoopBound({ [unowned self] in receive($0) }, on: loop)
        guard floor.addThreads(slots) == slots else { endWithoutThreads(for: "a pool of \(slots)") }
        loop.atEndOfTurn { [unowned self] in handOver() }
    }

    package var workers: [WorkerStatus] { floor.workers }

    package func resize(to slots: Int) -> Bool {
        if slots > self.slots {
            let added = floor.addThreads(slots - self.slots)
            guard added == slots - self.slots else {
                floor.retire(added)
                return false
            }
        } else {
            floor.retire(self.slots - slots)
        }
        self.slots = slots
        return true
    }

    package func start(_ attempt: Attempt) {
        guard case .function(.some, _) = attempt.task.body else {
            let error = JobError(type: "InvalidInput", message: "\(attempt.task.name) cannot run in the thread pool")
            return report(.ended(attempt.id, AttemptResult(.failed(canRetry: false), error: error)))
        }
        let run = ThreadRun(attempt, on: floor)
        runs[attempt.id.job] = run
        starting.append(run)
    }

    package func stop(_ id: AttemptID, grace: Duration) {
        guard let run = runs[id.job], run.attempt.id == id else { return }
        if run.isStarting || floor.withdraw(run) {
            over(run)
            return report(.ended(id, AttemptResult(.stopped(.beforeStart))))
        }
        floor.cancel(run)
        graces[id] = Deadline(after: grace, on: loop) { [unowned self] in giveUp(run) }
    }

    package func shutDown(_ done: @escaping () -> Void) {
        whenIdle = done
        for run in runs.values { floor.cancel(run) }
        floor.close()
        checkIdle()
    }

    // MARK: On the loop

    /// Once a turn: everything that was started goes over in one piece.
    private func handOver() {
        guard !starting.isEmpty else { return }
        var hasEnded = false
        for run in starting {
            run.isStarting = false
            if run.isOver { hasEnded = true }
        }
        if hasEnded { starting.removeAll(where: \.isOver) }
        if starting.contains(where: { $0.attempt.isQuick }) { loop.stayAwake(for: Self.awakeTime) }
        floor.handOver(starting) { began($0, $1) }
        starting.removeAll(keepingCapacity: true)
    }

    private func receive(_ messages: [ThreadMessage]) {
        for message in messages {
            switch message {
            case .took(let thread, let run): began(run, thread)
            case .said(let run, let report):
                if !run.isOver { self.report(report) }
            case .ended(let thread, let run, let next):
                if !run.isOver {
                    over(run)
                    report(.ended(run.attempt.id, run.result))
                }
                if let next { began(next, thread) }
            case .returnedLate:
                abandoned -= 1
                fillUp()
            }
        }
        checkIdle()
    }

    /// A thread has it, and nobody can take it back.
    private func began(_ run: ThreadRun, _ thread: Int) {
        if !run.isOver { report(.began(run.attempt.id, worker: workerName(thread), at: 0)) }
    }

    private func over(_ run: ThreadRun) {
        run.isOver = true
        runs[run.attempt.id.job] = nil
        if !graces.isEmpty { graces[run.attempt.id] = nil }
    }

    private func giveUp(_ run: ThreadRun) {
        guard !run.isOver, abandoned < Self.maximumAbandoned, floor.abandon(run) else { return }
        over(run)
        abandoned += 1
        missing += 1
        fillUp()
        report(.ended(run.attempt.id, AttemptResult(.stopped(.abandoned))))
        checkIdle()
    }

    private func fillUp() {
        missing -= floor.addThreads(missing)
        nextTry = missing == 0 ? nil : Deadline(after: .seconds(1), on: loop) { [unowned self] in fillUp() }
    }

    private func checkIdle() {
        guard let done = whenIdle, runs.isEmpty else { return }
        whenIdle = nil
        done()
    }
}

/// What a thread is called, from 1.
func workerName(_ thread: Int) -> String { thread < names.count ? names[thread] : "thread-\(thread)" }

private let names = (0..<256).map { "thread-\($0)" }
