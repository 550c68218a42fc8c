/// Jobs come into queues, and queues come and go with them.
extension Scheduler {
    mutating func enter(_ spec: JobSpec, _ now: Instant) -> Life {
        let life = Life(spec, queue: queue(named: spec.queue, now))
        lives[spec.id] = life
        queues[life.queue].live += 1
        return life
    }

    mutating func queue(named name: String, _ now: Instant) -> Int {
        // Most systems have one queue.
        if let first = queues.first, first.name == name { return 0 }
        if let known = queueIndex[name] { return known }
        if queueIndex.count >= Self.maximumQueues { forgetQueues(idleSince: now) }
        let index: Int
        if let free = freeQueues.popLast() {
            index = free
            queues[index].become(name, now)
        } else {
            index = queues.count
            queues.append(QueueRoom(name: name, now))
        }
        queueIndex[name] = index
        return index
    }

    /// Drops the names of queues that have held nothing since then, and of which nothing was set.
    mutating func forgetQueues(idleSince time: Instant) {
        for (name, index) in queueIndex where queues[index].isIdle && queues[index].idleSince <= time {
            queueIndex[name] = nil
            queues[index].becomeFree()
            freeQueues.append(index)
        }
    }

    /// The wall clock was set. Timeouts, retries and delays are due after as much time as before; a time of the day comes
    /// when the clock says so.
    mutating func clockStepped(_ step: Duration) {
        due.shift(by: step)
        for life in lives.values {
            if let requested = life.cancelRequestedAt { life.cancelRequestedAt = requested + step }
            if !life.spec.followsWall, let start = life.spec.notBefore { life.spec.notBefore = start + step }
        }
        for queue in queues { queue.clockStepped(step) }
        promisedWake = nil
        restoringSince = restoringSince.map { $0 + step }
    }

    /// A queued job was cancelled: it leaves its lane.
    mutating func dropTicket(of life: Life) {
        queues[life.queue].lanes[life.spec.room].remove(priority: life.spec.priority) { ticket in
            lives[ticket.id].map { $0.order == ticket.order && $0.state == .queued && $0 !== life } ?? false
        }
    }
}
