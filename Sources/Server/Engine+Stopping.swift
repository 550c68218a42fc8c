import EventLoop
import Jobs
import Store

/// How the engine ends.
extension Engine {
    /// Stops taking jobs; `done` is called when nothing is left to wait for: with a durable store the jobs that run, else
    /// all jobs.
    func drain(_ done: @escaping () -> Void) {
        isDraining = true
        whenIdle = done
        if isDurable { feed(.drained) }
        store.hurry()
        checkIdle()
    }

    /// Ends what runs. What may run again is kept for the next server, if there is a disk to keep it on.
    func stopRunning(grace: Duration) { feed(.shutDown(grace: grace)) }

    /// Hands all that happened to the store, and no more numbers than were used: the next server finds no gap.
    func writeHistory() { if isDurable { historian.writeAll(of: live.values) } }

    /// Tells everybody who still waits that the server ends.
    func dismissWaiters() {
        for id in live.ids {
            guard let job = live[id] else { continue }
            job.tell(job.isAccepted ? .stopping : .refused)
        }
    }

    func checkIdle() {
        guard let done = whenIdle, isDurable ? scheduler.takenPlaces == 0 : live.isEmpty else { return }
        whenIdle = nil
        whenRecorded = done
        whenStored { [unowned self] in recorded() }
        awaitRoom()
    }

    /// How long the end of what has run waits for room.
    private static let lastWait = Duration.seconds(1)

    /// On a full disk the server's end does not wait for what cannot be recorded.
    private func awaitRoom() {
        lastWait = Deadline(after: Self.lastWait, on: loop) { [unowned self] in
            store.refusesJobs == nil ? awaitRoom() : recorded()
        }
    }

    private func recorded() {
        lastWait = nil
        guard let done = whenRecorded else { return }
        whenRecorded = nil
        done()
    }
}
