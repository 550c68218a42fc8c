import Testing

@testable import Jobs

/// The wall clock is set while jobs wait and run.
@Suite struct ClockTests {
    let one = JobID(rawValue: 1)
    let hour = Duration.seconds(3600)

    /// The clock is set, and says so.
    private func step(_ story: inout Story, by step: Duration) -> [Action] {
        story.now = story.now + step
        return story.tell(.clockStepped(by: step))
    }

    @Test(arguments: [3600, -3600]) func `a timeout is as far away as before`(seconds: Int) {
        var story = Story()
        story.now = Instant(nanoseconds: 1_000_000_000_000_000)
        _ = story.submit(1) { $0.timeout = .seconds(10) }
        _ = story.begin(1)
        _ = step(&story, by: .seconds(seconds))
        #expect(story.tell(.becameDue).allSatisfy { if case .stop = $0 { false } else { true } })
        story.now = story.now + .seconds(9)
        #expect(story.tell(.becameDue).allSatisfy { if case .stop = $0 { false } else { true } })
        story.now = story.now + .seconds(1)
        #expect(story.tell(.becameDue).contains { if case .stop(one, _, _, .timeout, _) = $0 { true } else { false } })
    }

    @Test func `a time of the day comes when the clock says so`() {
        var story = Story()
        story.now = Instant(nanoseconds: 1_000_000_000_000_000)
        let due = story.now + hour
        _ = story.submit(1) {
            $0.notBefore = due
            $0.followsWall = true
        }
        let actions = step(&story, by: hour + .seconds(1))
        #expect(actions.contains { if case .wake = $0 { true } else { false } }, "it is due at once")
        #expect(started(story.tell(.becameDue)) == [1])
    }

    @Test func `a time of the day that the clock takes away is waited for`() {
        var story = Story()
        story.now = Instant(nanoseconds: 1_000_000_000_000_000)
        let due = story.now + .seconds(10)
        _ = story.submit(1) {
            $0.notBefore = due
            $0.followsWall = true
        }
        _ = step(&story, by: .zero - hour)
        story.now = story.now + .seconds(11)
        #expect(started(story.tell(.becameDue)).isEmpty)
        story.now = due
        #expect(started(story.tell(.becameDue)) == [1])
    }

    @Test(arguments: [3600, -3600]) func `a delay and a retry take as long as before`(seconds: Int) {
        var story = Story(slots: 2)
        story.now = Instant(nanoseconds: 1_000_000_000_000_000)
        let due = story.now + .seconds(10)
        _ = story.submit(1) { $0.notBefore = due }
        _ = story.submit(2) { $0.maxAttempts = 2 }
        _ = story.end(2, .failed(canRetry: true))
        _ = step(&story, by: .seconds(seconds))
        #expect(started(story.tell(.becameDue)).isEmpty)
        story.now = story.now + .seconds(10)
        #expect(started(story.tell(.becameDue)).sorted() == [1, 2])
    }

    @Test func `ids only grow, whatever the clock says`() {
        var source = JobIDSource()
        let before = source.next(at: Instant(nanoseconds: 1_000_000_000_000_000))
        #expect(source.next(at: Instant(nanoseconds: 0)) > before)
    }
}
