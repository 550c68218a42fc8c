import Jobs
import Store

/// What a list may ask of a live job, in one word, so that a look at a million of them takes a millisecond or two.
///
/// | bits  | what                                                 |
/// |-------|------------------------------------------------------|
/// | 0–8   | the state, one bit for each; none: the job is gone   |
/// | 9–10  | the pool                                             |
/// | 11–36 | of the queue's name, a hash                          |
/// | 37–63 | of the task's name, a hash                           |
///
/// Names may share a hash: where a word fits, the job itself is looked at.
enum Mark {
    private static let poolShift: UInt64 = 9
    private static let queueShift: UInt64 = 11
    private static let taskShift: UInt64 = 37
    private static let states: UInt64 = 1 << poolShift - 1
    private static let pool: UInt64 = 1 << queueShift - 1 << poolShift
    private static let queue: UInt64 = 1 << taskShift - 1 << queueShift
    private static let task: UInt64 = ~0 << taskShift

    /// States in which a job waits for something.
    static let waiting = bit(.scheduled) | bit(.blocked) | bit(.queued)
    /// States in which an attempt is in a pool's hands.
    static let running = bit(.running) | bit(.suspended) | bit(.cancelling)

    static func bit(_ state: JobState) -> UInt64 {
        switch state {
        case .scheduled: 1 << 0
        case .blocked: 1 << 1
        case .queued: 1 << 2
        case .running: 1 << 3
        case .suspended: 1 << 4
        case .cancelling: 1 << 5
        case .succeeded: 1 << 6
        case .failed: 1 << 7
        case .cancelled: 1 << 8
        }
    }

    static func bits(ofQueue name: String) -> UInt64 { hash(name) << queueShift & queue }
    static func bits(ofTask name: String) -> UInt64 { hash(name) << taskShift }
    static func bits(of pool: PoolName) -> UInt64 { UInt64(pool.index) << poolShift }

    /// The same word in another state.
    static func moved(_ word: UInt64, to state: JobState) -> UInt64 { word & ~states | bit(state) }

    /// Three bits for each label: a job whose word lacks one of those that are wanted does not have the label.
    static func bits(of labels: [(name: String, value: String)]) -> UInt64 {
        labels.reduce(0) { bits, label in
            let hash = hash(label.value, after: hash(label.name) &+ 1)
            return bits | 1 << (hash & 63) | 1 << (hash >> 6 & 63) | 1 << (hash >> 12 & 63)
        }
    }

    /// Nobody gains by names that share a hash: they only cost a further look. Source: FNV-1a, with a last mix of the bits.
    private static func hash(_ name: String, after start: UInt64 = 0xCBF2_9CE4_8422_2325) -> UInt64 {
        var hash = start
        for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        hash = (hash ^ hash >> 32) &* 0x9E37_79B9_7F4A_7C15
        return hash ^ hash >> 29
    }

    /// What the words of all jobs have that a filter can let through.
    struct Pattern {
        private let states: UInt64
        private let wanted: UInt64
        private let mask: UInt64
        let labels: UInt64

        init(_ filter: JobFilter) {
            states = filter.states.isEmpty ? Mark.states : filter.states.reduce(0) { $0 | Mark.bit($1) }
            var (wanted, mask): (UInt64, UInt64) = (0, 0)
            if let pool = filter.pool { (wanted, mask) = (wanted | Mark.bits(of: pool), mask | Mark.pool) }
            if let queue = filter.queue { (wanted, mask) = (wanted | Mark.bits(ofQueue: queue), mask | Mark.queue) }
            if let task = filter.task { (wanted, mask) = (wanted | Mark.bits(ofTask: task), mask | Mark.task) }
            (self.wanted, self.mask) = (wanted, mask)
            labels = Mark.bits(of: filter.labels)
        }

        func fits(_ word: UInt64) -> Bool { word & states != 0 && word & mask == wanted }
    }
}
