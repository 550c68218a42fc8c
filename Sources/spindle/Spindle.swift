import ArgumentParser
import CSpindle
import Glibc

/// The command line: what stands here is the list of commands, each is a file of its own.
@main
struct Spindle: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "spindle",
        abstract: "Runs work behind HTTP: submitted in one line, watched live, cancelled for sure.",
        discussion: """
            Start with:  spindle demo
            A server:    spindle serve
            A job:       spindle run primes '{"limit":10000000}'

            Clients find the server by --url, else SPINDLE_URL, else http://127.0.0.1:8080, and the token by
            SPINDLE_TOKEN, else the token file.
            Exit codes: 0; 1 the job failed; 2 usage, or what the server cannot do (404, 409, 422 …); 3 no server, or one
            that fails (5xx); 4 refused (401, 403, 429, 503, 507); 130 interrupted.
            """,
        version: Version.text,
        subcommands: [
            Serve.self, Demo.self, Run.self, Submit.self, WatchCommand.self, List.self, Cancel.self, TasksCommand.self,
            QueuesCommand.self, PoolsCommand.self, Bench.self, Config.self, StoreCommand.self, PythonPath.self,
            WorkerCheck.self,
        ])

    static func main() {
        // Whoever starts us may have blocked what we are told to end by.
        var none = sigset_t()
        sigemptyset(&none)
        sigprocmask(SIG_SETMASK, &none, nil)
        signal(SIGPIPE, SIG_IGN)
        // Who writes beyond a limit for files is told by the error. Caught, not ignored: a child begins without that.
        signal(SIGXFSZ) { _ in }
        Self.keepStandardDescriptors()
        // A worker is started by the process pool, thousands of times in a server's life: no parsing of arguments.
        if CommandLine.arguments.count > 1, CommandLine.arguments[1] == WorkerCommand.name { WorkerCommand.run() }
        if CommandLine.arguments.count > 1, CommandLine.arguments[1] == TOMLTrial.name { TOMLTrial.run() }
        spindle_end_on(SIGINT, ExitStatus.interrupted.rawValue)
        Self.refuseArgumentsOtherThanText()
        // Before anything that takes time: process 1 of a container would never hear of it.
        if CommandLine.arguments.count > 1, CommandLine.arguments[1] == Serve.name { Serve.takeSignals() }
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch let failure as CommandFailure {
            failure.end()
        } catch {
            let code = exitCode(for: error)
            let message = fullMessage(for: error)
            if code == .success {
                emit(message)
                Glibc.exit(0)
            }
            if !message.isEmpty { say(message) }
            Glibc.exit(code == .validationFailure ? ExitStatus.usage.rawValue : code.rawValue)
        }
    }

    /// Bytes that are no UTF-8 would become others on the way, and name another file.
    private static func refuseArgumentsOtherThanText() {
        for index in 1..<max(1, Int(CommandLine.argc)) {
            guard let argument = CommandLine.unsafeArgv[index] else { return }
            if String(validatingCString: argument) == nil {
                CommandFailure(.usage, "argument \(index) is no UTF-8: \(visible(String(cString: argument)))").end()
            }
        }
    }

    /// Takes the places of standard descriptors that are closed: else the first file that is opened, a store or a client's
    /// connection, would get what is printed. What is read or written there fails as on a closed one.
    private static func keepStandardDescriptors() {
        for (descriptor, mode) in [(STDIN_FILENO, O_WRONLY), (STDOUT_FILENO, O_RDONLY), (STDERR_FILENO, O_RDONLY)] {
            // The lowest free number is the one that is missing.
            if fcntl(descriptor, F_GETFD) < 0 { _ = open("/dev/null", mode) }
        }
    }
}

enum Version {
    static let text = "0.1.0"
}
