import ArgumentParser
import EventLoop
import Glibc
import HTTP
import Logging
import Server
import Store
import Tasks

struct Serve: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs the server.",
        discussion: """
            Example:  spindle serve --listen 127.0.0.1:8080 --threads 4 --processes 4
            The first lines on stdout say where it listens, a curl line to try, and the dashboard's address. Logs are
            JSON lines on stderr. Every flag has an environment variable (SPINDLE_LISTEN, …) and a key in the file of
            --config; flags win over environment over file. SIGTERM lets running jobs finish for --drain; a second one hurries.
            SIGHUP reads the file and the files of --python again: commands and workers change, nothing is dropped.
            What is accepted is on disk (see --store) and goes on after a restart.
            """)

    @OptionGroup var flags: ServeFlags

    func run() throws {
        func read() throws -> Settings {
            try Settings(flags: flags.given, file: flags.config ?? environment("SPINDLE_CONFIG"))
        }
        let settings = try read()
        let setup = try ServerSetup(settings)
        let loop = try EventLoop()
        loop.adopt()
        let running = try RunningServer(setup, on: loop)
        // Whoever reads the address may send a signal next.
        running.stopOnSignals()
        try running.reloadOnHangUp(from: settings, read)
        running.announce()
        try running.supervisor.ready(on: loop)
        loop.run()
        running.finish()
        Glibc.exit(0)
    }
}

func environment(_ name: String) -> String? {
    getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
}

/// A server in this process, with its log and its signals.
final class RunningServer {
    let server: Server
    let addresses: [ListenAddress]
    let supervisor = Supervisor()
    private let setup: ServerSetup
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
            server = try Server(setup.options, tasks: tasks, on: loop, logger: logger)
            addresses = try server.start()
        } catch let failure as ListenAddress.Failure {
            throw CommandFailure(.usage, failure.description)
        } catch let failure as StoreFailure {
            throw CommandFailure(.usage, failure.description)
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

    var scheme: String { setup.options.tls == nil ? "http" : "https" }
    var token: String? { setup.options.tokens?.printable }

    /// Where clients of this machine reach it.
    var url: String {
        let address = addresses.first { if case .tcp = $0 { true } else { false } } ?? addresses[0]
        guard case .tcp(let host, let port) = address else { return address.description }
        let name = host == "0.0.0.0" || host == "::" ? "127.0.0.1" : host.contains(":") ? "[\(host)]" : host
        return "\(scheme)://\(name):\(port)"
    }

    /// The lines that a newcomer needs.
    func announce() {
        for address in addresses {
            if case .unix = address {
                print("listening on \(address)")
            } else {
                print("listening on \(scheme)://\(address)")
            }
        }
        let authorization = token.map { " -H 'Authorization: Bearer \($0)'" } ?? ""
        if case .unix(let path) = addresses[0] {
            print(
                "try: curl --unix-socket \(path)\(authorization) --json '{\"limit\":10000000}' http://localhost/v1/run/primes"
            )
        } else {
            print("try: curl\(authorization) --json '{\"limit\":10000000}' \(url)/v1/run/primes")
            print("dashboard: \(url)/\(token.map { "?token=\($0)" } ?? "")")
        }
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

    /// Takes commands and workers anew from the configuration, at each SIGHUP.
    func reloadOnHangUp(from settings: Settings, _ read: @escaping () throws -> Settings) throws(LoopError) {
        hangUp = try SignalWatch(SIGHUP, on: loop) { [unowned self] in
            do {
                let new = try read()
                let fleets = try setup.fleets(new)
                for key in new.differences(from: settings) where key != Setting.python.key {
                    logger.warning("a changed setting takes effect at the next start", metadata: ["setting": "\(key)"])
                }
                logger.notice(
                    "reloading", metadata: ["commands": "\(new.commands.count)", "fleets": "\(fleets.count)"])
                server.engine.reload(commands: new.commands, fleets: fleets)
            } catch {
                logger.error("nothing was reloaded", metadata: ["why": "\(error)"])
            }
        }
    }

    func stop() {
        supervisor.stopping()
        server.stop { [loop] in loop.stop() }
    }

    func finish() {
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
