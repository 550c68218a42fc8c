import EventLoop
import Glibc
import Jobs
import Testing

@testable import Store

/// The stores that must all behave alike; a further one joins by a line here.
enum StoreKind: CaseIterable {
    case memory, sqlite

    static let durable = allCases.filter { $0 != .memory }
}

/// One store on a loop of its own, with a directory that goes away with it.
final class StoreBench {
    private static let patience = Duration.seconds(20)

    let loop: EventLoop
    let directory: String
    private(set) var store: any JobStore
    private let kind: StoreKind
    private let retention: Retention
    private var receipts: [Int: Receipt] = [:]
    private var written = 0
    private var ids = JobIDSource()
    let start = Instant(nanoseconds: 1_790_000_000_000_000_000)

    init(_ kind: StoreKind, _ retention: Retention = Retention()) throws {
        self.kind = kind
        self.retention = retention
        loop = try EventLoop()
        loop.adopt()
        var template = Array("/tmp/spindle-store-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        store = MemoryStore(retention)
        try open()
    }

    deinit {
        // What it still has to do finds its files.
        store.receive = { _ in }
        var isClosed = false
        store.close(inOrder: false) { [loop] in
            isClosed = true
            loop.stop()
        }
        run { isClosed }
        for name in ["", "-wal", "-shm", ".lock", ".reserve"] { unlink("\(path)\(name)") }
        rmdir(directory)
    }

    var path: String { "\(directory)/jobs.db" }

    private func open() throws {
        switch kind {
        case .memory: store = MemoryStore(retention)
        case .sqlite:
            store = try SQLiteStore(path, retention, on: loop) { Issue.record("the store failed: \($0)") }
        }
        receipts = [:]
        written = 0
        store.receive = { [unowned self] new in
            for (number, receipt) in new { receipts[number] = receipt }
            loop.stop()
        }
    }

    /// Who had the store before it was opened again.
    private(set) var predecessor: Predecessor?

    /// Closes the store in order and opens it again; what it found then.
    func reopen(takingBack unbegun: [(job: JobID, grant: Int)] = []) throws -> Found {
        var isClosed = false
        store.close(inOrder: true) { [loop] in
            isClosed = true
            loop.stop()
        }
        run { isClosed }
        store = MemoryStore()
        try open()
        let store = try #require(store as? SQLiteStore)
        predecessor = try store.predecessor(boot: "boot")
        return try store.begin(boot: "boot", name: "name", takingBack: unbegun)
    }

    /// What an earlier server has left, in the order in which it comes.
    func left() throws -> [LeftJob] {
        var found: [LeftJob] = []
        var end: Result<Void, StoreFailure>?
        let reading = try #require(store as? SQLiteStore).readLeft(at: start) { _ in
        } take: {
            found += $0
        } done: { [loop] in
            end = $0
            loop.stop()
        }
        run { end != nil }
        withExtendedLifetime(reading) {}
        try end?.get()
        return found
    }

    /// Writes changes and waits for their receipts.
    @discardableResult
    func write(_ changes: Change...) -> [Receipt] { write(changes) }

    @discardableResult
    func write(_ changes: [Change]) -> [Receipt] {
        var answers: [Receipt?] = []
        var numbers: [Int] = []
        for change in changes {
            if let receipt = store.write(change) {
                answers.append(receipt)
            } else {
                answers.append(nil)
                numbers.append(written)
                written += 1
            }
        }
        store.flush()
        run { numbers.allSatisfy { receipts[$0] != nil } }
        var next = numbers.makeIterator()
        return answers.map { $0 ?? receipts[next.next()!]! }
    }

    /// Turns the loop until something holds.
    func run(until holds: () -> Bool) {
        var isLate = false
        let deadline = Deadline(after: Self.patience, on: loop) { [loop] in
            isLate = true
            loop.stop()
        }
        while !holds(), !isLate { loop.run() }
        if isLate { Issue.record("the store did not answer") }
        withExtendedLifetime(deadline) {}
    }

    func find(_ id: JobID) throws -> JobRecord? {
        var found: Result<JobRecord?, StoreFailure>?
        store.find(id) { [loop] in
            found = $0
            loop.stop()
        }
        run { found != nil }
        return try found!.get()
    }

    func list(_ query: JobQuery) throws -> JobPage {
        var found: Result<JobPage, StoreFailure>?
        store.list(query) { [loop] in
            found = $0
            loop.stop()
        }
        run { found != nil }
        return try found!.get()
    }

    // MARK: Jobs

    func job(
        _ task: String = "squares", queue: String = "default", maxAttempts: Int = 1, notBefore: Instant? = nil,
        milliseconds: Int = 0
    ) -> JobRecord {
        let now = start + .milliseconds(milliseconds)
        return JobRecord(
            id: ids.next(at: now), task: task, pool: .thread, queue: queue, priority: 3, maxAttempts: maxAttempts,
            timeout: .seconds(30), key: nil, labels: [("who", "\"me\"")], input: Array(#"{"n" : 1e2}"#.utf8),
            createdAt: now, notBefore: notBefore)
    }

    /// A job from its submission to its end.
    @discardableResult
    func finish(_ record: JobRecord, _ state: JobState = .succeeded, after delay: Duration = .zero) -> Receipt {
        record.events.append(.accepted, at: record.createdAt, attempt: 0)
        record.attempt = 1
        record.startedAt = record.createdAt
        record.events.append(.started(pool: .thread, worker: "t1"), at: record.createdAt, attempt: 1)
        let outcome = Outcome(
            state, of: record, at: record.createdAt + delay, result: state == .succeeded ? Array("[1]".utf8) : [],
            error: state == .failed ? JobError(type: "E", message: "m", traceback: ["a\n"], exitCode: 3) : nil,
            usage: Usage(), cancel: state == .cancelled ? (.sigkill, .milliseconds(7)) : nil)
        let receipts = write(
            .submitted(record, attempt: 1, nil), .ended(record, outcome, grant: 1, hasHistory: false))
        guard receipts[1] == .stored else { return receipts[1] }
        record.apply(outcome)
        store.keep(record)
        return receipts[0]
    }
}

extension StoreBench {
    /// Jobs that come with a text and end with it, in one go.
    func finish(_ records: [JobRecord], each text: [UInt8]) {
        let changes = records.flatMap { record -> [Change] in
            record.attempt = 1
            record.startedAt = record.createdAt
            let outcome = Outcome(.succeeded, of: record, at: record.createdAt, result: text, usage: Usage())
            return [.submitted(record, attempt: 1, nil), .ended(record, outcome, grant: 1, hasHistory: false)]
        }
        let receipts = write(changes)
        #expect(receipts.allSatisfy { $0 == .stored })
    }
}
