import EventLoop
import HTTP
import JSON
import Jobs
import Pools
import Testing

@testable import Server
@testable import Store

/// What readers of a job's events are shown, over any number of ends of the server at any moment.
@Suite struct ReadersPastTests {
    @Test func `what a reader has seen is what the store says, but for gaps, and every reader hears the end`() throws {
        for seed in 0..<400 { try Story(seed: UInt64(seed)).run() }
    }

    @Test func `a server that is killed before it has written anything gives no number twice`() throws {
        let story = try Story(seed: 0)
        story.job.record.attempt = 1
        story.restart()
        story.happen()
        story.read()
        // Numbers of this server are shown only when the disk knows: a second kill finds what the first one has found.
        #expect(story.seen.keys.max() ?? 0 <= EventLog.firstReserve)
        story.restart()
        story.happen()
        story.settle()
        try story.end()
    }

    @Test func `whoever has seen the beginning of a gap goes on behind it`() {
        var log = EventLog(
            stored: [JobEvent(seq: 1, time: Story.time, attempt: 0, kind: .accepted)], reserved: 8, at: Story.time)
        log.append(.cancelling, at: Story.time, attempt: 0)
        #expect(log.all.map(\.seq) == [1, 8, 9])
        for (seq, place) in [(0, 0), (1, 1), (2, 1), (6, 1), (7, 1), (8, 2), (9, 3), (10, 3), (-5, 0), (.max, 3)] {
            #expect(log.index(after: seq) == place, "after \(seq)")
        }
        #expect(log.lastShown == 8)
    }
}

/// One job with its events, its disk and its readers; the server that holds it ends whenever chance wants.
private final class Story {
    static let time = Instant(nanoseconds: 1_790_000_000_000_000_000)
    private let loop: EventLoop
    private let registry: TaskRegistry
    private let streams: Streams
    private let disk = ModelDisk()
    private var historian: Historian
    private var journal: Journal
    private var random: SeededRandom
    private let id = JobID(rawValue: 1 << 40)
    private(set) var job: LiveJob
    /// All that any reader was shown, by number; a gap counts for its last number.
    private(set) var seen: [Int: JobEvent.Kind] = [:]
    /// How far each reader has come; -1: it has heard the end.
    private var cursors = [0, 0, 0]

    init(seed: UInt64) throws {
        loop = try EventLoop()
        random = SeededRandom(seed: seed &* 77 &+ 1)
        let schema = try JSONSchema(JSONReader.value(of: Array("{}".utf8)))
        registry = TaskRegistry([
            TaskDefinition(
                name: "t", kind: .cpu, description: "", input: schema, output: nil, pools: [.thread],
                body: .command(CommandDefinition(argv: ["true"])))
        ])
        streams = Streams(limits: Limits(), on: loop)
        journal = Journal(disk, on: loop)
        historian = Historian(journal, streams, on: loop)
        job = LiveJob(Self.record(id), registry["t"]!)
        job.record.events.reserved = EventLog.firstReserve
        job.isAccepted = true
        job.record.events.append(.accepted, at: Self.time, attempt: 0)
        connect()
    }

    private static func record(_ id: JobID) -> JobRecord {
        JobRecord(
            id: id, task: "t", pool: .thread, queue: "default", priority: 0, maxAttempts: 3, timeout: nil, key: nil,
            labels: [], input: [], createdAt: time)
    }

    private func connect() {
        journal.settle = { [unowned self] waiting, receipt in
            if case .history(_, let reserved) = waiting, receipt == .stored {
                historian.stored(job, reserved: reserved)
            }
        }
    }

    func run() throws {
        for _ in 0..<(random.below(60) + 5) {
            switch random.below(9) {
            case 0...2: happen()
            case 3...4: read()
            case 5: historian.write()
            case 6: disk.sync(random.below(3))
            case 7: settle()
            default: restart()
            }
        }
        try end()
    }

    /// Something happens to the job, or much at once.
    func happen() {
        job.record.attempt = max(job.record.attempt, 1)
        for _ in 0..<(random.below(12) == 0 ? 600 : 1) {
            let text = String(random.next() % 1_000_000)
            job.record.events.append(.log(stream: "stdout", level: nil, text: text), at: Self.time, attempt: 1)
            historian.note(job)
        }
    }

    func settle() {
        historian.look(at: job)
        historian.endTurn()
        historian.write()
        disk.sync(.max)
    }

    /// Some reader takes what may be shown.
    func read() {
        historian.look(at: job)
        historian.endTurn()
        let reader = random.below(cursors.count)
        take(reader, job.record.events)
    }

    private func take(_ reader: Int, _ log: EventLog) {
        let cursor = cursors[reader]
        guard cursor >= 0, cursor < log.lastShown else { return }
        if cursor + 1 < log.firstSeq { cursors[reader] = min(log.firstSeq - 1, log.lastShown) }
        for index in log.index(after: cursors[reader])..<log.index(after: log.lastShown) {
            let event = log[index]
            #expect(event.seq > cursors[reader], "twice")
            if case .gap(let from, _) = event.kind {
                #expect(from <= cursors[reader] + 1, "a hole before a gap")
            } else {
                #expect(event.seq == cursors[reader] + 1, "a hole")
                if let before = seen[event.seq] { #expect(before == event.kind, "number \(event.seq) given twice") }
                seen[event.seq] = event.kind
            }
            cursors[reader] = event.seq
        }
    }

    /// The server ends as by a power cut, and another finds what the disk has.
    func restart() {
        disk.cut()
        let record = Self.record(id)
        record.attempt = job.record.attempt
        let accepted = [JobEvent(seq: 1, time: Self.time, attempt: 0, kind: .accepted)]
        let found = disk.events
        record.events = EventLog(stored: found.isEmpty ? accepted : found, reserved: disk.reserved, at: Self.time)
        if found.isEmpty { record.events.lastStored = 0 }
        job = LiveJob(record, registry["t"]!)
        job.isAccepted = true
        job.hasHistory = record.events.lastStored > 0
        journal = Journal(disk, on: loop)
        historian = Historian(journal, streams, on: loop)
        connect()
    }

    /// The job ends, on disk, and everybody reads to the end; then all is compared with what the disk says.
    func end() throws {
        let outcome = Outcome(.succeeded, of: job.record, at: Self.time)
        job.record.apply(outcome)
        // As it is written, and read again by whoever looks later.
        let text = String(decoding: Facts.write(job.record.events.all), as: UTF8.self)
        let log = EventLog(stored: try #require(Facts.readEvents(text)))
        for reader in cursors.indices {
            take(reader, random.below(2) == 0 ? job.record.events : log)
            #expect(cursors[reader] == log.lastSeq, "never heard the end")
        }
        for (seq, kind) in seen {
            let index = log.index(after: seq - 1)
            guard index < log.count else { continue }
            let event = log[index]
            if event.seq == seq {
                if case .gap = event.kind { continue }
                #expect(event.kind == kind, "the store says something else of number \(seq)")
            } else if case .gap(let from, _) = event.kind {
                #expect(from <= seq, "no gap over number \(seq)")
            } else {
                #expect(seq < log.firstSeq, "the store knows nothing of number \(seq)")
            }
        }
    }
}

/// A disk that keeps what it was told to keep and forgets the rest at a power cut.
private final class ModelDisk: TestStore {
    private(set) var events: [JobEvent] = []
    private(set) var reserved = EventLog.firstReserve
    private var waiting: [Change] = []
    private var number = 0

    var receive: ([(number: Int, receipt: Receipt)]) -> Void = { _ in }

    func write(_ change: Change) -> Receipt? {
        waiting.append(change)
        return nil
    }

    /// Keeps the first `count` changes that wait.
    func sync(_ count: Int) {
        for _ in 0..<min(count, waiting.count) {
            if case .happened(_, let new, let reserved) = waiting.removeFirst() {
                events += new
                self.reserved = reserved
            }
            number += 1
            receive([(number - 1, .stored)])
        }
    }

    func cut() {
        waiting = []
        number = 0
    }
}
