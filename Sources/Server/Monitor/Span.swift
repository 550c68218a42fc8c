import Jobs

/// What one place did for a while: one attempt, or several of the same kind drawn as one.
struct Span {
    /// How it ended; a failed attempt that is followed by another is a retry.
    enum Ending: UInt8, CaseIterable {
        case succeeded, failed, cancelled, retried
    }

    /// The job, the last one of several.
    var job: JobID
    var lane: Int32
    /// Index among the names of tasks.
    var task: Int32
    var ending: Ending
    var attempt: Int
    /// Since when it waited, in nanoseconds since 1970; then the run itself.
    var waitedFrom: Int64
    var from: Int64
    var to: Int64
    /// Attempts in it, and the time that they took together, in nanoseconds.
    var count = 1
    var busy: Int64

    /// Joins what came later, of the same lane, task and ending.
    mutating func join(_ other: Span) {
        job = other.job
        attempt = max(attempt, other.attempt)
        waitedFrom = min(waitedFrom, other.waitedFrom)
        from = min(from, other.from)
        to = max(to, other.to)
        count += other.count
        busy += other.busy
    }
}

/// The spans of the last hour: the newest one by one, older ones joined by the second. Bounded in both.
struct SpanLog {
    /// Spans that are kept one by one.
    static let single = 32_768
    /// Joined ones, in all.
    private static let joined = 131_072
    private static let hour: Int64 = 3_600_000_000_000
    private static let second: Int64 = 1_000_000_000

    /// What is joined with each other, within one stretch of time.
    private struct Kind: Hashable {
        let lane: Int32
        let task: Int32
        let ending: Span.Ending
        let stretch: Int64
    }

    private var ring: [Span] = []
    /// Spans that were ever added; the next one's number.
    private(set) var count = 0
    /// Whole seconds, older ones first, from `firstSecond` on.
    private var seconds: [[Span]] = []
    private var firstSecond = 0
    private var joinedCount = 0
    private var current = JoinedSecond()
    private var currentSecond: Int64 = 0

    mutating func append(_ span: Span) {
        if ring.count < Self.single {
            ring.append(span)
        } else {
            let place = count % Self.single
            keep(ring[place])
            ring[place] = span
        }
        count += 1
    }

    /// The spans from a number on, at most `limit` of them one by one: what is more comes joined.
    func since(_ number: Int, limit: Int) -> [Span] {
        let first = max(number, count - ring.count)
        let fresh = (first..<max(count, first)).map { ring[$0 % Self.single] }
        guard fresh.count > limit else { return fresh }
        return Self.join(fresh, stretch: .max)
    }

    /// What overlaps a time, in nanoseconds since 1970; joined where it is more than `limit`.
    func window(_ from: Int64, _ to: Int64, limit: Int) -> (spans: [Span], isJoined: Bool) {
        var found: [Span] = []
        func take(_ span: Span) { if span.to >= from, span.waitedFrom <= to { found.append(span) } }
        for index in firstSecond..<seconds.count { for span in seconds[index] { take(span) } }
        for span in current.spans { take(span) }
        let hasOlder = !found.isEmpty
        for number in (count - ring.count)..<count { take(ring[number % Self.single]) }
        guard found.count > limit else { return (found, hasOlder) }
        // As fine as anybody can see.
        return (Self.join(found, stretch: max((to - from) / 600, 1)), true)
    }

    private static func join(_ spans: [Span], stretch: Int64) -> [Span] {
        var kinds: [Kind: Span] = [:]
        for span in spans {
            let kind = Kind(lane: span.lane, task: span.task, ending: span.ending, stretch: span.to / stretch)
            if kinds[kind]?.join(span) == nil { kinds[kind] = span }
        }
        return Array(kinds.values)
    }

    /// Joins a span that leaves the ring with those of its second.
    private mutating func keep(_ span: Span) {
        let second = span.to / Self.second
        if second != currentSecond {
            if !current.spans.isEmpty {
                seconds.append(current.spans)
                joinedCount += current.spans.count
                current = JoinedSecond()
            }
            currentSecond = second
            forget(before: span.to - Self.hour)
        }
        current.join(span)
    }

    private mutating func forget(before time: Int64) {
        while firstSecond < seconds.count,
            joinedCount > Self.joined || (seconds[firstSecond].first.map { $0.to < time } ?? true)
        {
            joinedCount -= seconds[firstSecond].count
            seconds[firstSecond] = []
            firstSecond += 1
        }
        guard firstSecond > 1024, firstSecond > seconds.count / 2 else { return }
        seconds.removeFirst(firstSecond)
        firstSecond = 0
    }
}

/// The spans of one second, joined as they come. A lane has few kinds of them, and nearly always one.
private struct JoinedSecond {
    private(set) var spans: [Span] = []
    /// For each lane the place of its newest span, and for each span that of the one before in its lane; -1: none.
    private var newest: [Int] = []
    private var earlier: [Int] = []

    mutating func join(_ span: Span) {
        let lane = Int(span.lane)
        while newest.count <= lane { newest.append(-1) }
        var place = newest[lane]
        while place >= 0 {
            if spans[place].task == span.task, spans[place].ending == span.ending { return spans[place].join(span) }
            place = earlier[place]
        }
        earlier.append(newest[lane])
        newest[lane] = spans.count
        spans.append(span)
    }
}

extension Span.Ending {
    init(_ state: JobState) {
        switch state {
        case .succeeded: self = .succeeded
        case .failed: self = .failed
        case .cancelled, .scheduled, .blocked, .queued, .running, .suspended, .cancelling: self = .cancelled
        }
    }
}
