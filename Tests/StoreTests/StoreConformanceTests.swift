import Jobs
import Testing

@testable import Store

/// What every store must do.
@Suite struct StoreConformanceTests {
    @Test(arguments: StoreKind.allCases)
    func `a finished job is found with all that is known of it`(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        for state in [JobState.succeeded, .failed, .cancelled] {
            let job = bench.job()
            job.progress = Progress(0.5, of: 2, unit: "px", message: "ü")
            job.log.append(line: "hello")
            bench.finish(job, state)
            let found = try #require(try bench.find(job.id))
            #expect(found.state == state)
            #expect(found.result == job.result)
            #expect(found.error == job.error)
            #expect(found.cancel?.how == job.cancel?.how)
            #expect(found.events.all == job.events.all)
            #expect(found.log.read(from: 0, limit: 100).bytes.elementsEqual("hello\n".utf8))
            #expect(found.input == job.input)
        }
        #expect(try bench.find(JobID(rawValue: 1)) == nil)
    }

    @Test(arguments: StoreKind.allCases)
    func `the list has every job once, newest first, page by page, under every filter`(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        var all: [JobRecord] = []
        for number in 0..<60 {
            let job = bench.job(
                number % 3 == 0 ? "primes" : "squares", queue: number % 2 == 0 ? "a" : "b", milliseconds: number)
            bench.finish(job, number % 5 == 0 ? .failed : .succeeded)
            all.insert(job, at: 0)
        }
        var filters = [JobFilter(), JobFilter(), JobFilter(), JobFilter()]
        filters[1].task = "primes"
        filters[2].states = [.failed]
        filters[3].queue = "b"
        filters[3].states = [.failed, .cancelled, .succeeded]
        for filter in filters {
            var seen: [JobID] = []
            var cursor: JobID?
            repeat {
                let page = try bench.list(JobQuery(filter, before: cursor, limit: 7))
                #expect(page.jobs.count <= 7)
                seen += page.jobs.map(\.id)
                cursor = page.resume
            } while cursor != nil
            #expect(seen == all.filter(filter.matches).map(\.id))
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `a key is used once, and says for which job`(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        let (one, two) = (bench.job(), bench.job())
        let identity = Identity(key: "k", fingerprint: [1, 2])
        #expect(bench.write(.submitted(one, attempt: 0, identity)) == [.stored])
        bench.store.note(identity, one.id, at: bench.start)
        #expect(bench.write(.submitted(two, attempt: 0, identity)) == [.duplicate(of: one.id, isSame: true)])
        let other = Identity(key: "k", fingerprint: [3])
        #expect(bench.write(.submitted(two, attempt: 0, other)) == [.duplicate(of: one.id, isSame: false)])
    }

    @Test(arguments: StoreKind.allCases)
    func `what ended first is forgotten first, by age`(_ kind: StoreKind) throws {
        var retention = Retention()
        retention.age = .seconds(60)
        let bench = try StoreBench(kind, retention)
        let (old, new) = (bench.job(), bench.job(milliseconds: 1))
        bench.finish(old)
        bench.finish(new, after: .seconds(50))
        bench.store.tick(at: bench.start + .seconds(70))
        var left: [JobID] = []
        for _ in 0..<1000 where left != [new.id] {
            bench.write(.reached(nil))
            left = try bench.list(JobQuery(limit: 10)).jobs.map(\.id)
        }
        #expect(left == [new.id])
    }
}

/// What a store must do that survives.
@Suite struct DurableStoreTests {
    @Test(arguments: StoreKind.durable)
    func `live jobs come back as they stood`(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        let due = bench.start + .seconds(30)
        let waiting = bench.job(notBefore: due)
        let running = bench.job()
        let retrying = bench.job(maxAttempts: 3)
        let cancelled = bench.job()
        bench.write(
            .submitted(waiting, attempt: 0, nil), .submitted(running, attempt: 0, nil),
            .started(running.id, attempt: 1, grant: 1, at: bench.start), .submitted(retrying, attempt: 1, nil),
            .requeued(retrying.id, Tally(attempt: 1, crashes: 1), grant: 1, due: due),
            .submitted(cancelled, attempt: 0, nil),
            .cancelRequested(cancelled.id))
        _ = try bench.reopen()
        let found = try bench.left()
        // What has run comes first.
        #expect(found.map(\.record.id) == [running.id, retrying.id, waiting.id, cancelled.id])
        #expect(
            found.map(\.remains) == [
                Remains(Tally(attempt: 1), grant: 1, wasRunning: true),
                Remains(Tally(attempt: 1, crashes: 1), grant: 1), Remains(), Remains(wasCancelled: true),
            ])
        #expect(found[2].record.dueAt == due && found[1].record.dueAt == due)
        #expect(found[0].record.labels.first?.value == "\"me\"")
        #expect(found[0].record.timeout == .seconds(30))
        #expect(try bench.reopen().lastID == cancelled.id)
    }

    @Test(arguments: StoreKind.durable)
    func `an end of an attempt that is not current is refused`(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        let job = bench.job(maxAttempts: 3)
        bench.write(
            .submitted(job, attempt: 1, nil), .requeued(job.id, Tally(attempt: 1), grant: 1, due: bench.start),
            .started(job.id, attempt: 2, grant: 2, at: bench.start))
        job.attempt = 1
        let late = Outcome(.succeeded, of: job, at: bench.start)
        #expect(bench.write(.ended(job, late, grant: 1, hasHistory: false)) == [.stale])
        #expect(bench.write(.started(job.id, attempt: 2, grant: 2, at: bench.start)) == [.stale])
        job.attempt = 2
        let end = Outcome(.succeeded, of: job, at: bench.start)
        #expect(bench.write(.ended(job, end, grant: 2, hasHistory: false)) == [.stored])
        #expect(bench.write(.ended(job, end, grant: 2, hasHistory: false)) == [.stale])
        #expect(try bench.find(job.id)?.attempt == 2)
    }

    @Test(arguments: StoreKind.durable)
    func `events survive, and no number that a client may have seen is given twice`(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        let job = bench.job()
        let progress = Progress(1, of: 4)
        for kind in [.accepted, .queued(position: 1), .progress(progress, left: 1_500_000), .output(Array("1.0".utf8))]
            as [JobEvent.Kind]
        {
            job.events.append(kind, at: bench.start, attempt: 1)
        }
        bench.write(.submitted(job, attempt: 1, nil), .happened(job.id, job.events.all, reserved: 260))
        _ = try bench.reopen()
        var log = try #require(try bench.left().first).record.events
        #expect(Array(log.all.prefix(4)) == job.events.all)
        #expect(log.all.last?.kind == .gap(from: 5, reason: "server restarted"))
        log.append(.cancelling, at: bench.start, attempt: 1)
        #expect(log.lastSeq == 261)
        #expect(log.index(after: 4) == 4 && log.index(after: 100) == 4 && log.index(after: 260) == 5)
    }

    @Test(arguments: StoreKind.durable)
    func `a key outlives the server`(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        let job = bench.job()
        let identity = Identity(key: "k", fingerprint: [1, 2])
        bench.write(.submitted(job, attempt: 0, identity))
        _ = try bench.reopen()
        #expect(bench.store.earlier(identity) == nil)
        #expect(bench.write(.submitted(bench.job(), attempt: 0, identity)) == [.duplicate(of: job.id, isSame: true)])
    }

    @Test(arguments: StoreKind.durable)
    func `no more finished jobs are kept than asked for`(_ kind: StoreKind) throws {
        var retention = Retention()
        retention.jobs = 5
        let bench = try StoreBench(kind, retention)
        for number in 0..<3 { bench.finish(bench.job(milliseconds: number)) }
        _ = try bench.reopen()
        for number in 3..<9 { bench.finish(bench.job(milliseconds: number), after: .milliseconds(number)) }
        var left = 9
        for _ in 0..<1000 where left > 5 {
            bench.store.tick(at: bench.start)
            bench.write(.reached(nil))
            left = try bench.list(JobQuery(limit: 20)).jobs.count
        }
        #expect(left == 5)
    }

    @Test func `a store has one owner`() throws {
        let bench = try StoreBench(.sqlite)
        #expect(throws: StoreFailure.self) {
            try SQLiteStore(bench.path, Retention(), on: bench.loop) { _ in }
        }
    }

    @Test func `an attempt that never began is taken back with the epoch, but not its grant, and no other one`() throws
    {
        let bench = try StoreBench(.sqlite)
        _ = try bench.reopen()
        let (unbegun, running, ahead) = (bench.job(), bench.job(), bench.job(maxAttempts: 3))
        bench.write(
            .submitted(unbegun, attempt: 1, nil), .submitted(running, attempt: 1, nil),
            .submitted(ahead, attempt: 1, nil))
        // Of one that has been given another place since, what is known of the first says nothing.
        bench.write(
            .requeued(ahead.id, Tally(attempt: 1), grant: 1, due: bench.start),
            .started(ahead.id, attempt: 2, grant: 2, at: bench.start))
        _ = try bench.reopen(takingBack: [(unbegun.id, 1), (ahead.id, 1), (JobID(rawValue: 1), 1)])
        let left = Dictionary(try bench.left().map { ($0.record.id, $0) }) { first, _ in first }
        #expect(left[unbegun.id]?.remains == Remains(Tally(), grant: 1))
        #expect(left[unbegun.id]?.record.startedAt == nil)
        #expect(left[running.id]?.remains == Remains(Tally(attempt: 1), grant: 1, wasRunning: true))
        #expect(left[ahead.id]?.remains == Remains(Tally(attempt: 2), grant: 2, wasRunning: true))
    }

    @Test func `children and the name of the store are known to the next server`() throws {
        let bench = try StoreBench(.sqlite)
        let first = try bench.reopen()
        bench.write(
            .childStarted(ChildMark(pid: 7, startedAt: 70)), .childStarted(ChildMark(pid: 8, startedAt: 80)),
            .childEnded(pid: 7))
        let second = try bench.reopen()
        let predecessor = try #require(bench.predecessor)
        #expect(predecessor.children == [ChildMark(pid: 8, startedAt: 80)])
        #expect(predecessor.name == first.name && predecessor.epoch == first.epoch && predecessor.wasClean)
        #expect(second.name == first.name && second.epoch == first.epoch + 1 && second.wasClean)
    }
}
