import Jobs
import Testing

@testable import Server

@Suite struct SpanLogTests {
    private let second: Int64 = 1_000_000_000

    private func span(_ number: Int, at time: Int64, lane: Int32 = 0, ending: Span.Ending = .succeeded) -> Span {
        Span(
            job: JobID(rawValue: UInt64(number)), lane: lane, task: 0, ending: ending, attempt: 1,
            waitedFrom: time - 20, from: time - 10, to: time, busy: 10)
    }

    @Test func `a reader gets each span once, by its number`() {
        var log = SpanLog()
        for number in 0..<10 { log.append(span(number, at: Int64(number) * 100)) }
        #expect(log.since(7, limit: 100).map(\.job.rawValue) == [7, 8, 9])
        #expect(log.since(10, limit: 100).isEmpty)
    }

    @Test func `what is more than the limit comes joined, and nothing is lost`() {
        var log = SpanLog()
        for number in 0..<1000 {
            log.append(
                span(
                    number, at: Int64(number) * 100, lane: Int32(number % 3),
                    ending: number % 10 == 0 ? .failed : .succeeded))
        }
        let joined = log.since(0, limit: 100)
        #expect(joined.count == 6)
        #expect(joined.reduce(0) { $0 + $1.count } == 1000)
        #expect(joined.reduce(0) { $0 + $1.busy } == 10_000)
        #expect(joined.filter { $0.ending == .failed }.reduce(0) { $0 + $1.count } == 100)
    }

    @Test func `what leaves the ring stays for an hour, joined by the second`() {
        var log = SpanLog()
        let total = SpanLog.single * 3
        for number in 0..<total { log.append(span(number, at: second * 1000 + Int64(number) * 10_000_000)) }
        let end = second * 1000 + Int64(total) * 10_000_000
        let (spans, isJoined) = log.window(0, end, limit: 100_000)
        #expect(isJoined)
        #expect(spans.reduce(0) { $0 + $1.count } == total)
        #expect(spans.count < SpanLog.single + total / 100 + 2)
        // A later second, an hour on, drops what is older.
        log.append(span(total, at: end + 3_700 * second))
        for number in 0..<SpanLog.single {
            log.append(span(number, at: end + 3_700 * second + Int64(number) * second / 100))
        }
        #expect(log.window(0, second * 1000 + 30 * second, limit: 100_000).spans.isEmpty)
    }

    @Test func `a window holds what overlaps it`() {
        var log = SpanLog()
        for number in 1...100 { log.append(span(number, at: Int64(number) * 100)) }
        let (spans, isJoined) = log.window(1000, 1990, limit: 1000)
        #expect(!isJoined)
        #expect(spans.map(\.job.rawValue) == Array(10...20))
        #expect(log.window(0, 10_000, limit: 50).isJoined)
    }

    @Test func `quantiles are at most an eighth off`() {
        var window = LatencyWindow()
        for value in 1...1000 { window.note(Int64(value) * 1_000_000, at: 0) }
        let found = window.quantiles([0.5, 0.99], at: 1)
        #expect(abs(found[0]! - 0.5) < 0.06)
        #expect(abs(found[1]! - 0.99) < 0.12)
        #expect(window.quantiles([0.5], at: 11 * second) == [nil])
    }

    @Test(arguments: [0, 1, 1500, 999_999, 123_456_789_012, Int64.max])
    func `every duration has a bucket`(_ value: Int64) {
        var window = LatencyWindow()
        window.note(value, at: 0)
        #expect(window.quantiles([0.5], at: 1)[0] != nil)
    }
}
