/// What the scheduler must know of a job. The payload is not its business.
package struct JobSpec: Sendable, Equatable {
    package static let priorities = -100...100
    package static let attempts = 1...1000

    package var id: JobID
    package var pool: PoolName
    package var queue: String
    /// Higher first.
    package var priority: Int
    package var maxAttempts: Int
    /// Longest time for one attempt; nil: no limit.
    package var timeout: Duration?
    package var notBefore: Instant?
    /// Whether that is a time of the day, which a step of the wall clock brings nearer or takes away; else it is so long
    /// from the submission on, whatever the clock says.
    package var followsWall = false
    /// Of all live jobs with the same key one runs at a time, in the order of submission.
    package var key: String?
    /// Whether earlier attempts of this task were so short that the next one may wait inside the pool.
    package var isQuick: Bool
    /// Whether its attempts only wait, many at once in one worker: they have a room of their own.
    package var isLight: Bool

    package init(
        id: JobID, pool: PoolName, queue: String = "default", priority: Int = 0, maxAttempts: Int = 1,
        timeout: Duration? = nil, notBefore: Instant? = nil, key: String? = nil, isQuick: Bool = false,
        isLight: Bool = false
    ) {
        self.id = id
        self.pool = pool
        self.queue = queue
        self.priority = priority
        self.maxAttempts = maxAttempts
        self.timeout = timeout
        self.notBefore = notBefore
        self.key = key
        self.isQuick = isQuick
        self.isLight = isLight
    }
}

extension JobSpec {
    /// Rooms of attempts: one for each pool, and one for light attempts in worker processes.
    typealias PerRoom<Value> = InlineArray<5, Value>
    static let rooms = PoolName.allCases.count + 1
    static let lightRoom = PoolName.allCases.count

    /// Which room its attempts are in.
    var room: Int { isLight ? Self.lightRoom : pool.index }
}
