import Jobs
import Logging
import Pools

/// The tasks that come and go with their workers and with the configuration.
extension Engine {
    func receive(_ notice: ProcessPoolNotice) {
        switch notice {
        case .described(WorkerFleet.builtIn, _): break  // known from the beginning, and to other pools too
        case .described(let fleet, let description):
            let taken = registry.set(description.tasks) { $0.isOf(fleet: fleet) }
            feed(.lightRoomResized(slots: pools.compactMap { $0 as? ProcessPool }.first?.lightSlots ?? 0))
            logger.info(
                "workers are ready",
                metadata: ["fleet": "\(fleet)", "tasks": "\(description.tasks.map(\.name).joined(separator: " "))"])
            if let name = taken.first {
                let why = "names a task \"\(name)\", and there is one already"
                logger.error("a task is left out", metadata: ["fleet": "\(fleet)", "why": "it \(why)"])
                whenDescribed?(fleet, why)
            } else {
                whenDescribed?(fleet, nil)
            }
        case .broken(let fleet, let why):
            logger.error("workers do not start", metadata: ["fleet": "\(fleet)", "why": "\(why)"])
            whenDescribed?(fleet, why)
        case .removed(let fleet):
            _ = registry.set([]) { $0.isOf(fleet: fleet) }
            logger.notice("workers are let go", metadata: ["fleet": "\(fleet)"])
        case .workerEnded(let reason, let why):
            metrics.workersEnded[reason, default: 0] += 1
            if reason == .died {
                logger.warning("a worker ended", metadata: ["why": "\(why)"])
            } else {
                logger.info("a worker was replaced", metadata: ["reason": "\(reason)"])
            }
        case .doubted(let fleet, let what):
            logger.warning(
                "a worker says what cannot be true; it was cut", metadata: ["fleet": "\(fleet)", "what": "\(what)"])
        case .said(let worker, let stream, let text):
            logger.info("a worker prints", metadata: ["worker": "\(worker)", "stream": "\(stream)", "text": "\(text)"])
        case .zygoteEnded(let fleet, let why):
            logger.warning("workers are started, not forked", metadata: ["fleet": "\(fleet)", "why": "\(why)"])
        }
    }

    /// Takes over another configuration's commands and workers, without a pause for anybody.
    ///
    /// Each fleet's workers serve until their successors are ready; those of a file that does not work stay.
    package func reload(commands: [TaskDefinition], fleets: [WorkerFleet]) {
        for name in registry.set(commands, of: \.isCommand) {
            logger.error("a command is left out", metadata: ["why": "there is a task \"\(name)\" already"])
        }
        for case let pool as ProcessPool in pools { pool.reload(fleets) }
    }
}

extension TaskDefinition {
    fileprivate func isOf(fleet: String) -> Bool {
        if case .worker(fleet, _, _) = body { true } else { false }
    }

    fileprivate var isCommand: Bool {
        if case .command = body { true } else { false }
    }
}
