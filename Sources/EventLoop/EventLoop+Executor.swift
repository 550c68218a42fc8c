/// The loop as an executor: async Swift code that prefers it, or an actor that names it, runs on the loop's thread and
/// comes back to it after each `await` without a hop.
extension EventLoop: SerialExecutor, TaskExecutor {
    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        if isOnLoop {
            enqueueLocally(job)
        } else {
            submit { [self] in runOnLoop(job) }
        }
    }

    public func asUnownedSerialExecutor() -> UnownedSerialExecutor { UnownedSerialExecutor(ordinary: self) }

    public func isIsolatingCurrentContext() -> Bool? { isOnLoop }

    public func checkIsolated() {
        precondition(isOnLoop, "called off the loop's thread")
    }

    func runOnLoop(_ job: UnownedJob) {
        job.runSynchronously(isolatedTo: asUnownedSerialExecutor(), taskExecutor: asUnownedTaskExecutor())
    }

    /// Suspends the calling task for `delay`, or until it is cancelled.
    ///
    /// Must be called from a task that runs on this loop.
    /// - Throws: `CancellationError` as soon as the task is cancelled.
    package func sleep(for delay: Duration) async throws {
        precondition(isOnLoop, "sleep(for:) belongs to tasks that run on the loop")
        let sleeper = LoopBound(Sleeper(), on: self)
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                sleeper.value.begin(continuation, on: self, for: delay)
            }
        } onCancel: {
            self.submit { sleeper.value.end(cancelled: true) }
        }
    }

    /// One suspended `sleep(for:)`: resumed exactly once, by its timer or by cancellation, whichever comes first.
    private final class Sleeper {
        private var continuation: CheckedContinuation<Void, any Error>?
        private var timer: Timer?
        private var cancelledEarly = false

        func begin(_ continuation: CheckedContinuation<Void, any Error>, on loop: EventLoop, for delay: Duration) {
            if cancelledEarly || Task.isCancelled { return continuation.resume(throwing: CancellationError()) }
            do throws(LoopError) {
                let timer = try Timer(on: loop) { [self] in end(cancelled: false) }
                try timer.arm(after: delay)
                self.timer = consume timer
                self.continuation = continuation
            } catch {
                continuation.resume(throwing: error)
            }
        }

        func end(cancelled: Bool) {
            guard let continuation else {
                cancelledEarly = cancelled
                return
            }
            self.continuation = nil
            timer = nil
            if cancelled {
                continuation.resume(throwing: CancellationError())
            } else {
                continuation.resume()
            }
        }
    }
}
