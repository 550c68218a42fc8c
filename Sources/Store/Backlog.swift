import Jobs

/// What a full disk had no room for, job by job, until there is some: a few changes of each job that lives, no more.
///
/// | change                                | on a full disk                                              |
/// |---------------------------------------|-------------------------------------------------------------|
/// | submitted                             | refused at once, and never here                             |
/// | ended, requeued, cancelRequested      | due: written as far as the reserve goes                     |
/// | childStarted, childEnded, controlled  | due                                                         |
/// | started                               | waits for room, but goes along with what is due of its job  |
/// | happened                              | waits for room; a job's end brings its own history          |
/// | reached                               | answered when nothing is left that is due and came before   |
///
/// Of one job the order stays. Jobs overtake each other: the fence of each is its own.
struct Backlog {
    typealias Entry = (number: Int, change: Change)

    /// Ends that weigh more than this, in bytes, wait behind all others, and get only part of the reserve.
    static let light = 64 << 10

    private struct Queue {
        var entries: [Entry] = []
        var weight = 0
        var isDue = false
        /// It has ended: what else waits of it is history.
        var hasEnd = false

        var written: [Entry] { entries.filter { $0.change.isDue || $0.change.isStart } }
    }

    private var jobs: [JobID: Queue] = [:]
    /// Of no job.
    private var others: [Entry] = []
    private var reached: [(number: Int, job: JobID?)] = []
    /// Bytes of the reserve that heavy ends may still have: it is to last for those that come later, too.
    var heavyShare = 0

    var isEmpty: Bool { jobs.isEmpty && others.isEmpty && reached.isEmpty }
    /// Jobs with something that is due.
    var dueJobs: Int { jobs.values.count(where: \.isDue) }

    mutating func take(_ number: Int, _ change: Change) {
        switch change {
        case .submitted: preconditionFailure("a submission is refused, it does not wait")
        case .started(let id, _, _, _): add((number, change), to: id)
        case .happened(let id, _, _): add((number, change), to: id)
        case .requeued(let id, _, _, _), .cancelRequested(let id): add((number, change), to: id, isDue: true)
        case .ended(let job, let outcome, _, _):
            add((number, change), to: job.id, isDue: true)
            jobs[job.id]?.hasEnd = true
            jobs[job.id]?.weight = job.input.count + outcome.briefBytes
        case .childStarted, .childEnded, .controlled: others.append((number, change))
        case .reached(let job): reached.append((number, job))
        }
    }

    private mutating func add(_ entry: Entry, to job: JobID, isDue: Bool = false) {
        jobs[job, default: Queue()].entries.append(entry)
        if isDue { jobs[job]?.isDue = true }
    }

    /// What is to be written now: as it came, but for heavy ends, which come last, the heaviest after all others.
    ///
    /// - Parameters:
    ///   - startsToo: Starts do not wait either.
    ///   - heavyToo: No matter what is left for others.
    func due(startsToo: Bool = false, heavyToo: Bool = false) -> [Entry] {
        let due = jobs.values.filter { $0.isDue || startsToo && $0.entries.contains { $0.change.isStart } }
        let light = due.filter { $0.weight <= Self.light }.flatMap(\.written).sorted { $0.number < $1.number }
        var share = heavyToo ? Int.max : heavyShare
        let heavy = due.filter { $0.weight > Self.light }.sorted { $0.weight < $1.weight }.prefix { queue in
            share -= queue.weight
            return share >= 0
        }
        return others + light + heavy.flatMap(\.written)
    }

    /// All that is to be written once there is room, in the order in which it came.
    var all: [Entry] {
        (others + jobs.values.flatMap { $0.hasEnd ? $0.written : $0.entries }).sorted { $0.number < $1.number }
    }

    /// What is left when nothing is due any more, but for starts.
    var histories: [Entry] { jobs.values.flatMap(\.entries).filter { !$0.change.isStart } }

    /// It is on disk.
    ///
    /// - Returns: Numbers of changes that nobody has to write any more: histories of a job whose end is stored.
    mutating func remove(_ entry: Entry) -> [Int] {
        guard let job = entry.change.job, var queue = jobs[job] else {
            others.removeAll { $0.number == entry.number }
            return []
        }
        queue.entries.removeAll { $0.number == entry.number }
        queue.isDue = queue.entries.contains { $0.change.isDue }
        let isOver = entry.change.isEnd
        if isOver, queue.weight > Self.light { heavyShare -= queue.weight }
        jobs[job] = isOver || queue.entries.isEmpty ? nil : queue
        return isOver ? queue.entries.map(\.number) : []
    }

    /// Those who may be told that all before them is on disk.
    mutating func takeReached() -> [Int] {
        guard !reached.isEmpty else { return [] }
        let first = due(heavyToo: true).map(\.number).min() ?? .max
        let told = reached.filter { wish in
            guard let job = wish.job else { return wish.number < first }
            return jobs[job]?.entries.allSatisfy { $0.number > wish.number || !$0.change.isDue } ?? true
        }.map(\.number)
        reached.removeAll { told.contains($0.number) }
        return told
    }
}

extension Change {
    /// The job that the store already knows and this is about.
    fileprivate var job: JobID? {
        switch self {
        case .started(let id, _, _, _), .requeued(let id, _, _, _), .cancelRequested(let id), .happened(let id, _, _):
            id
        case .ended(let job, _, _, _): job.id
        case .submitted, .childStarted, .childEnded, .controlled, .reached: nil
        }
    }

    /// Whether a full disk does not keep it waiting.
    fileprivate var isDue: Bool {
        switch self {
        case .requeued, .cancelRequested, .ended, .childStarted, .childEnded, .controlled: true
        case .submitted, .started, .happened, .reached: false
        }
    }

    fileprivate var isStart: Bool { if case .started = self { true } else { false } }
    fileprivate var isEnd: Bool { if case .ended = self { true } else { false } }
}
