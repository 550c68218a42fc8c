import EventLoop
import JSON
import Jobs

/// Attempts as async functions on the event loop: thousands wait at once, and none may compute for long.
///
/// ```
///   start ──► Task on the loop ──await──► … ──► ended
///   stop ───► Task.cancel() ── the next await throws ──► ended
/// ```
package final class LoopPool: Pool {
    package let name = PoolName.loop
    package private(set) var slots: Int
    package let ahead = 0
    package let unavailable: String? = nil

    private let loop: EventLoop
    private let report: (Report) -> Void
    private var running: [AttemptID: Run] = [:]
    private var whenIdle: (() -> Void)?

    private struct Run {
        var task: Task<Void, Never>?
        let started: Int64
        var grace: Deadline?
    }

    package init(slots: Int, on loop: EventLoop, report: @escaping (Report) -> Void) {
        self.slots = slots
        self.loop = loop
        self.report = report
    }

    package var workers: [WorkerStatus] {
        running.keys.sorted { $0.job < $1.job }.enumerated().map { index, id in
            WorkerStatus(id: "loop-\(index + 1)", pid: nil, state: .busy, job: id.job)
        }
    }

    package func resize(to slots: Int) -> Bool {
        self.slots = slots
        return true
    }

    package func start(_ attempt: Attempt) {
        guard case .function(_, let body?) = attempt.task.body else {
            let error = JobError(type: "InvalidInput", message: "\(attempt.task.name) cannot run in the loop pool")
            return report(.ended(attempt.id, AttemptResult(.failed(canRetry: false), error: error)))
        }
        running[attempt.id] = Run(started: monotonicNanoseconds())
        attempt.cell.begin()
        report(.began(attempt.id, worker: "loop", at: 0))
        let pool = LoopBound(self, on: loop)
        let context = Context(id: attempt.id, pool: pool)
        let input = attempt.input.value
        // Owned by `running`, which cancels it; it ends by itself when the function returns.
        running[attempt.id]?.task = Task(executorPreference: loop) {
            let result: AttemptResult
            do {
                result = AttemptResult(.succeeded, value: try await body(input, context))
            } catch is CancellationError {
                result = AttemptResult(.stopped(.cooperative))
            } catch is TaskCancelled {
                result = AttemptResult(.stopped(.cooperative))
            } catch {
                result = AttemptResult(failure: error)
            }
            pool.value.finish(attempt.id, result)
        }
    }

    package func stop(_ id: AttemptID, grace: Duration) {
        guard let run = running[id] else { return }
        // A function that swallows its cancellation is given up; it keeps its memory until it returns.
        running[id]?.grace = Deadline(after: grace, on: loop) { [unowned self] in
            finish(id, AttemptResult(.stopped(.abandoned)))
        }
        run.task?.cancel()
    }

    package func shutDown(_ done: @escaping () -> Void) {
        whenIdle = done
        for run in running.values { run.task?.cancel() }
        checkIdle()
    }

    private func finish(_ id: AttemptID, _ result: AttemptResult) {
        guard let run = running.removeValue(forKey: id) else { return }
        var result = result
        result.usage.wallNanoseconds = monotonicNanoseconds() - run.started
        report(.ended(id, result))
        checkIdle()
    }

    private func checkIdle() {
        guard running.isEmpty, let done = whenIdle else { return }
        whenIdle = nil
        done()
    }

    private func tell(_ report: Report, about id: AttemptID) {
        if running[id] != nil { self.report(report) }
    }

    private struct Context: LoopTaskContext {
        let id: AttemptID
        let pool: LoopBound<LoopPool>

        func report(_ progress: Progress) { pool.value.tell(.progress(id, progress), about: id) }
        func output(_ json: [UInt8]) { pool.value.tell(.output(id, json: json), about: id) }
        func log(_ text: String) { pool.value.tell(.log(id, stream: "log", text: text), about: id) }
        func wait(for delay: Duration) async throws { try await pool.loop.sleep(for: delay) }
    }
}

extension AttemptResult {
    /// What a task threw, as a result.
    init(failure error: any Error) {
        if let failure = error as? TaskFailure {
            self.init(
                .failed(canRetry: failure.canRetry), error: JobError(type: failure.type, message: failure.message))
        } else {
            let type = String(describing: Swift.type(of: error))
            self.init(.failed(canRetry: true), error: JobError(type: type, message: String(describing: error)))
        }
    }
}
