import EventLoop
import Jobs

/// One attempt in the hands of a worker: which message it was sent as, and how far it is.
final class WorkerCall {
    /// Between two progress events of one job.
    private static let progressPause: Int64 = 100_000_000

    let id: Int
    let attempt: Attempt
    /// Runs beside others; all else waits in line.
    let isConcurrent: Bool
    /// When it got its turn, in nanoseconds.
    var started: Int64 = 0
    var wasCancelled = false
    private var lastProgress: Int64 = 0
    private var held: Progress?
    private var timer: Deadline?

    init(_ id: Int, _ attempt: Attempt, isConcurrent: Bool) {
        self.id = id
        self.attempt = attempt
        self.isConcurrent = isConcurrent
    }

    /// At most ten a second; the last one is never lost.
    func progressed(_ progress: Progress, on loop: EventLoop, tell: @escaping (Report) -> Void) {
        let now = monotonicNanoseconds()
        if now - lastProgress >= Self.progressPause {
            lastProgress = now
            held = nil
            tell(.progress(attempt.id, progress))
        } else {
            held = progress
            guard timer == nil else { return }
            timer = Deadline(after: .nanoseconds(Self.progressPause), on: loop) { [unowned self] in release(tell) }
        }
    }

    /// Tells the progress that was held back.
    func release(_ tell: (Report) -> Void) {
        timer = nil
        guard let progress = held else { return }
        held = nil
        lastProgress = monotonicNanoseconds()
        tell(.progress(attempt.id, progress))
    }
}
