/// What must hold between any two events. Checked after each one in tests and in debug builds.
extension Scheduler {
    /// - Returns: The first broken promise, in words; nil when all hold.
    package func brokenInvariant() -> String? {
        let lives = self.lives.values
        for pool in rooms.indices {
            let inHand = lives.filter { $0.spec.room == pool && $0.place != .none }
            let room = rooms[pool]
            guard room.busy == inHand.count else {
                return "room \(pool): busy \(room.busy), but \(inHand.count) in hand"
            }
            let slow = inHand.count { !$0.spec.isQuick }
            guard room.slow == slow else { return "room \(pool): slow \(room.slow), but \(slow) in hand" }
            let waiting = lives.count { $0.spec.room == pool && $0.waitsInLane }
            guard self.waiting(in: pool) == waiting else {
                return "room \(pool): \(self.waiting(in: pool)) tickets for \(waiting) waiting jobs"
            }
            let idle = hasFreePlace(in: pool)
            let held = queues.allSatisfy { $0.isPaused || $0.lanes[pool].depth == 0 }
            guard !idle || held else { return "room \(pool): a slot is free while a job waits" }
        }
        for life in lives {
            let id = life.spec.id
            if let broken = life.brokenInvariant() { return "\(id): \(broken)" }
            if life.state == .scheduled, !due.heap.contains(where: { $0.id == id && $0.grant == life.grant }) {
                return "\(id): scheduled, but nothing is due"
            }
            if life.state == .blocked, let key = life.spec.key, !keys.contains(id, inLineFor: key) {
                return "\(id): blocked, but does not wait for its key"
            }
        }
        for key in keys.keys {
            guard let holder = keys.holder(of: key) else { return "key \(key): nobody holds it" }
            guard let life = self.lives[holder], life.conclusion == nil, life.state != .blocked else {
                return "key \(key): held by a job that cannot run"
            }
        }
        return brokenBound(lives)
    }

    /// What ended leaves its tables, or is a bounded part of them.
    private func brokenBound(_ lives: [Life]) -> String? {
        var live = [Int](repeating: 0, count: queues.count)
        var placed = live
        for life in lives {
            if life.conclusion == nil { live[life.queue] += 1 }
            if life.place != .none { placed[life.queue] += 1 }
        }
        for (index, queue) in queues.enumerated() {
            guard queue.live == live[index], queue.placed == placed[index] else {
                return "queue \(queue.name): \(queue.live) and \(queue.placed), not \(live[index]) and \(placed[index])"
            }
            guard queueIndex[queue.name] == (queue.name.isEmpty ? nil : index) else {
                return "queue \(queue.name): not found by its name"
            }
            for room in queue.lanes.indices {
                let lane = queue.lanes[room]
                guard lane.tickets <= 2 * lane.depth + 2000 else {
                    return "\(lane.tickets) tickets for \(lane.depth) jobs"
                }
            }
        }
        let waiting = lives.count { $0.conclusion == nil }
        guard due.heap.count <= 4 * waiting + 2100 else { return "\(due.heap.count) times for \(waiting) jobs" }
        guard keys.places <= 3 * waiting + 128 * max(keys.keys.count, 1) else {
            return "\(keys.places) places in lines for \(waiting) jobs"
        }
        return nil
    }
}

extension Life {
    fileprivate var waitsInLane: Bool { state == .queued && place == .none && isPersisted }

    fileprivate func brokenInvariant() -> String? {
        if tally.charged > spec.maxAttempts { return "attempt \(tally.charged) of \(spec.maxAttempts)" }
        if state.isFinal != (conclusion != nil) {
            return "state \(state) with conclusion \(String(describing: conclusion))"
        }
        if !isPersisted, isHandedOver { return "ran before it was on disk" }
        if conclusion != nil, place != .none { return "has ended, but keeps a place" }
        if state == .running || state == .suspended, !hasBegun { return "\(state), but it has not begun" }
        if hasBegun, !isHandedOver { return "has begun in no pool's hands" }
        if hasBegun, spec.timeout != nil, stopping == nil, !hasDeadline { return "runs without its deadline" }
        if hasDeadline, !hasBegun { return "has a deadline before it has begun" }
        if state == .cancelling, cancelRequestedAt == nil { return "cancelling, but nobody asked" }
        return nil
    }
}
