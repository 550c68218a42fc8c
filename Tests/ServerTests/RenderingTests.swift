import JSON
import Jobs
import Testing

@testable import Server
@testable import Store

/// A record that kills its reader is the worst fault there is: it does so again after every restart.
@Suite struct RenderingTests {
    @Test(arguments: 0..<8) func `any row that can be in the store can be rendered, in every format`(seed: UInt64)
        throws
    {
        var wild = Wild(seed: seed)
        for _ in 0..<250 {
            let record = wild.record()
            let now = wild.instant()
            try expectObject { $0.append(job: record, position: wild.odd(wild.number()), now: now) }
            try expectObject { $0.append(brief: record) }
            for index in 0..<record.events.count {
                try expectObject { $0.append(event: record.events[index], of: record) }
                var frame: [UInt8] = []
                for format in [EventFormat.sse, .ndjson, .log] {
                    format.append(record.events[index], of: record, to: &frame)
                }
            }
            try expectObject {
                $0.append(gapFrom: wild.number(), to: wild.number(), reason: "history dropped", of: record, at: now)
            }
            var header: [UInt8] = []
            record.writeServerTiming(to: &header)
            record.writeLocation(to: &header)
            try expectObject {
                $0.append("{\"time\":")
                $0.append(epoch: record.waitsSince.nanoseconds)
                $0.append("}")
            }
            var groups = ErrorGroups()
            groups.note(record)
            try expectObject { $0.append(errors: groups) }
            Metrics().ended(record)
        }
    }

    @Test(arguments: 0..<8) func `a log answers every question about its events`(seed: UInt64) {
        var wild = Wild(seed: seed)
        for _ in 0..<250 {
            let log = wild.record().events
            var last = 0
            for seq in [Int.min, -1, 0, 1, log.lastShown, log.lastSeq, 1 << 53, .max] {
                let index = log.index(after: seq)
                #expect((0...log.count).contains(index) && index >= last)
                last = index
            }
            _ = (log.firstSeq, log.lastShown, log.unstored.count)
        }
    }

    @Test(arguments: 0..<8) func `what is written as facts is read back, whatever it says`(seed: UInt64) throws {
        var wild = Wild(seed: seed)
        for _ in 0..<250 {
            let record = wild.record()
            let events = record.events.all
            let read = try #require(Facts.readEvents(Facts.text(Facts.write(events))))
            #expect(read == events)
            let outcome = Outcome(
                .failed, of: record, at: wild.instant(), error: record.error, usage: record.usage, cancel: record.cancel
            )
            #expect(Facts.read(Facts.text(Facts.write(outcome)), into: record))
            #expect(record.usage == outcome.usage && record.progress == outcome.progress)
        }
    }

    @Test func `a time is written as it is, from the first that there is to the last`() {
        for (nanoseconds, text) in [
            (Int64.min, "1677-09-21T00:12:43.145Z"), (-1, "1969-12-31T23:59:59.999Z"), (0, "1970-01-01T00:00:00.000Z"),
            (-86_400_000_000_000, "1969-12-31T00:00:00.000Z"), (.max, "2262-04-11T23:47:16.854Z"),
        ] {
            #expect(Instant(nanoseconds: nanoseconds).text == text)
        }
    }

    private func expectObject(_ write: (inout [UInt8]) -> Void) throws {
        var bytes: [UInt8] = []
        write(&bytes)
        #expect(try JSONReader.value(of: bytes).members.isEmpty == false)
    }
}

/// Makes records of everything that their types allow, the ends of every range above all.
private struct Wild {
    private var random: SeededRandom

    init(seed: UInt64) { random = SeededRandom(seed: seed) }

    mutating func number() -> Int {
        let ends = [
            0, 1, -1, .min, .max, .max - 1, 1 << 53, -(1 << 53), 999_999_999, Int(truncatingIfNeeded: random.next()),
        ]
        return ends[Int.random(in: 0..<ends.count, using: &random)]
    }

    mutating func fraction() -> Double {
        let ends = [
            0, -0.0, 1, -1, .infinity, -.infinity, .nan, .greatestFiniteMagnitude, -.greatestFiniteMagnitude,
            .leastNonzeroMagnitude, 1e-300, 1e300, 0.5, Double(bitPattern: random.next()),
        ]
        return ends[Int.random(in: 0..<ends.count, using: &random)]
    }

    mutating func instant() -> Instant { Instant(nanoseconds: Int64(number())) }

    mutating func text() -> String {
        let all = [
            "", "a", "\"\\\n\r\t\u{0}\u{7F}", "é", "e\u{301}", "\u{2028}", "😀", String(repeating: "x", count: 300),
        ]
        return all[Int.random(in: 0..<all.count, using: &random)]
    }

    mutating func odd<Value>(_ value: Value) -> Value? { Bool.random(using: &random) ? value : nil }

    mutating func progress() -> Progress {
        Progress(fraction(), of: odd(fraction()), unit: odd(text()), message: odd(text()))
    }

    mutating func error() -> JobError {
        JobError(
            type: text(), message: text(), traceback: [text(), text()], exitCode: odd(number()), signal: odd(number()))
    }

    private mutating func kind() -> JobEvent.Kind {
        switch Int.random(in: 0..<14, using: &random) {
        case 0: .accepted
        case 1: .queued(position: number())
        case 2: .started(pool: .thread, worker: odd(text()))
        case 3: .progress(progress(), left: odd(Int64(number())))
        case 4: .log(stream: text(), level: Bool.random() ? text() : nil, text: text())
        case 5: .output(Array(#"{"a":[1.0,18446744073709551615]}"#.utf8))
        case 6: .retrying(odd(error()), due: instant())
        case 7: .cancelling
        case 8: .suspended
        case 9: .resumed
        case 10: .succeeded
        case 11: .failed
        case 12: .cancelled
        default: .gap(from: number(), reason: text())
        }
    }

    mutating func record() -> JobRecord {
        let states = JobState.allCases
        let record = JobRecord(
            id: JobID(rawValue: UInt64(bitPattern: Int64(number()))), task: text(), pool: .process, queue: text(),
            priority: number(), maxAttempts: number(), timeout: odd(.nanoseconds(number())), key: odd(text()),
            labels: [(text(), text())], input: Array("{}".utf8), createdAt: instant(), notBefore: odd(instant()),
            poolReason: odd(text()))
        record.state = states[Int.random(in: 0..<states.count, using: &random)]
        record.attempt = number()
        record.progress = odd(progress())
        record.worker = odd(text())
        record.dueAt = odd(instant())
        record.startedAt = odd(instant())
        record.finishedAt = odd(instant())
        if Bool.random(using: &random) { record.result = Array("[1.0]".utf8) }
        record.error = odd(error())
        record.acceptNanoseconds = Int64(number())
        record.endNanoseconds = Int64(number())
        if Bool.random(using: &random) {
            var usage = Usage()
            usage.cpuNanoseconds = Int64(number())
            usage.wallNanoseconds = Int64(number())
            usage.maxRSSBytes = odd(number())
            usage.voluntarySwitches = number()
            usage.involuntarySwitches = number()
            record.usage = usage
        }
        if Bool.random(using: &random) { record.cancel = (.sigkill, .nanoseconds(number())) }
        var events: [JobEvent] = []
        var seq = 0
        for _ in 0..<Int.random(in: 0..<6, using: &random) {
            seq += Int.random(in: 1...3, using: &random)
            events.append(JobEvent(seq: seq, time: instant(), attempt: number(), kind: kind()))
        }
        record.events = EventLog(stored: events, reserved: number(), at: instant())
        return record
    }
}
