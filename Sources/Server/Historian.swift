import EventLoop
import Jobs
import Store

/// Tells the store what happens to live jobs, so that their events outlive the server.
///
/// Nothing waits for that, with one exception: a number that a client has seen must never be given to another event, by
/// no later server. So numbers are reserved before they are shown; a few with the submission, more when somebody looks.
final class Historian {
    /// How long an event may be in memory alone.
    private static let delay = Duration.milliseconds(250)
    /// Numbers reserved at once while somebody looks.
    private static let headroom = 256

    private let journal: Journal
    private let streams: Streams
    private let loop: EventLoop
    private var dirty: [LiveJob] = []
    private var urgent: [LiveJob] = []
    private var timer: Deadline?

    init(_ journal: Journal, _ streams: Streams, on loop: EventLoop) {
        self.journal = journal
        self.streams = streams
        self.loop = loop
    }

    /// An event was added to the job.
    func note(_ job: LiveJob) {
        if job.record.events.lastSeq > job.record.events.reserved, streams.isWatched(job.record.id) {
            urgent.append(job)
        }
        // Of a job that waits for its first start the disk knows all there is: when it was accepted.
        guard job.history == .clean || job.history == .found, job.record.attempt > 0 || job.hasHistory else { return }
        job.history = .dirty
        dirty.append(job)
        if timer == nil { timer = Deadline(after: Self.delay, on: loop) { [unowned self] in write() } }
    }

    /// Somebody begins to look at a job that has more than may be shown.
    func look(at job: LiveJob) {
        if job.record.events.lastSeq > job.record.events.reserved { urgent.append(job) }
    }

    func endTurn() {
        guard !urgent.isEmpty else { return }
        let jobs = urgent
        urgent = []
        for job in jobs where job.record.events.lastSeq > job.record.events.reserved { write(job, Self.headroom) }
    }

    /// Writes what has gathered; after a moment, by itself.
    func write() {
        timer = nil
        let jobs = dirty
        dirty = []
        for job in jobs where job.history == .dirty { write(job, 0) }
    }

    /// Jobs without a history that get one when the server ends in order: a start must not take long for it. The
    /// others find a gap where a client may have seen more than the disk knows.
    private static let lastWords = 10_000

    /// Writes what the disk does not know, for a server that ends.
    ///
    /// Not of a job that nothing has happened to since it was read, and that nobody has looked at: that it waits again is no news.
    func writeAll(of jobs: some Sequence<LiveJob>) {
        timer = nil
        var fresh = 0
        for job in jobs where job.history != .found && job.isAccepted && job.outcome == nil {
            let events = job.record.events
            guard events.lastSeq > events.lastStored || events.reserved > events.lastSeq else { continue }
            if !job.hasHistory, job.record.attempt == 0 {
                fresh += 1
                guard fresh <= Self.lastWords else { continue }
            }
            journal.write(
                .happened(job.record.id, events.unstored, reserved: events.lastSeq),
                then: .nothing(job.record.id))
        }
    }

    private func write(_ job: LiveJob, _ headroom: Int) {
        guard job.history != .writing, job.outcome == nil, job.isAccepted else { return }
        let events = job.record.events
        let reserved = events.lastSeq + headroom
        // Until that is stored, no more may be shown than both before and after it.
        job.record.events.reserved = min(events.reserved, reserved)
        let unstored = events.unstored
        job.record.events.lastStored = events.lastSeq
        job.history = .writing
        job.hasHistory = true
        journal.write(
            .happened(job.record.id, unstored, reserved: reserved),
            then: .history(job.record.id, reserved: reserved))
    }

    func stored(_ job: LiveJob, reserved: Int) {
        job.record.events.reserved = max(job.record.events.reserved, reserved)
        job.history = .clean
        streams.touch(job.record)
        if job.record.events.lastSeq > job.record.events.lastStored { note(job) }
    }
}
