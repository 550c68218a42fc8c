/// What others may ask the scheduler, without changing anything that they can see.
extension Scheduler {
    /// Makes room for so many jobs at once.
    package mutating func reserve(_ count: Int) { lives.reserve(count) }

    /// Jobs that have not ended.
    package var liveCount: Int { lives.count }

    /// Whether a report about this attempt still counts.
    package func isCurrent(_ id: JobID, grant: Int) -> Bool {
        guard let life = lives[id] else { return false }
        return life.grant == grant && life.isHandedOver
    }

    /// The last place that a live job was given; 0: none.
    package func grant(of id: JobID) -> Int { lives[id]?.grant ?? 0 }

    /// The state of a live job, as clients see it: a job whose attempt waits inside its pool is still queued.
    package func state(of id: JobID) -> JobState? { lives[id]?.state }

    /// The place of a queued job, from 1; nil for any other.
    package func position(of id: JobID) -> Int? {
        guard let life = lives[id], life.state == .queued, life.isPersisted else { return nil }
        if life.place != .none { return 1 }
        return queues[life.queue].lanes[life.spec.room].position(of: life.order, priority: life.spec.priority)
    }

    package var queueNames: [String] { Array(queueIndex.keys) }
    package var queueCount: Int { queueIndex.count }

    /// What was said of the queue; nil: as many as in any other.
    package func limit(of queue: String) -> Int? { queueIndex[queue].flatMap { queues[$0].limit } }

    package func isPaused(_ queue: String) -> Bool { queueIndex[queue].map { queues[$0].isPaused } ?? false }

    /// Jobs that wait in a queue that a job wants to name, for their time, a key, the disk or a pool, and how many
    /// may; nil when there are too many queues for one more.
    package func depth(forSubmissionTo queue: String) -> (waiting: Int, limit: Int?)? {
        if let first = queues.first, first.name == queue { return (first.waiting, first.limit) }
        if let index = queueIndex[queue] { return (queues[index].waiting, queues[index].limit) }
        let hasRoom = queueIndex.count < Self.maximumQueues || queues.contains { $0.isIdle && !$0.name.isEmpty }
        return hasRoom ? (0, nil) : nil
    }

    /// Jobs that wait in a queue, over all pools.
    package func depth(of queue: String) -> Int {
        guard let index = queueIndex[queue] else { return 0 }
        return queues[index].depth
    }

    /// Of a queue's jobs that wait for a pool, those that are next: one for each pool and priority. The one that has waited
    /// longest is among them.
    package mutating func heads(of queue: String) -> [JobID] {
        guard let index = queueIndex[queue] else { return [] }
        var heads: [JobID] = []
        for room in 0..<JobSpec.rooms {
            heads += queues[index].lanes[room].heads { ticket in
                guard let life = lives[ticket.id] else { return false }
                return life.order == ticket.order && life.state == .queued && life.place == .none
            }
        }
        return heads
    }

    /// Jobs that wait for a pool, over all queues.
    package func waiting(for pool: PoolName) -> Int {
        waiting(in: pool.index) + (pool == .process ? waiting(in: JobSpec.lightRoom) : 0)
    }

    func waiting(in room: Int) -> Int { queues.reduce(0) { $0 + $1.lanes[room].depth } }

    /// Whether the room would take one more attempt.
    func hasFreePlace(in room: Int) -> Bool {
        !isDrained && restoringSince == nil && rooms[room].busy < rooms[room].slots
    }

    /// Attempts that pools have in hand, and those that are about to be handed over.
    package var takenPlaces: Int { rooms.indices.reduce(0) { $0 + rooms[$1].busy } }

    /// Attempts that the pool has in hand, and how many it may run at once.
    package func load(of pool: PoolName) -> (busy: Int, slots: Int) {
        (rooms[pool.index].busy, rooms[pool.index].slots)
    }
}
