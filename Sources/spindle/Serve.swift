import ArgumentParser
import CSpindle
import EventLoop
import Glibc

struct Serve: ParsableCommand {
    static let name = "serve"
    static let configuration = CommandConfiguration(
        commandName: name,
        abstract: "Runs the server.",
        discussion: """
            Example:  spindle serve --listen 127.0.0.1:8080 --threads 4 --processes 4
            The first lines on stdout say where it listens, a curl line to try, and the dashboard's address; the token
            itself is shown on a terminal only. Logs are JSON lines on stderr. Every flag has an environment variable
            (SPINDLE_LISTEN, …; what is repeatable has commas between, and \\, for a comma in one) and a key in the file of
            --config; flags win over environment over file. SIGTERM lets running jobs finish for --drain; a second one hurries.
            SIGHUP reads the file, the files of --python and the token file again: commands, workers and tokens change, nothing
            is dropped.
            What is accepted is on disk (see --store) and goes on after a restart.
            """)

    @OptionGroup var flags: ServeFlags

    /// Until there is a server that can stop in order: nothing has been promised yet, and nothing begun.
    static func takeSignals() {
        spindle_end_on(SIGTERM, ExitStatus.success.rawValue)
        spindle_end_on(SIGINT, ExitStatus.success.rawValue)
        // The rest of what any process of this user may send and mean nothing by: it does not end a server. A child's are its own.
        for number in [SIGHUP, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR] { signal(number, SIG_IGN) }
        spindle_tell_traps()
    }

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

/// A variable that says something. One that is no UTF-8 would name something else: it ends the process.
func environment(_ name: String) -> String? {
    guard let value = getenv(name), value.pointee != 0 else { return nil }
    guard let text = String(validatingCString: value) else {
        CommandFailure(.usage, "\(name) is no UTF-8: \(visible(String(cString: value)))").end()
    }
    return text
}
