/// One live job, as the scheduler sees it.
///
/// A class only so that a look at it copies nothing: it belongs to one scheduler and never leaves it.
final class Life {
    var spec: JobSpec
    let queue: Int
    var state: JobState
    /// The last place that it was given, from 1: the fence. It only grows.
    var grant = 0
    var tally = Tally()
    /// Its place among those that wait; also tells a stale ticket from a good one.
    var order: UInt64 = 0
    /// False until the submission is on disk: nothing of the job may be seen before.
    var isPersisted = false
    /// What it has of its pool.
    var place = Place.none
    /// Its pool has said that it runs.
    var hasBegun = false
    /// Why the attempt was asked to stop; nil while it was not.
    var stopping: StopReason?
    var cancelRequestedAt: Instant?
    var hasDeadline = false
    /// Set once the job has ended and waits for its outcome to be on disk.
    var conclusion: Conclusion?

    init(_ spec: JobSpec, queue: Int) {
        self.spec = spec
        self.queue = queue
        state = .queued
    }

    enum Place {
        case none
        /// A place is kept free for it while the disk is told that it starts.
        case claimed
        /// The attempt is in the pool's hands.
        case given
    }

    var isHandedOver: Bool { place == .given }
}

/// One pool, as the scheduler sees it.
struct PoolRoom {
    var slots = 0
    /// Quick attempts that may wait inside the pool, for each slot.
    var ahead = 0
    /// Places taken: claimed, or handed over and running or waiting inside the pool.
    var busy = 0
    /// Those of them that are not quick.
    var slow = 0

    /// Whether one more attempt may be handed over.
    func hasRoom(forQuick quick: Bool) -> Bool {
        if busy < slots { return true }
        return quick && slow < slots && busy - slow < (slots - slow) * (1 + ahead)
    }
}

/// One queue, as the scheduler sees it. A class for the same reason as ``Life``.
final class QueueRoom {
    /// Empty once the name is forgotten.
    private(set) var name: String
    var isPaused = false
    /// Jobs that may wait; nil: as many as in any other queue.
    var limit: Int?
    /// One for each room.
    var lanes = JobSpec.PerRoom(repeating: Lane())
    /// Its jobs that have not ended, and those of them that have a place in a pool.
    var live = 0
    var placed = 0
    /// Since when it has had none.
    private(set) var idleSince: Instant

    init(name: String, _ now: Instant) {
        self.name = name
        idleSince = now
    }

    /// Jobs that are queued, over all rooms.
    var depth: Int { lanes.indices.reduce(0) { $0 + lanes[$1].depth } }

    /// Jobs that wait for whatever it is: their time, a key, the disk, or a pool.
    var waiting: Int { live - placed }

    /// Whether there is nothing to remember.
    var isIdle: Bool { live == 0 && !isPaused && limit == nil }

    /// One of its jobs has ended.
    func left(_ now: Instant) {
        live -= 1
        if live == 0 { idleSince = now }
    }

    func clockStepped(_ step: Duration) { idleSince = idleSince + step }

    /// Forgets what it was, and the memory of its peak with it.
    func becomeFree() {
        name = ""
        lanes = JobSpec.PerRoom(repeating: Lane())
    }

    func become(_ name: String, _ now: Instant) {
        self.name = name
        idleSince = now
    }
}
