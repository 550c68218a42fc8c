import EventLoop
import HTTP
import JSON
import Jobs
import Store

/// What the dashboard shows, gathered while the engine works: what ran where, how long it took, what failed.
///
/// ```
///   engine ── began, attemptEnded, ended ──► spans, latencies, errors        always; some additions for each job
///          └─ changed ────────────────────► one board for each pace ──► frames to whoever looks at that pace
/// ```
///
/// Costs nothing more when nobody looks, and the same for one reader as for many: a frame is written once for all.
final class Monitor {
    /// How often the progress of all jobs is looked at, at most; and what part of the time that may cost.
    private static let progressPause: Int64 = 200_000_000
    private static let progressShare: Int64 = 100
    /// Names of tasks that are told apart in the timeline.
    private static let mostTasks = 4096

    unowned(unsafe) var engine: Engine!
    private(set) var spans = SpanLog()
    private(set) var lanes = Lanes()
    private(set) var taskNames: [String] = []
    private var taskNumbers: [String: Int32] = [:]
    /// Jobs of one task come in a row.
    private var lastTask: (name: String, number: Int32) = ("", 0)
    private var waits = LatencyWindow()
    private var runs = LatencyWindow()
    /// Jobs that have ended, by state: succeeded, failed, cancelled.
    private(set) var ended = (succeeded: 0, failed: 0, cancelled: 0)
    private var boards: [Board] = []
    /// Of each task: the jobs that run and whose fraction is known, and the sum of their fractions; taken now and then.
    private(set) var progress: [String: (fractions: Double, jobs: Int)] = [:]
    private var progressDue: Int64 = 0
    private var errors = ErrorGroups()
    private var hasReadErrors = false
    private var unread: [JobRecord] = []
    /// Who waits for the failures that the store remembers.
    private var errorReaders: [(ErrorGroups) -> Void] = []
    private var longestTurn: Int64 = 0
    private var lastLongestTurn: Int64 = 0

    // MARK: What the engine tells

    /// An attempt runs.
    func began(_ job: LiveJob) {
        if job.lane < 0 { job.lane = lanes.take(job) }
    }

    /// An attempt has ended, with another one to follow or not.
    func attemptEnded(_ job: LiveJob, _ ending: Span.Ending) {
        guard job.lane >= 0, let from = job.record.startedAt else { return }
        let lane = job.lane
        job.lane = -1
        lanes.free(lane, of: job)
        let now = engine.now.nanoseconds
        spans.append(
            Span(
                job: job.record.id, lane: lane, task: number(of: job.record.task), ending: ending,
                attempt: job.record.attempt, waitedFrom: job.record.waitsSince.nanoseconds, from: from.nanoseconds,
                to: now, busy: now - from.nanoseconds))
        for board in boards { board.isDirty = true }
    }

    /// A job's end is stored and may be told.
    func ended(_ record: JobRecord) {
        switch record.state {
        case .succeeded: ended.succeeded += 1
        case .failed: ended.failed += 1
        default: ended.cancelled += 1
        }
        if record.state == .failed {
            errors.note(record)
            // The list that is being read may be older than this.
            if !errorReaders.isEmpty { unread.append(record) }
        }
        guard let started = record.startedAt, let finished = record.finishedAt else { return }
        let now = finished.nanoseconds
        waits.note(started.nanoseconds(since: record.waitsSince), at: now)
        runs.note(finished.nanoseconds(since: started), at: now)
    }

    /// A job has something new. Called for every event: most of the time nobody looks.
    func changed(_ record: JobRecord) {
        for board in boards { board.note(record) }
    }

    /// - Parameter nanoseconds: How long the loop was busy in one turn.
    func turned(_ nanoseconds: Int64) { longestTurn = max(longestTurn, nanoseconds) }

    /// Once a second.
    func tick() {
        lastLongestTurn = longestTurn
        longestTurn = 0
        for board in boards { board.isDirty = true }
    }

    func endTurn() { for board in boards { board.endTurn() } }

    // MARK: What readers ask

    /// Lets a client follow; it gets a frame at once, and then no more than one in `pace`.
    func add(_ exchange: Exchange, _ format: EventFormat, every pace: Duration) {
        let board =
            boards.first { $0.pace == pace && $0.format == format }
            ?? {
                let board = Board(pace, format, self, engine)
                boards.append(board)
                return board
            }()
        board.add(exchange)
        exchange.whenLeft { [unowned self, unowned exchange] in
            board.remove(exchange)
            boards.removeAll { $0.isEmpty }
        }
    }

    var readerCount: Int { boards.reduce(0) { $0 + $1.readerCount } }

    /// Ends streams whose readers may not read any more.
    func end(where mayNot: (Exchange) -> Bool) {
        for board in boards { board.end(where: mayNot) }
        boards.removeAll { $0.isEmpty }
    }

    /// Ends every stream: the server stops.
    func closeAll() {
        let all = boards
        boards = []
        for board in all { board.closeAll() }
    }

    /// Failures in groups, those that the store remembers from earlier included.
    func withErrors(_ then: @escaping (ErrorGroups) -> Void) {
        if hasReadErrors { return then(errors) }
        errorReaders.append(then)
        if errorReaders.count == 1 { readErrors() }
    }

    private func readErrors() {
        var filter = JobFilter()
        filter.states = [.failed]
        engine.store.list(JobQuery(filter, limit: ErrorGroups.stored)) { [unowned self] found in
            // What cannot be read now is asked for again the next time.
            if case .success(let page) = found {
                hasReadErrors = true
                errors = ErrorGroups()
                let known = Set(page.jobs.map(\.id))
                for record in page.jobs.reversed() { errors.note(record) }
                for record in unread where !known.contains(record.id) { errors.note(record) }
            }
            unread = []
            let readers = errorReaders
            errorReaders = []
            for reader in readers { reader(errors) }
        }
    }

    /// Wait and run of the last seconds: p50 and p99, in seconds.
    func latencies() -> (wait: [Double?], run: [Double?], turn: Double) {
        let now = engine.now.nanoseconds
        let turn = Double(max(longestTurn, lastLongestTurn)) / 1e9
        return (waits.quantiles([0.5, 0.99], at: now), runs.quantiles([0.5, 0.99], at: now), turn)
    }

    /// Counts how far the jobs are that run, unless that was done a moment ago.
    func refreshProgress() {
        guard monotonicNanoseconds() >= progressDue else { return }
        let before = threadNanoseconds()
        progress = [:]
        engine.live.forEachRunning { job in
            guard let fraction = job.record.progress?.fraction else { return }
            progress[job.record.task, default: (0, 0)].fractions += fraction
            progress[job.record.task]!.jobs += 1
        }
        let took = threadNanoseconds() - before
        progressDue = monotonicNanoseconds() + max(Self.progressPause, took * Self.progressShare)
    }

    func number(of task: String) -> Int32 {
        if lastTask.name == task { return lastTask.number }
        // Over many configurations there may be ever new ones: the last number stands for those.
        let task = taskNumbers[task] != nil || taskNames.count < Self.mostTasks ? task : "…"
        let number = taskNumbers[task] ?? Int32(taskNames.count)
        if number == taskNames.count {
            taskNames.append(task)
            taskNumbers[task] = number
        }
        lastTask = (task, number)
        return number
    }
}

extension ErrorGroups {
    /// Failures that are read from the store, the newest ones.
    static let stored = 5000
}

extension JobRecord {
    /// Since when the present attempt has been waiting for its turn.
    var waitsSince: Instant { max(createdAt, dueAt ?? createdAt) }
}
