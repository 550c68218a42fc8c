import Testing

@testable import Jobs

/// A scheduler with one thread, and a clock that the test owns.
struct Story: ~Copyable {
    var scheduler: Scheduler
    var now = Instant(nanoseconds: 0)

    /// - Parameter durable: Whether starts wait for the disk where they must.
    init(slots: Int = 1, ahead: Int = 0, durable: Bool = false) {
        scheduler = Scheduler(seed: 1, isDurable: durable)
        _ = scheduler.handle(.poolResized(.thread, slots: slots, ahead: ahead), at: now)
    }

    mutating func tell(_ event: Event) -> [Action] {
        let actions = scheduler.handle(event, at: now)
        #expect(scheduler.brokenInvariant() == nil)
        return actions
    }

    /// Submits and persists; what follows the acceptance.
    mutating func submit(_ id: UInt64, _ change: (inout JobSpec) -> Void = { _ in }) -> [Action] {
        var spec = JobSpec(id: JobID(rawValue: id), pool: .thread)
        change(&spec)
        _ = tell(.submitted(spec))
        return tell(.persisted(spec.id))
    }

    /// The pool says that the attempt has begun.
    @discardableResult
    mutating func begin(_ id: UInt64, grant: Int = 1) -> [Action] {
        tell(.began(JobID(rawValue: id), grant: grant, at: now))
    }

    /// The attempt has begun, if it had not, and ends.
    mutating func end(_ id: UInt64, grant: Int = 1, _ end: AttemptEnd = .succeeded) -> [Action] {
        begin(id, grant: grant)
        return tell(.attemptEnded(JobID(rawValue: id), grant: grant, end))
    }
}

func started(_ actions: [Action]) -> [UInt64] {
    actions.compactMap { if case .start(let id, _, _, _) = $0 { id.rawValue } else { nil } }
}

@Suite struct SchedulerTests {
    let one = JobID(rawValue: 1)

    @Test func `nothing is answered or started before it is on disk`() {
        var story = Story()
        #expect(story.tell(.submitted(JobSpec(id: one, pool: .thread))) == [.persist(one, attempt: 1)])
        #expect(
            story.tell(.persisted(one)) == [
                .answer(one), .publish(one, .queued(position: 1)), .start(one, attempt: 1, grant: 1, .thread),
            ])
        #expect(story.begin(1) == [.publish(one, .started(attempt: 1, at: story.now))])
    }

    @Test func `a submission that could not be stored leaves no trace`() {
        var story = Story()
        _ = story.tell(.submitted(JobSpec(id: one, pool: .thread)))
        #expect(story.tell(.persistFailed(one)) == [])
        #expect(story.scheduler.liveCount == 0)
    }

    @Test func `higher priority goes first, then first come first served`() {
        var story = Story()
        _ = story.submit(1)
        _ = story.submit(2)
        _ = story.submit(3) { $0.priority = 5 }
        _ = story.submit(4) {
            $0.priority = 5; $0.queue = "other"
        }
        #expect(story.scheduler.position(of: JobID(rawValue: 2)) == 2)
        #expect(started(story.end(1)) == [3])
        #expect(started(story.end(3)) == [4])
        #expect(started(story.end(4)) == [2])
    }

    @Test func `an outcome is told only after it is recorded`() {
        var story = Story()
        _ = story.submit(1)
        #expect(story.end(1) == [.record(one, .succeeded)])
        #expect(story.tell(.recorded(one)) == [.conclude(one, .succeeded)])
    }

    @Test func `a result that loses the race with a cancel leaves the job cancelled`() {
        var story = Story()
        _ = story.submit(1)
        let grace = Duration.seconds(5)
        #expect(
            story.tell(.cancelRequested(one, grace: grace)) == [
                .publish(one, .cancelling), .stop(one, grant: 1, .thread, .cancel, grace: grace),
            ])
        #expect(story.end(1) == [.record(one, .cancelled(.cooperative, took: .zero))])
    }

    @Test func `a job that waits is cancelled before its start`() {
        var story = Story()
        _ = story.submit(1)
        _ = story.submit(2)
        let two = JobID(rawValue: 2)
        #expect(
            story.tell(.cancelRequested(two, grace: .zero)) == [.record(two, .cancelled(.beforeStart, took: .zero))])
        #expect(started(story.end(1)) == [])
    }

    @Test func `a failed attempt is tried again, later each time, until none is left`() {
        var story = Story()
        _ = story.submit(1) { $0.maxAttempts = 2 }
        let actions = story.end(1, .failed(canRetry: true))
        guard case .publish(_, .retrying(let due, _)) = actions.first else { return #expect(Bool(false), "\(actions)") }
        #expect((Duration.milliseconds(500)...Duration.seconds(1)).contains(due - story.now))
        story.now = due
        #expect(started(story.tell(.becameDue)) == [1])
        #expect(story.end(1, grant: 2, .failed(canRetry: true)) == [.record(one, .failed(.reported))])
    }

    @Test func `what would fail again is not tried again`() {
        var story = Story()
        _ = story.submit(1) { $0.maxAttempts = 5 }
        #expect(story.end(1, .failed(canRetry: false)) == [.record(one, .failed(.reported))])
    }

    @Test func `an attempt past its deadline is stopped and the job fails by timeout`() {
        var story = Story()
        _ = story.submit(1) { $0.timeout = .seconds(3) }
        story.now = story.now + .seconds(30)
        #expect(story.tell(.becameDue) == [], "it has not begun")
        story.begin(1)
        story.now = story.now + .seconds(3)
        #expect(story.tell(.becameDue) == [.stop(one, grant: 1, .thread, .timeout, grace: Scheduler.timeoutGrace)])
        #expect(story.end(1, .stopped(.sigkill)) == [.record(one, .failed(.timeout))])
    }

    @Test func `a job that kills three workers is quarantined`() {
        var story = Story()
        _ = story.submit(1) { $0.maxAttempts = 10 }
        for attempt in 1...2 {
            _ = story.end(1, grant: attempt, .crashed)
            story.now = story.now + .seconds(600)
            #expect(started(story.tell(.becameDue)) == [1])
        }
        #expect(story.end(1, grant: 3, .crashed) == [.record(one, .failed(.crashed(quarantined: true)))])
    }

    @Test func `of two jobs with one key the second waits for the first`() {
        var story = Story(slots: 4)
        _ = story.submit(1) { $0.key = "k" }
        let second = story.submit(2) { $0.key = "k" }
        #expect(second.contains(.publish(JobID(rawValue: 2), .blocked)))
        #expect(started(story.end(1)) == [2])
    }

    @Test func `a delayed job starts when its time comes`() {
        var story = Story()
        let due = story.now + .seconds(10)
        #expect(story.submit(1) { $0.notBefore = due }.contains(.wake(at: due)))
        story.now = due
        #expect(started(story.tell(.becameDue)) == [1])
    }

    @Test func `a job in its pool's hands is queued until the pool says that it has begun`() {
        var story = Story(slots: 1, ahead: 1)
        let two = JobID(rawValue: 2)
        _ = story.submit(1) { $0.isQuick = true }
        #expect(started(story.submit(2) { $0.isQuick = true }) == [2])
        #expect(started(story.submit(3) { $0.isQuick = true }) == [])
        // In whatever order the pool seats them.
        #expect(story.begin(2) == [.publish(two, .started(attempt: 1, at: story.now))])
        let states = (story.scheduler.state(of: one), story.scheduler.state(of: two))
        #expect(states == (.queued, .running))
    }

    @Test func `what came back before it began costs no attempt, and its grant is gone with it`() {
        var story = Story()
        _ = story.submit(1)
        #expect(
            story.tell(.attemptEnded(one, grant: 1, .returned)) == [
                .publish(one, .handedBack(Tally())), .publish(one, .queued(position: 1)),
                .start(one, attempt: 1, grant: 2, .thread),
            ])
        _ = story.tell(.attemptEnded(one, grant: 1, .succeeded))
        #expect(story.scheduler.staleEvents == 1)
        #expect(story.end(1, grant: 2) == [.record(one, .succeeded)])
    }

    @Test func `a bystander of a crash runs again at once, under a new number, and is not charged`() {
        var story = Story()
        _ = story.submit(1) { $0.maxAttempts = 2 }
        for grant in 1...7 {
            let tally = Tally(attempt: grant, spared: grant)
            #expect(
                story.end(1, grant: grant, .bystander) == [
                    .publish(one, .retrying(due: story.now, tally)), .publish(one, .queued(position: 1)),
                    .start(one, attempt: grant + 1, grant: grant + 1, .thread),
                ])
        }
        guard case .publish(_, .retrying) = story.end(1, grant: 8, .crashed).first else {
            return #expect(Bool(false), "its own crash costs it the first of two attempts")
        }
    }

    @Test func `a bystander that may start only once has started`() {
        var story = Story()
        _ = story.submit(1)
        #expect(story.end(1, .bystander) == [.record(one, .failed(.reported))])
    }

    @Test func `a job whose workers die as they are given it is quarantined before it ever begins`() {
        var story = Story()
        _ = story.submit(1)
        for grant in 1...2 {
            #expect(started(story.tell(.attemptEnded(one, grant: grant, .crashed))) == [1])
        }
        #expect(
            story.tell(.attemptEnded(one, grant: 3, .crashed)) == [.record(one, .failed(.crashed(quarantined: true)))])
    }

    @Test func `a success that comes after the deadline, before the attempt has ended, counts`() {
        var story = Story()
        _ = story.submit(1) { $0.timeout = .seconds(3) }
        story.begin(1)
        story.now = story.now + .seconds(4)
        _ = story.tell(.becameDue)
        #expect(story.end(1) == [.record(one, .succeeded)])
    }

    @Test func `a stale end is refused and counted`() {
        var story = Story()
        _ = story.submit(1)
        story.begin(1)
        #expect(story.end(1, grant: 7) == [])
        #expect(story.scheduler.staleEvents == 1)
        #expect(story.scheduler.state(of: one) == .running)
    }

    @Test func `a paused queue holds its jobs`() {
        var story = Story()
        _ = story.tell(.queuePaused("default", true))
        #expect(started(story.submit(1)) == [])
        #expect(started(story.tell(.queuePaused("default", false))) == [1])
    }
}

@Suite struct JobTableTests {
    @Test func `it is a dictionary, whatever is put in and taken out`() {
        var random = SeededRandom(seed: 3)
        var table = JobTable<Int>()
        var model: [JobID: Int] = [:]
        for step in 0..<20_000 {
            let id = JobID(rawValue: UInt64.random(in: 1...300, using: &random) << 20)
            if Bool.random(using: &random) {
                table[id] = step
                model[id] = step
            } else {
                #expect(table.removeValue(forKey: id) == model.removeValue(forKey: id))
            }
            #expect(table.count == model.count)
        }
        for (id, value) in model { #expect(table[id] == value) }
    }
}

@Suite struct JobIDTests {
    @Test func `an id reads back from its text and sorts as it does`() throws {
        var ids = JobIDSource()
        var last = JobID(rawValue: 0)
        for millisecond in [0, 0, 5, 4, 1_763_800_000_000] as [Int64] {
            let id = ids.next(at: Instant(nanoseconds: millisecond * 1_000_000))
            #expect(id > last)
            #expect(id.description > last.description)
            #expect(JobID(id.description) == id)
            last = id
        }
        for bad in ["", "0", "zzzzzzzzzzzzz", "000000000000u", "00000000000000"] {
            #expect(JobID(bad) == nil, "\(bad)")
        }
    }
}
