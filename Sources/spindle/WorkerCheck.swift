import ArgumentParser
import CSpindle
import EventLoop
import Glibc
import JSON
import Jobs
import Pools

struct WorkerCheck: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "worker-check",
        abstract: "Checks whether a program speaks the worker protocol.",
        discussion: """
            Example:  spindle worker-check --run greet='{"name":"Ada"}' -- sh worker.sh
            Starts the program once for each check, with the protocol on descriptor 3 and shared memory on
            descriptor 4, as a server does, and says what it did wrong.
            Ends with 0 when all is well, with 1 when something is not.
            """)

    @Option(
        name: .customLong("run"),
        help: ArgumentHelp("A task that is to succeed, with its input. Repeatable.", valueName: "TASK=JSON"))
    var runs: [String] = []

    @Flag(help: "Show every line that goes over the channel.") var trace = false

    @Argument(parsing: .postTerminator, help: "The program and its arguments.") var command: [String] = []

    func run() throws {
        guard !command.isEmpty else {
            throw CommandFailure(.usage, "say which program: spindle worker-check -- CMD…")
        }
        var argv = command
        do throws(TaskFailure) { argv[0] = try findExecutable(argv[0]) } catch {
            throw CommandFailure(.usage, error.message)
        }
        let calls = try runs.map { run in
            guard let (task, json) = run.cut(at: "="), let input = try? JSONReader.value(of: Array(json.utf8))
            else { throw CommandFailure(.usage, "--run \(run): say TASK=JSON") }
            return (task: String(task), input: input)
        }
        var failed = 0
        for check in WorkerConversation.checks(calls) {
            let conversation = try WorkerConversation(argv, traces: trace)
            defer { conversation.end() }
            do {
                try check.body(conversation)
                emit("ok      \(check.promise)")
            } catch let failure as WorkerConversation.Failure {
                failed += 1
                emit("failed  \(check.promise)\n        \(failure.what)")
            }
        }
        if failed > 0 { throw CommandFailure(.jobFailed, "\(failed) promises are not kept") }
    }
}
