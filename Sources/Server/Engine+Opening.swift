import EventLoop
import Glibc
import Jobs
import Logging
import Pools
import Store

extension Engine {
    /// How long children of an earlier server may take to die, in seconds.
    private static let orphanPatience = 2.0
    /// How long a start waits for its jobs before it listens.
    private static let headStart = Duration.milliseconds(300)

    /// An engine with its store: what an earlier server has left is found, what it ran is dead, and its jobs go on.
    static func opened(
        _ options: ServerOptions, tasks: [TaskDefinition], on loop: EventLoop, logger: Logger
    ) throws -> Engine {
        guard case .file(let path) = options.store else {
            let engine = try Engine(
                options, tasks: tasks, MemoryStore(options.retention), on: loop, logger: logger)
            try engine.awaitFleets()
            return engine
        }
        let store = try SQLiteStore(
            path, options.retention, on: loop, waitingForOwner: options.storePatience
        ) { failure in
            // Nothing may be answered after this: not even what is already on its way to the loop.
            StoreFailure.end(failure)
        }
        let boot = bootID()
        let predecessor = try store.predecessor(boot: boot)
        // Only when nothing of it runs any more, it is certain what never began.
        let isGone = predecessor.map { endOrphans($0, logger) } ?? true
        let found = try store.begin(
            boot: boot, name: String(UInt64.random(in: 0...UInt64.max), radix: 36),
            takingBack: isGone ? unbegun(predecessor, in: store) : [])
        var options = options
        options.owner = found.name
        let owner = StartList.Owner(store: found.name, path: store.path, epoch: found.epoch)
        StartList.clear(before: owner)
        options.starts = StartList(of: owner)
        let controls = try store.controls()
        for case .poolResized(let pool, let slots) in controls { options.resized[pool] = slots }
        let engine = try Engine(options, tasks: tasks, store, lastID: found.lastID, on: loop, logger: logger)
        let restoration = Restoration(store, for: engine)
        engine.restoration = restoration
        try engine.awaitFleets()
        engine.apply(controls)
        engine.awaitJobs(restoration) {
            if let inspection = store.inspection { look(further: inspection, logger) }
            guard restoration.restored > 0 || !found.wasClean else { return }
            logger.notice(
                "the store's jobs go on",
                metadata: [
                    "live": "\(restoration.restored)", "ran": "\(restoration.ran)", "clean": "\(found.wasClean)",
                    "epoch": "\(found.epoch)", "seconds": "\(restoration.seconds)",
                ])
        }
        return engine
    }

    /// Looks for damage in what the start had no time to look at, beside everything else.
    private static func look(further inspection: Inspection, _ logger: Logger) {
        let isStarted = startThread(named: "store-check") {
            if let why = inspection.run() {
                logger.warning("the store was not looked at to its end", metadata: ["why": "\(why)"])
            } else if inspection.isOver {
                logger.notice("the store was looked at to its end: it is well")
            }
        }
        if !isStarted { logger.warning("the store was not looked at to its end", metadata: ["why": "no thread left"]) }
    }

    /// Turns the loop until all jobs are there, for a moment: where there are many, the server listens before.
    private func awaitJobs(_ restoration: Restoration, _ done: @escaping () -> Void) {
        // Once: a second wish to stop would end the server, which turns the loop next.
        var isAwaited = true
        let goOn = { [loop] in
            if isAwaited { loop.stop() }
            isAwaited = false
        }
        restoration.whenDone = {
            done()
            goOn()
        }
        restoration.begin()
        let deadline = Deadline(after: Self.headStart, on: loop, fire: goOn)
        loop.run()
        withExtendedLifetime(deadline) {}
        guard self.restoration != nil else { return }
        logger.notice(
            "the store's jobs are being read; who asks for them waits", metadata: ["live": "\(restoration.expected)"])
    }

    /// Turns the loop until the tasks of all fleets are known: before that no job can be taken.
    ///
    /// - Throws: ``FleetFailure`` for a fleet whose workers do not start.
    private func awaitFleets() throws(FleetFailure) {
        var missing = Set(options.fleets.map(\.name).filter { $0 != WorkerFleet.builtIn })
        var failure: FleetFailure?
        whenDescribed = { [unowned self] fleet, why in
            guard failure == nil, missing.remove(fleet) != nil || why != nil else { return }
            if let why { failure = FleetFailure(description: "\(fleet): the worker \(why)") }
            // Once: a second wish to stop would end the server, which turns the loop next.
            if missing.isEmpty || failure != nil { loop.stop() }
        }
        while !missing.isEmpty, failure == nil { loop.run() }
        whenDescribed = nil
        guard let failure else { return }
        for pool in pools { (pool as? ProcessPool)?.killAll() }
        throw failure
    }

    /// Goes on with a job that an earlier server has left on disk, when all of them are there. What it ran has ended.
    func takeOver(_ record: JobRecord, _ remains: Remains) {
        guard let entry = registry[record.task] else { return endUnknown(record, grant: remains.grant) }
        let job = LiveJob(record, entry)
        if remains.wasRunning {
            let error = JobError(type: "Lost", message: "the server ended while the attempt ran")
            job.lastResult = AttemptResult(.crashed, error: error)
        }
        job.history = .found
        restore(job)
        job.storedGrant = remains.grant
        job.hasHistory = job.record.events.lastStored > 0
        // The disk knows times of the day only.
        job.followsWall = job.record.attempt == 0
        // That it waits again is nothing new to the disk: a million of them are not to be written at each start.
        if !remains.wasRunning, !remains.wasCancelled { standing = job }
        feed(.restored(spec(of: job, notBefore: job.record.dueAt), remains))
        standing = nil
    }

    func allRestored() {
        restoration = nil
        feed(.allRestored)
    }

    /// A job whose task is not there any more.
    private func endUnknown(_ record: JobRecord, grant: Int) {
        let error = JobError(type: "UnknownTask", message: "there is no task \"\(record.task)\" any more")
        let outcome = Outcome(.failed, of: record, at: now, error: error)
        leaving.insert(record.id)
        journal.write(
            .ended(record, outcome, grant: grant, hasHistory: true),
            then: .then { [unowned self] in
                leaving.remove(record.id)
                record.apply(outcome)
                store.keep(record)
            })
    }

    /// Attempts that the server before this one was killed with, and that certainly never began.
    private static func unbegun(_ predecessor: Predecessor?, in store: SQLiteStore) -> [(job: JobID, grant: Int)] {
        guard let predecessor, !predecessor.wasClean else { return [] }
        let owner = StartList.Owner(store: predecessor.name, path: store.path, epoch: predecessor.epoch)
        return StartList.unbegun(of: owner).map { ($0.job, $0.grant) }
    }

    /// - Returns: Whether nothing of it is alive.
    private static func endOrphans(_ predecessor: Predecessor, _ logger: Logger) -> Bool {
        guard !predecessor.wasClean else { return true }
        let outcome = Orphans.kill(
            of: predecessor.name, orMarked: predecessor.children.map { ($0.pid, $0.startedAt) },
            within: orphanPatience)
        if outcome.killed > 0 {
            logger.notice("what an earlier server ran was killed", metadata: ["processes": "\(outcome.killed)"])
        }
        if outcome.alive > 0 {
            logger.error("what an earlier server ran is still alive", metadata: ["processes": "\(outcome.alive)"])
        }
        return outcome.alive == 0
    }

    /// Tells this start of the machine from any other. Source: random(4), /proc/sys/kernel/random/boot_id.
    private static func bootID() -> String {
        guard let file = fopen("/proc/sys/kernel/random/boot_id", "r") else { return "" }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 64)
        guard fgets(&line, 64, file) != nil else { return "" }
        return String(decoding: line.prefix { $0 != 0 && $0 != 10 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// Workers that do not start, in words for people.
package struct FleetFailure: Error, CustomStringConvertible {
    package let description: String
}

extension StoreFailure {
    /// What the server ends with when its store fails. Source: sysexits.h, EX_IOERR.
    package static let exitStatus: CInt = 74

    /// Says why and ends the process at once.
    static func end(_ failure: StoreFailure) -> Never {
        let advice =
            failure.damage == nil ? "Look after the disk, then start it again." : StoreFailure.remedy()
        let line =
            "spindle: \(failure). Nothing that was not on disk has been acknowledged; the server ends so that nothing is. "
            + "\(advice)\n"
        // A log that nobody reads must not keep the end from coming: a pipe that is ready takes a line whole.
        var wish = pollfd(fd: STDERR_FILENO, events: Int16(POLLOUT), revents: 0)
        if poll(&wish, 1, 500) == 1 { _ = line.withCString { write(STDERR_FILENO, $0, strlen($0)) } }
        _exit(exitStatus)
    }
}
