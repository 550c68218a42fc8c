import JSON
import Jobs
import Pools
import Testing

@testable import Server
@testable import Store

/// Lists, against a model that looks at every job.
@Suite struct JobListsTests {
    @Test(arguments: 0..<3)
    func `a list of live jobs has what a look at every one of them finds, whatever is asked`(_ seed: Int) throws {
        let crowd = try Crowd(seed: UInt64(seed), jobs: 5000)
        for round in 0..<5 {
            crowd.mill(about: 800)
            for _ in 0..<40 {
                let query = crowd.anyQuery()
                let found = crowd.live.newest(query)
                #expect(found.jobs.map(\.id) == crowd.expected(query).prefix(query.limit).map(\.id))
            }
            #expect(crowd.countsAgree(), "of each task, in round \(round)")
        }
    }

    @Test func `jobs that stay keep no memory of those that came and went beside them`() throws {
        let crowd = try Crowd(seed: 7, jobs: 0)
        for number in 0..<20_000 {
            let job = crowd.accept(labels: [])
            if number % 100 > 0 { crowd.end(job) }
        }
        #expect(crowd.live.count == 200)
        #expect(crowd.live.rows <= 8 * 200 + 2 * RollPage.capacity)
        while let job = crowd.all.last { crowd.end(job) }
        #expect(crowd.live.rows == 0)
    }

    @Test func `jobs whose labels only look alike cost a page its length, not the list a job`() throws {
        let crowd = try Crowd(seed: 3, jobs: 0)
        let names = (0..<32).map { (name: "l\($0)", value: "x") }
        for number in 0..<24_000 { crowd.accept(labels: number == 100 ? names + [("wanted", "1")] : names) }
        var filter = JobFilter()
        filter.labels = [("l0", "x"), ("wanted", "1")]
        var (found, pages, cursor) = ([JobID](), 0, JobID?.none)
        repeat {
            let page = crowd.live.newest(JobQuery(filter, before: cursor, limit: 10))
            (found, cursor, pages) = (found + page.jobs.map(\.id), page.resume, pages + 1)
        } while cursor != nil
        #expect(found == crowd.expected(JobQuery(filter, limit: 10)).map(\.id))
        #expect(found.count == 1)
        #expect(pages < 4)
    }

    @Test(arguments: 0..<12)
    func `over all pages a job that matches all the while is there once, whatever happens meanwhile`(_ seed: Int) throws
    {
        let crowd = try Crowd(seed: UInt64(seed), jobs: 200)
        for _ in 0..<4 { crowd.readWhileMilling() }
    }
}

/// Live jobs, their store and their lists, and a model of them.
private final class Crowd {
    private static let states: [JobState] = [.scheduled, .blocked, .queued, .running, .suspended, .cancelling]
    private static let time = Instant(nanoseconds: 1_790_000_000_000_000_000)

    var live = LiveJobs()
    /// Accepted, in the order of their ids.
    private(set) var all: [LiveJob] = []
    private let registry: TaskRegistry
    private let store = SlowStore()
    private let lists: JobLists
    private var random: SeededRandom
    private var lastID: UInt64 = 1 << 40
    /// On their way to the disk, when another one is there already.
    private var late: [LiveJob] = []
    /// Their end is on disk, and nobody has heard of it.
    private var unheard: [LiveJob] = []

    init(seed: UInt64, jobs: Int) throws {
        random = SeededRandom(seed: seed &* 77 &+ 1)
        let schema = try JSONSchema(JSONReader.value(of: Array("{}".utf8)))
        registry = TaskRegistry(
            ["a", "b", "c"].map {
                TaskDefinition(
                    name: $0, kind: .cpu, description: "", input: schema, output: nil, pools: [.thread, .process],
                    body: .command(CommandDefinition(argv: ["true"])))
            })
        lists = JobLists(store)
        lists.live = { [unowned self] in live.newest($0) }
        for _ in 0..<jobs { accept() }
    }

    // MARK: What happens

    @discardableResult
    func accept(labels: [(name: String, value: String)]? = nil) -> LiveJob {
        lastID += UInt64(random.below(3)) + 1
        let record = JobRecord(
            id: JobID(rawValue: lastID), task: ["a", "b", "c"][random.below(3)],
            pool: random.below(3) == 0 ? .process : .thread, queue: "q\(random.below(4))", priority: 0, maxAttempts: 1,
            timeout: nil, key: nil,
            labels: labels ?? (random.below(5) == 0 ? [("customer", "\(random.below(3))"), ("of", "x")] : []),
            input: [],
            createdAt: Self.time)
        let job = LiveJob(record, registry[record.task]!)
        live.add(job)
        guard labels == nil, random.below(20) == 0 else {
            enter(job)
            return job
        }
        late.append(job)
        return job
    }

    private func enter(_ job: LiveJob) {
        live.accept(job)
        all.insert(job, at: place(of: job))
    }

    private func place(of job: LiveJob) -> Int {
        var (low, high) = (0, all.count)
        while low < high {
            let middle = (low + high) / 2
            if all[middle].record.id < job.record.id { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func end(_ job: LiveJob) {
        if let index = late.firstIndex(where: { $0 === job }) { enter(late.remove(at: index)) }
        storeEnd(of: job)
        hearEnd(of: job)
    }

    private func storeEnd(of job: LiveJob) {
        let copy = JobRecord(
            id: job.record.id, task: job.record.task, pool: job.record.pool, queue: job.record.queue, priority: 0,
            maxAttempts: 1, timeout: nil, key: nil, labels: job.record.labels, input: [], createdAt: Self.time)
        copy.state = random.below(3) == 0 ? .failed : .succeeded
        store.finished[copy.id] = copy
    }

    private func hearEnd(of job: LiveJob) {
        job.record.state = store.finished[job.record.id]!.state
        live.remove(job.record.id)
        all.remove(at: place(of: job))
        lists.left(job.record)
    }

    func mill(about steps: Int) {
        for _ in 0..<steps {
            switch random.below(8) {
            case 0...1: accept()
            case 2: if let job = late.popLast() { enter(job) }
            case 3: if let job = unheard.popLast() { hearEnd(of: job) }
            case 4...5:
                guard let job = anybody() else { continue }
                job.record.state = Self.states[random.below(6)]
                live.changed(job)
            default:
                guard let job = anybody() else { continue }
                storeEnd(of: job)
                if random.below(2) == 0 { hearEnd(of: job) } else { unheard.append(job) }
            }
        }
    }

    private func anybody() -> LiveJob? {
        guard !all.isEmpty else { return nil }
        let job = all[random.below(all.count)]
        return unheard.contains { $0 === job } ? nil : job
    }

    // MARK: What is asked

    func anyQuery() -> JobQuery {
        var filter = JobFilter()
        for _ in 0..<random.below(4) { filter.states.insert(JobState.allCases[random.below(9)]) }
        if random.below(3) == 0 { filter.task = ["a", "b", "none"][random.below(3)] }
        if random.below(3) == 0 { filter.queue = "q\(random.below(5))" }
        if random.below(4) == 0 { filter.pool = .process }
        if random.below(4) == 0 { filter.labels = [("customer", "\(random.below(4))")] }
        let before =
            random.below(2) == 0 ? nil : JobID(rawValue: 1 << 40 + UInt64(random.below(Int(lastID - 1 << 40) + 2)))
        return JobQuery(filter, before: before, limit: [1, 7, 50, 501][random.below(4)])
    }

    func expected(_ query: JobQuery) -> [JobRecord] {
        all.reversed().map(\.record).filter { record in
            query.filter.matches(record) && query.before.map { record.id < $0 } ?? true
        }
    }

    func countsAgree() -> Bool {
        registry.all.allSatisfy { entry in
            let jobs = all.filter { $0.entry === entry }
            let waiting = jobs.count { [.scheduled, .blocked, .queued].contains($0.record.state) }
            return entry.waiting == waiting && entry.running == jobs.count - waiting
        }
    }

    /// Reads one list to its end, page by page, while things happen.
    func readWhileMilling() {
        var query = anyQuery()
        query.before = nil
        query.limit = [2, 9, 40][random.below(3)]
        var always = Set(matching(query.filter))
        var (seen, pages) = ([JobID](), 0)
        repeat {
            var answer: JobPage?
            lists.list(query) { answer = try? $0.get() }  // this store answers always
            while answer == nil {
                mill(about: random.below(12))
                always.formIntersection(matching(query.filter))
                store.goOn(random.below(3))
            }
            #expect(answer!.jobs.count <= query.limit)
            seen += answer!.jobs.map(\.id)
            query.before = answer!.resume
            pages += 1
        } while query.before != nil && pages < 10_000
        #expect(pages < 10_000)
        #expect(Set(seen).count == seen.count)
        #expect(seen == seen.sorted(by: >))
        #expect(always.isSubset(of: seen), "\(query.filter), \(always.subtracting(seen))")
    }

    /// Of those that others can know: what is on disk and not heard of is still live.
    private func matching(_ filter: JobFilter) -> [JobID] {
        let hidden = Set(unheard.map(\.record.id))
        return all.map(\.record).filter { filter.matches($0) && (!hidden.contains($0.id) || filter.states.isEmpty) }
            .map(\.id) + store.finished.values.filter { filter.matches($0) && !hidden.contains($0.id) }.map(\.id)
    }
}

/// Answers a list when it is told to, with what it had some time before.
private final class SlowStore: TestStore {
    var finished: [JobID: JobRecord] = [:]
    private var reads: [(query: JobQuery, page: JobPage?, then: (Result<JobPage, StoreFailure>) -> Void)] = []

    func list(_ query: JobQuery, _ then: @escaping (Result<JobPage, StoreFailure>) -> Void) {
        if !query.filter.states.isEmpty, !query.filter.states.contains(where: \.isFinal) {
            return then(.success(JobPage([], resume: nil)))
        }
        reads.append((query, nil, then))
    }

    /// A read begins, with what the disk has at that moment, or ends.
    func goOn(_ what: Int) {
        guard !reads.isEmpty else { return }
        let query = reads[0].query
        if reads[0].page == nil {
            var jobs = finished.values.filter { record in
                query.filter.matches(record) && query.before.map { record.id < $0 } ?? true
            }.sorted { $0.id > $1.id }
            let more = jobs.count > query.limit
            if more { jobs.removeSubrange(query.limit...) }
            reads[0].page = JobPage(jobs, resume: more ? jobs.last?.id : nil)
        } else if what > 0 {
            let read = reads.removeFirst()
            read.then(.success(read.page!))
        }
    }

    var receive: ([(number: Int, receipt: Receipt)]) -> Void = { _ in }
    subscript(id: JobID) -> JobRecord? { finished[id] }
}
