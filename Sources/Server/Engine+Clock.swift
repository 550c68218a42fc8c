import EventLoop
import Jobs
import Logging
import Store

/// The wall clock may be set while the server runs, by hand or because the machine has slept.
extension Engine {
    /// What differs less is no step, but two readings that did not follow each other at once, in nanoseconds.
    private static let smallestStep: Int64 = 100_000_000

    /// Once a second: follows the wall clock when it was set. `run_at` and timestamps go by it, nothing else does.
    func followClock() {
        // Who was not let run between two readings has read too much: of two tries the smaller one is right.
        let step = [clockStep(), clockStep()].min { abs($0) < abs($1) } ?? 0
        guard abs(step) >= Self.smallestStep else { return }
        logger.warning("the clock was set", metadata: ["seconds": "\(Double(step) / 1e9)"])
        clockOffset += step
        turnTime = 0
        let duration = Duration.nanoseconds(step)
        for job in live.values where job.record.state == .scheduled && !job.followsWall {
            job.record.dueAt = job.record.dueAt.map { $0 + duration }
        }
        streams.clockStepped(by: duration)
        feed(.clockStepped(by: duration))
    }

    private func clockStep() -> Int64 { wallNanoseconds() - monotonicNanoseconds() - clockOffset }
}
