import Testing

@testable import Jobs

/// What waits for the disk, and what is made of what it kept.
@Suite struct RecoveryTests {
    let one = JobID(rawValue: 1)

    @Test func `a job that may run once starts only when the disk knows of it`() {
        var story = Story(durable: true)
        _ = story.submit(1)
        let two = JobID(rawValue: 2)
        #expect(story.tell(.submitted(JobSpec(id: two, pool: .thread))) == [.persist(two, attempt: 0)])
        #expect(started(story.tell(.persisted(two))).isEmpty)
        #expect(story.end(1).contains(.persistStart(two, attempt: 1)))
        #expect(started(story.tell(.startPersisted(two, attempt: 1))) == [2])
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
        #expect(story.tell(.startPersisted(two, attempt: 1)) == [.record(two, end)])
    }

    @Test func `after a restart a job with attempts left runs again, another is lost`() {
        var story = Story()
        var again = JobSpec(id: one, pool: .thread)
        again.maxAttempts = 2
        #expect(started(story.tell(.restored(again, Remains(attempt: 1, wasRunning: true)))) == [1])
        let two = JobID(rawValue: 2)
        #expect(
            story.tell(.restored(JobSpec(id: two, pool: .thread), Remains(attempt: 1, wasRunning: true))) == [
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
            let actions = story.tell(.restored(spec, Remains(attempt: attempt)))
            #expect(actions.contains(.publish(spec.id, .scheduled(until: due))))
        }
        story.now = due
        #expect(started(story.tell(.becameDue)) == [1])
    }

    @Test func `a drained server starts nothing, and leaves what it must stop for the next one`() {
        var story = Story(slots: 1)
        _ = story.submit(1) { $0.maxAttempts = 2 }
        _ = story.submit(2)
        _ = story.tell(.drained)
        let stops = story.tell(.shutDown(grace: .seconds(1)))
        #expect(stops == [.stop(one, attempt: 1, .thread, .shutDown, grace: .seconds(1))])
        let actions = story.end(1, .stopped(.sigterm))
        #expect(actions.first == .publish(one, .retrying(due: story.now, crashes: 0)))
        #expect(started(actions).isEmpty)
        #expect(story.scheduler.state(of: one) == .queued)
    }
}

@Suite struct SuspensionTests {
    let one = JobID(rawValue: 1)

    @Test func `a suspended attempt keeps its place, goes on, and can be cancelled`() {
        var story = Story()
        _ = story.submit(1)
        #expect(
            story.tell(.suspendRequested(one)) == [.hold(one, attempt: 1, .thread, true), .publish(one, .suspended)])
        #expect(story.tell(.suspendRequested(one)) == [])
        #expect(started(story.submit(2)).isEmpty)
        #expect(
            story.tell(.resumeRequested(one)) == [.hold(one, attempt: 1, .thread, false), .publish(one, .resumed)])
        _ = story.tell(.suspendRequested(one))
        #expect(story.tell(.cancelRequested(one, grace: .seconds(5))).first == .publish(one, .cancelling))
    }
}
