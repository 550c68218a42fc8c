import Jobs

/// How the engine ends.
extension Engine {
    /// Stops taking jobs; `done` is called when nothing is left to wait for: with a durable store the jobs that run, else
    /// all jobs.
    func drain(_ done: @escaping () -> Void) {
        isDraining = true
        whenIdle = done
        if isDurable { feed(.drained) }
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
        whenStored(done)
    }
}
