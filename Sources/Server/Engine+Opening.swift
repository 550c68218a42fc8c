import EventLoop
import Glibc
import Jobs
import Logging
import Pools
import Store

extension Engine {
    /// How long children of an earlier server may take to die, in seconds.
    private static let orphanPatience = 2.0

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
        let found = try store.begin(
            at: Instant(nanoseconds: wallNanoseconds()), boot: bootID(),
            name: String(UInt64.random(in: 0...UInt64.max), radix: 36))
        let variable = (name: "SPINDLE_OWNER", value: found.name)
        endOrphans(found, "\(variable.name)=\(variable.value)", logger)
        var options = options
        options.childVariables[variable.name] = variable.value
        let controls = try store.controls()
        for case .poolResized(let pool, let slots) in controls { options.resized[pool] = slots }
        let engine = try Engine(options, tasks: tasks, store, lastID: found.lastID, on: loop, logger: logger)
        try engine.awaitFleets()
        engine.apply(controls)
        engine.restore(found.jobs)
        if !found.jobs.isEmpty || !found.wasClean {
            logger.notice(
                "the store's jobs go on",
                metadata: [
                    "live": "\(found.jobs.count)", "ran": "\(found.jobs.count { $0.remains.wasRunning })",
                    "clean": "\(found.wasClean)", "epoch": "\(found.epoch)",
                ])
        }
        return engine
    }

    /// Turns the loop until the tasks of all fleets are known: before that no job can be taken.
    ///
    /// - Throws: ``FleetFailure`` for a fleet whose workers do not start.
    private func awaitFleets() throws(FleetFailure) {
        var missing = Set(options.fleets.map(\.name).filter { $0 != WorkerFleet.builtIn })
        var failure: FleetFailure?
        whenDescribed = { [unowned self] fleet, why in
            missing.remove(fleet)
            if let why, failure == nil { failure = FleetFailure(description: "\(fleet): the worker \(why)") }
            loop.stop()
        }
        while !missing.isEmpty, failure == nil { loop.run() }
        whenDescribed = nil
        guard let failure else { return }
        for pool in pools { (pool as? ProcessPool)?.killAll() }
        throw failure
    }

    /// Takes over what an earlier server has left on disk. What it ran has ended.
    private func restore(_ jobs: [(record: JobRecord, remains: Remains)]) {
        // What has run goes first: it holds its keys.
        let order = jobs.filter { $0.remains.tally.attempt > 0 } + jobs.filter { $0.remains.tally.attempt == 0 }
        var known: [(job: LiveJob, remains: Remains)] = []
        known.reserveCapacity(order.count)
        for (record, remains) in order {
            guard let entry = registry[record.task] else {
                endUnknown(record, grant: remains.grant)
                continue
            }
            let job = LiveJob(record, entry)
            if remains.wasRunning {
                let error = JobError(type: "Lost", message: "the server ended while the attempt ran")
                job.lastResult = AttemptResult(.crashed, error: error)
            }
            known.append((job, remains))
        }
        restore(known.map(\.job))
        for (job, remains) in known { takeOver(job, remains) }
    }

    /// A job whose task is not there any more.
    private func endUnknown(_ record: JobRecord, grant: Int) {
        let error = JobError(type: "UnknownTask", message: "there is no task \"\(record.task)\" any more")
        let outcome = Outcome(.failed, of: record, at: now, error: error)
        journal.write(
            .ended(record, outcome, grant: grant, hasHistory: true),
            then: .then { [unowned self] in
                record.apply(outcome)
                store.keep(record)
            })
    }

    private static func endOrphans(_ found: Found, _ variable: String, _ logger: Logger) {
        guard !found.wasClean else { return }
        let outcome = Orphans.kill(
            carrying: variable, orMarked: found.children.map { ($0.pid, $0.startedAt) }, within: orphanPatience)
        if outcome.killed > 0 {
            logger.notice("what an earlier server ran was killed", metadata: ["processes": "\(outcome.killed)"])
        }
        if outcome.alive > 0 {
            logger.error("what an earlier server ran is still alive", metadata: ["processes": "\(outcome.alive)"])
        }
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
    fileprivate static func end(_ failure: StoreFailure) -> Never {
        let line =
            "spindle: \(failure). Nothing that was not on disk has been acknowledged; the server ends so that nothing is. "
            + "Look after the disk, then start it again.\n"
        // A log that nobody reads must not keep the end from coming: a pipe that is ready takes a line whole.
        var wish = pollfd(fd: STDERR_FILENO, events: Int16(POLLOUT), revents: 0)
        if poll(&wish, 1, 500) == 1 { _ = line.withCString { write(STDERR_FILENO, $0, strlen($0)) } }
        _exit(exitStatus)
    }
}
