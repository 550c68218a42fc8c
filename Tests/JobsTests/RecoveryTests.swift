import Testing

@testable import Jobs

/// What waits for the disk, and what is made of what it kept.
@Suite struct RecoveryTests {
    let one = JobID(rawValue: 1)

    @Test func `a job starts only when the disk knows of it, however often it may`() {
        var story = Story(durable: true)
        _ = story.submit(1)
        let two = JobID(rawValue: 2)
        #expect(
            story.tell(.submitted(JobSpec(id: two, pool: .thread, maxAttempts: 3))) == [.persist(two, attempt: 0)])
        #expect(started(story.tell(.persisted(two))).isEmpty)
        #expect(story.end(1).contains(.persistStart(two, attempt: 1, grant: 1)))
        #expect(started(story.tell(.startPersisted(two, grant: 1))) == [2])
    }

    @Test func `a cancel that comes before the acceptance ends the job as soon as it is accepted`() {
        var story = Story()
        _ = story.tell(.submitted(JobSpec(id: one, pool: .thread)))
        #expect(story.tell(.cancelRequested(one, grace: .seconds(5))) == [])
        let end = Conclusion.cancelled(.beforeStart, took: .zero)
        #expect(story.tell(.persisted(one)) == [.answer(one), .record(one, end)])
    }

    @Test func `a cancel while the start is being stored keeps the job from starting`() {
        var story = Story(durable: true)
        _ = story.submit(1)
        _ = story.submit(2)
        _ = story.end(1)
        let two = JobID(rawValue: 2)
        #expect(story.tell(.cancelRequested(two, grace: .seconds(5))) == [.publish(two, .cancelling)])
        let end = Conclusion.cancelled(.beforeStart, took: .zero)
        #expect(story.tell(.startPersisted(two, grant: 1)) == [.record(two, end)])
    }

    @Test func `after a restart a job with attempts left runs again, another is lost`() {
        var story = Story()
        var again = JobSpec(id: one, pool: .thread)
        again.maxAttempts = 2
        let remains = Remains(Tally(attempt: 1), grant: 4, wasRunning: true)
        // Under a number, and with a grant, that nobody has had.
        #expect(story.tell(.restored(again, remains)).last == .start(one, attempt: 2, grant: 5, .thread))
        let two = JobID(rawValue: 2)
        #expect(
            story.tell(
                .restored(JobSpec(id: two, pool: .thread), Remains(Tally(attempt: 1), grant: 1, wasRunning: true))) == [
                    .record(two, .failed(.lost))
                ])
    }

    @Test func `after a restart a retry and a delay keep their times`() {
        var story = Story()
        let due = story.now + .seconds(30)
        for (id, attempt) in [(UInt64(1), 0), (2, 1)] {
            var spec = JobSpec(id: JobID(rawValue: id), pool: .thread)
            spec.maxAttempts = 3
            spec.notBefore = due
            let actions = story.tell(.restored(spec, Remains(Tally(attempt: attempt), grant: attempt)))
            #expect(actions.contains(.publish(spec.id, .scheduled(until: due))))
        }
        story.now = due
        #expect(started(story.tell(.becameDue)) == [1])
    }

    /// Jobs of all kinds, as a server may have left them, in the order in which they are restored.
    private func left(_ due: Instant) -> [(JobSpec, Remains)] {
        (UInt64(1)...24).map { id in
            var spec = JobSpec(id: JobID(rawValue: id), pool: .thread, queue: "q\(id % 3)", priority: Int(id % 5))
            spec.maxAttempts = 3
            if id % 4 == 0 { spec.key = "k\(id % 8)" }
            // Some become due while the others are still being restored.
            if id % 3 == 0 { spec.notBefore = due + .milliseconds(Int(100 * (25 - id))) }
            return (spec, Remains(Tally(attempt: id <= 6 ? 1 : 0), grant: id <= 6 ? 1 : 0, wasRunning: id <= 3))
        }
    }

    @Test
    func `however long jobs take to be restored, none starts before all are there, and their order is the same`() {
        func order(pause: Duration) -> [UInt64] {
            var story = Story(slots: 1)
            let end = story.now + .seconds(60)
            var starts: [UInt64] = []
            _ = story.tell(.restoring)
            for (spec, remains) in left(story.now) {
                starts += started(story.tell(.restored(spec, remains)))
                story.now = story.now + pause
                starts += started(story.tell(.becameDue))
            }
            #expect(starts.isEmpty)
            story.now = end
            starts = started(story.tell(.allRestored))
            while let next = starts.last, starts.count < 100 {
                let grant = story.scheduler.grant(of: JobID(rawValue: next))
                let found = started(story.end(next, grant: grant))
                starts += found
                _ = story.tell(.recorded(JobID(rawValue: next)))
                if found.isEmpty { break }
            }
            return starts
        }
        let atOnce = order(pause: .zero)
        #expect(Set(atOnce) == Set(1...24))
        #expect(order(pause: .milliseconds(150)) == atOnce)
        #expect(order(pause: .seconds(2)) == atOnce)
    }

    @Test func `a drained server starts nothing, and leaves what it must stop for the next one`() {
        var story = Story(slots: 1, durable: true)
        _ = story.submit(1) { $0.maxAttempts = 2 }
        _ = story.submit(2)
        story.begin(1)
        _ = story.tell(.drained)
        let stops = story.tell(.shutDown(grace: .seconds(1)))
        #expect(stops == [.stop(one, grant: 1, .thread, .shutDown, grace: .seconds(1))])
        let actions = story.end(1, .stopped(.sigterm))
        #expect(actions.first == .publish(one, .retrying(due: story.now, Tally(attempt: 1))))
        #expect(started(actions).isEmpty)
        #expect(story.scheduler.state(of: one) == .queued)
    }

    @Test func `without a disk nothing is left: what waits ends with the server, and what runs does not try again`() {
        var story = Story(slots: 1)
        _ = story.submit(1) { $0.maxAttempts = 2 }
        _ = story.submit(2)
        _ = story.submit(3) { $0.notBefore = Instant(nanoseconds: 60_000_000_000) }
        story.begin(1)
        #expect(
            story.tell(.shutDown(grace: .seconds(1))) == [
                .stop(one, grant: 1, .thread, .shutDown, grace: .seconds(1)),
                .record(JobID(rawValue: 2), .failed(.stopped)), .record(JobID(rawValue: 3), .failed(.stopped)),
            ])
        #expect(story.end(1, .stopped(.cooperative)) == [.record(one, .failed(.stopped))])
    }

    @Test func `without a disk an attempt that ran out of time as the server ended is the last`() {
        var story = Story(slots: 1)
        _ = story.submit(1) {
            $0.maxAttempts = 2; $0.timeout = .seconds(3)
        }
        story.begin(1)
        story.now = story.now + .seconds(3)
        #expect(story.tell(.becameDue) == [.stop(one, grant: 1, .thread, .timeout, grace: Scheduler.timeoutGrace)])
        #expect(story.tell(.shutDown(grace: .seconds(1))) == [])
        #expect(story.end(1, .stopped(.cooperative)) == [.record(one, .failed(.timeout))])
    }

    @Test func `without a disk who is accepted as the server ends is told that, and the end`() {
        var story = Story(slots: 1)
        let (two, three) = (JobID(rawValue: 2), JobID(rawValue: 3))
        _ = story.tell(.submitted(JobSpec(id: one, pool: .thread)))
        _ = story.tell(.submitted(JobSpec(id: two, pool: .thread)))
        _ = story.tell(.submitted(JobSpec(id: three, pool: .thread)))
        #expect(story.tell(.shutDown(grace: .seconds(1))) == [])
        _ = story.tell(.cancelRequested(three, grace: .zero))
        #expect(story.tell(.persisted(one)) == [.answer(one), .record(one, .failed(.stopped))])
        #expect(story.tell(.persisted(two)) == [.answer(two), .record(two, .failed(.stopped))])
        #expect(
            story.tell(.persisted(three)) == [.answer(three), .record(three, .cancelled(.beforeStart, took: .zero))])
    }
}

@Suite struct SuspensionTests {
    let one = JobID(rawValue: 1)

    @Test func `a suspended attempt keeps its place, goes on, and can be cancelled`() {
        var story = Story()
        _ = story.submit(1)
        story.begin(1)
        #expect(
            story.tell(.suspendRequested(one)) == [.hold(one, grant: 1, .thread, true), .publish(one, .suspended)])
        #expect(story.tell(.suspendRequested(one)) == [])
        #expect(started(story.submit(2)).isEmpty)
        #expect(
            story.tell(.resumeRequested(one)) == [.hold(one, grant: 1, .thread, false), .publish(one, .resumed)])
        _ = story.tell(.suspendRequested(one))
        #expect(story.tell(.cancelRequested(one, grace: .seconds(5))).first == .publish(one, .cancelling))
    }
}
