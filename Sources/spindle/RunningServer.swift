import EventLoop
import Glibc
import HTTP
import Jobs
import Logging
import Pools
import Server
import Store
import Tasks

/// A server in this process, with its log and its signals.
final class RunningServer {
    /// How long a start waits until what killed servers have left is cleared; then that goes on beside it.
    private static let clearing = Duration.milliseconds(200)

    let server: Server
    let addresses: [ListenAddress]
    let supervisor = Supervisor()
    private let setup: ServerSetup
    private let work: WorkDirectory
    private let loop: EventLoop
    private let logger: Logger
    private var terminate: SignalWatch?
    private var interrupt: SignalWatch?
    private var hangUp: SignalWatch?

    /// - Parameter level: What is worth a line of the log.
    init(_ setup: ServerSetup, on loop: EventLoop, logging level: Logger.Level = .info) throws {
        self.setup = setup
        self.loop = loop
        raiseDescriptorLimit()
        let log = LogWriter()
        LoggingSystem.bootstrap { JSONLogHandler(label: $0, log, level) }
        logger = Logger(label: "spindle")
        let tasks = builtInTasks(setup.tasks, on: loop) + setup.commands
        do {
            work = try WorkDirectory(below: environment("TMPDIR") ?? "/tmp")
            work.clearDead(within: Self.clearing)
            var options = setup.options
            options.work = work
            server = try Server(options, tasks: tasks, on: loop, logger: logger)
            addresses = try server.start()
        } catch let failure as WorkDirectory.Failure {
            throw CommandFailure(.usage, failure.description)
        } catch let failure as ListenAddress.Failure {
            throw CommandFailure(.usage, failure.description)
        } catch let failure as StoreFailure {
            var why = failure.description
            if failure.damage != nil, case .file(let path) = setup.options.store {
                why += "\nNothing was changed. \(StoreFailure.remedy(for: path))"
            }
            throw CommandFailure(failure.isOfDisk ? .diskFailed : failure.isFull ? .diskFull : .usage, why)
        } catch let failure as FleetFailure {
            throw CommandFailure(.usage, failure.description)
        }
        if getuid() == 0 {
            logger.warning("running as root: workers and commands run as root too")
        }
        switch setup.options.store {
        case .memory:
            logger.notice(
                "durability", metadata: ["store": "memory", "promise": "none: jobs do not survive a restart"])
        case .file(let path):
            logger.notice("durability", metadata: ["store": "\(path)", "promise": "fsync: answers wait for the disk"])
        }
    }

    /// Where clients of this machine reach it.
    var url: String { Announcement.url(of: addresses, isTLS: setup.options.tls != nil) }
    var token: String? { setup.options.tokens?.foremost?.text }

    /// The dashboard's address, which signs a browser in where only the user sees it.
    var dashboard: String { announcement.dashboard }

    private var announcement: Announcement {
        Announcement(
            addresses: addresses, isTLS: setup.options.tls != nil, token: setup.options.tokens?.foremost,
            file: setup.tokenFile?.path ?? "", showsToken: isatty(STDOUT_FILENO) == 1)
    }

    /// The lines that a newcomer needs.
    func announce() {
        for line in announcement.lines { print(line) }
        fflush(nil)
    }

    func stopOnSignals() {
        do throws(LoopError) {
            terminate = try SignalWatch(SIGTERM, on: loop) { [unowned self] in stop() }
            interrupt = try SignalWatch(SIGINT, on: loop) { [unowned self] in stop() }
        } catch {
            logger.error("signals cannot be watched", metadata: ["why": "\(error)"])
        }
    }

    /// Takes commands and workers anew from the configuration, and tokens from their file, at each SIGHUP.
    func reloadOnHangUp(from settings: Settings, _ read: @escaping () throws -> Settings) throws(LoopError) {
        let reloading = Reloading(setup, read)
        hangUp = try SignalWatch(SIGHUP, on: loop) { [unowned self] in
            reloading.read(on: loop) { [unowned self] found in
                do {
                    take(try found.get(), insteadOf: settings)
                } catch {
                    logger.error("nothing was reloaded", metadata: ["why": "\(error)"])
                }
            }
        }
    }

    private func take(_ found: Reloading.Found, insteadOf settings: Settings) {
        let new = found.settings
        for key in new.differences(from: settings) where ![Setting.python.key, Setting.env.key].contains(key) {
            logger.warning("a changed setting takes effect at the next start", metadata: ["setting": "\(key)"])
        }
        logger.notice(
            "reloading", metadata: ["commands": "\(new.commands.count)", "fleets": "\(found.fleets.count)"])
        if let tokens = found.tokens { server.replace(tokens) }
        server.engine.reload(commands: new.commands, fleets: found.fleets)
    }

    func stop() {
        supervisor.stopping()
        server.stop { [loop] in loop.stop() }
    }

    func finish() {
        work.remove()
        logger.notice("stopped")
        LogWriter.flushAll()
    }
}

/// As many descriptors as the system lets us have: each connection takes one.
private func raiseDescriptorLimit() {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(7), &limit)
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(7), &limit)
}
