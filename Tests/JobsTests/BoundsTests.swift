import Testing

@testable import Jobs

/// What has gone leaves no trace: tables are as large as what they hold, whatever passed through them.
@Suite struct BoundsTests {
    @Test func `a fraction becomes the nearest number towards zero that its type can hold`() {
        for (fraction, number) in [
            (0, 0), (-0.0, 0), (0.9, 0), (-0.9, 0), (1.9, 1), (-1.9, -1), (1e18, 1_000_000_000_000_000_000),
            (9_223_372_036_854_774_784, 9_223_372_036_854_774_784), (9_223_372_036_854_775_808, Int.max),
            (-9_223_372_036_854_775_808, Int.min), (1e300, .max), (-1e300, .min), (.infinity, .max),
            (-.infinity, .min), (.nan, 0), (-.nan, 0), (.leastNonzeroMagnitude, 0),
        ] as [(Double, Int)] {
            #expect(Int(saturating: fraction) == number, "\(fraction)")
        }
        #expect(UInt8(saturating: 255.9) == 255 && UInt8(saturating: 256) == 255 && UInt8(saturating: -0.5) == 0)
        #expect(UInt64(saturating: 18_446_744_073_709_551_616) == .max && UInt64(saturating: -1e9) == 0)
        #expect(Int8(saturating: -128.9) == -128 && Int8(saturating: 127.9) == 127 && Int8(saturating: -129) == -128)
    }

    @Test func `scheduled jobs that are cancelled leave what is due`() {
        var story = Story()
        for id in 1...20_000 as ClosedRange<UInt64> {
            let later = story.now + .seconds(3600)
            _ = story.scheduler.handle(.submitted(spec(id) { $0.notBefore = later }), at: story.now)
            _ = story.scheduler.handle(.persisted(JobID(rawValue: id)), at: story.now)
            cancel(id, &story)
        }
        #expect(story.scheduler.liveCount == 0)
        #expect(story.scheduler.due.heap.count <= 2100)
        #expect(story.scheduler.due.heap.capacity <= 8192)
    }

    @Test func `blocked jobs that are cancelled leave the line for their key`() {
        var story = Story()
        _ = story.submit(1) { $0.key = "a" }
        for id in 2...20_000 as ClosedRange<UInt64> {
            _ = story.scheduler.handle(.submitted(spec(id) { $0.key = "a" }), at: story.now)
            _ = story.scheduler.handle(.persisted(JobID(rawValue: id)), at: story.now)
            cancel(id, &story)
        }
        #expect(story.scheduler.keys.places <= 200)
        let late = JobID(rawValue: 20_001)
        #expect(story.submit(20_001) { $0.key = "a" } == [.answer(late), .publish(late, .blocked)])
        #expect(started(story.end(1)) == [20_001])
    }

    @Test func `queued jobs that are cancelled leave their lane`() {
        var story = Story()
        _ = story.tell(.queuePaused("default", true))
        for id in 1...20_000 as ClosedRange<UInt64> {
            _ = story.scheduler.handle(.submitted(spec(id)), at: story.now)
            _ = story.scheduler.handle(.persisted(JobID(rawValue: id)), at: story.now)
            cancel(id, &story)
        }
        let lane = story.scheduler.queues[0].lanes[PoolName.thread.index]
        #expect(lane.depth == 0)
        #expect(lane.tickets <= 1100)
    }

    @Test func `a line for a key costs no more the longer it is`() {
        // Each holder's end passes the key on: with a copy of the line each time, this would take minutes.
        var story = Story(slots: 1)
        let count: UInt64 = 200_000
        for id in 1...count {
            _ = story.scheduler.handle(.submitted(spec(id) { $0.key = "a" }), at: story.now)
            _ = story.scheduler.handle(.persisted(JobID(rawValue: id)), at: story.now)
        }
        for id in 1...count {
            let end = Event.attemptEnded(JobID(rawValue: id), grant: 1, .succeeded)
            let actions = story.scheduler.handle(end, at: story.now)
            #expect(actions.contains(.record(JobID(rawValue: id), .succeeded)))
            _ = story.scheduler.handle(.recorded(JobID(rawValue: id)), at: story.now)
        }
        #expect(story.scheduler.liveCount == 0)
        #expect(story.scheduler.keys.keys.isEmpty)
    }

    @Test func `whatever waits counts for the bound of its queue`() {
        var story = Story()
        let later = story.now + .seconds(60)
        _ = story.submit(1) { $0.key = "a" }
        #expect(story.waiting == 0, "what runs does not wait")
        _ = story.submit(2) { $0.key = "a" }
        #expect(story.waiting == 1, "blocked")
        _ = story.submit(3) { $0.notBefore = later }
        #expect(story.waiting == 2, "scheduled")
        _ = story.submit(4)
        #expect(story.waiting == 3, "queued")
        _ = story.tell(.submitted(spec(5)))
        #expect(story.waiting == 4, "on its way to the disk")
        _ = story.tell(.persistFailed(JobID(rawValue: 5)))
        for id in 2...4 as ClosedRange<UInt64> { _ = story.tell(.cancelRequested(JobID(rawValue: id), grace: .zero)) }
        #expect(story.waiting == 0)
    }

    @Test func `names of queues are free again when their jobs are gone`() {
        var story = Story()
        for number in 1...3000 as ClosedRange<UInt64> {
            let isTaken = story.scheduler.depth(forSubmissionTo: "queue-\(number)") != nil
            #expect(isTaken)
            let id = JobID(rawValue: number)
            _ = story.scheduler.handle(.submitted(spec(number) { $0.queue = "queue-\(number)" }), at: story.now)
            _ = story.scheduler.handle(.persisted(id), at: story.now)
            _ = story.scheduler.handle(.attemptEnded(id, grant: 1, .succeeded), at: story.now)
            _ = story.scheduler.handle(.recorded(id), at: story.now)
        }
        #expect(story.scheduler.queueCount <= Scheduler.maximumQueues)
        _ = story.tell(.queuesTidied(idleSince: story.now))
        #expect(story.scheduler.queueNames.isEmpty)
        #expect(story.scheduler.queues.count <= Scheduler.maximumQueues)
    }

    @Test func `a queue is remembered while it holds a job, is paused, or has a bound`() {
        var story = Story()
        _ = story.submit(1) { $0.queue = "busy" }
        _ = story.tell(.queuePaused("paused", true))
        _ = story.tell(.queueLimited("bounded", 5))
        _ = story.tell(.queueLimited("freed", 5))
        _ = story.tell(.queueLimited("freed", nil))
        _ = story.tell(.queuesTidied(idleSince: story.now))
        #expect(Set(story.scheduler.queueNames) == ["busy", "paused", "bounded"])
        let (limit, isPaused) = (story.scheduler.limit(of: "bounded"), story.scheduler.isPaused("paused"))
        #expect(limit == 5)
        #expect(isPaused)
    }

    @Test func `a queue that has just become idle is remembered for a while`() {
        var story = Story()
        story.now = story.now + .seconds(100)
        _ = story.submit(1) { $0.queue = "mail" }
        _ = story.end(1)
        _ = story.tell(.recorded(JobID(rawValue: 1)))
        _ = story.tell(.queuesTidied(idleSince: story.now - .seconds(1)))
        #expect(story.scheduler.queueNames == ["mail"])
    }

    @Test func `a table of jobs shrinks after a peak and loses nothing`() {
        var table = JobTable<Int>()
        for id in 1...100_000 { table[JobID(rawValue: UInt64(id))] = id }
        for id in 1...100_000 where id % 1000 != 0 { table[JobID(rawValue: UInt64(id))] = nil }
        #expect(table.count == 100)
        #expect(table.mask < 8192)
        #expect(Set(table.values) == Set((1...100).map { $0 * 1000 }))
        for id in 1...100_000 { #expect(table[JobID(rawValue: UInt64(id))] == (id % 1000 == 0 ? id : nil)) }
    }

    private func spec(_ id: UInt64, _ change: (inout JobSpec) -> Void = { _ in }) -> JobSpec {
        var spec = JobSpec(id: JobID(rawValue: id), pool: .thread, maxAttempts: 2)
        change(&spec)
        return spec
    }

    private func cancel(_ id: UInt64, _ story: inout Story) {
        let job = JobID(rawValue: id)
        _ = story.scheduler.handle(.cancelRequested(job, grace: .zero), at: story.now)
        _ = story.scheduler.handle(.recorded(job), at: story.now)
    }
}

extension Story {
    fileprivate var waiting: Int? { scheduler.depth(forSubmissionTo: "default")?.waiting }
}
