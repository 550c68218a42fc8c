import Jobs

/// What remembers jobs: live ones until they end, and finished ones for a while.
///
/// Confined to the engine's loop, to which it also answers.
package protocol JobStore: AnyObject {
    var durability: Durability { get }
    /// Why no job can be taken now; nil when jobs can.
    var refusesJobs: String? { get }

    /// Takes a change.
    ///
    /// - Returns: The receipt, when it is known at once; else it comes later, under the change's number.
    func write(_ change: Change) -> Receipt?
    /// Hands on what has been taken since; at the end of a turn.
    func flush()
    /// Told of receipts that were not immediate, by the number of the change among those, from 0.
    var receive: ([(number: Int, receipt: Receipt)]) -> Void { get set }

    /// Keeps a job at hand whose end is stored and has been applied to it.
    func keep(_ record: JobRecord)
    /// Keeps a key at hand whose submission is stored.
    func note(_ identity: Identity, _ job: JobID, at now: Instant)
    /// The submission that was made under a key, as far as memory knows; the disk is asked when it is written.
    func earlier(_ identity: Identity) -> Receipt?
    /// A finished job, if it is in memory.
    subscript(id: JobID) -> JobRecord? { get }
    /// A finished job.
    func find(_ id: JobID, _ then: @escaping (Result<JobRecord?, StoreFailure>) -> Void)
    /// Finished jobs, newest first.
    func list(_ query: JobQuery, _ then: @escaping (Result<JobPage, StoreFailure>) -> Void)

    /// The server is about to end: starts do not wait for room any more, they are to be taken back.
    func hurry()
    /// Once a second: forgets what is too old.
    func tick(at now: Instant)
    /// Writes what is left. Nothing may be written after it.
    ///
    /// - Parameter inOrder: Whether nothing runs any more, so that the next server need not look for it.
    func close(inOrder: Bool, _ done: @escaping () -> Void)
}

extension JobStore {
    /// Where nothing ever waits for room.
    package func hurry() {}
}

/// What an answer is worth when the machine fails.
package enum Durability: String, Sendable {
    /// On disk, `fdatasync` has returned.
    case fsync
    case none
}

/// Something is wrong with the store, in words for people.
package struct StoreFailure: Error, CustomStringConvertible {
    package let description: String
    /// The disk has failed: what is written may not be there later.
    package var isOfDisk = false
    /// There is no room: later there may be.
    package var isFull = false
    /// What is wrong in the file, if it is damaged.
    package private(set) var damage: String?

    package init(_ description: String, isOfDisk: Bool = false, isFull: Bool = false) {
        self.description = description
        self.isOfDisk = isOfDisk
        self.isFull = isFull
    }

    /// - Parameter path: Of the file, where that is not clear.
    init(damage: String, in path: String? = nil, isOfDisk: Bool = false) {
        self.init("the store \(path.map { "\($0) " } ?? "")is damaged: \(damage)", isOfDisk: isOfDisk)
        self.damage = damage
    }

    /// What to do about damage, for those who cannot go on.
    ///
    /// - Parameter path: Of the file, where that is not clear.
    package static func remedy(for path: String? = nil) -> String {
        """
        `spindle store check\(path.map { " --store \($0)" } ?? "")` says more; then put back a copy made by \
        `spindle store backup`, or move the file (with its -wal and -shm) away to start with an empty one.
        """
    }
}

/// How long and how many finished jobs are kept.
package struct Retention: Sendable, Equatable {
    /// Finished jobs; beyond it those that ended first go.
    package var jobs = 1_000_000
    /// Since the end.
    package var age = Duration.seconds(7 * 24 * 3600)
    /// How long an `Idempotency-Key` is remembered.
    package var keys = Duration.seconds(24 * 3600)

    package init() {}
}
