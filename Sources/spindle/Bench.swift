import ArgumentParser
import EventLoop
import Glibc
import Histogram
import JSON
import Jobs
import Server

struct Bench: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Puts load on a running server and measures it.",
        discussion: """
            Example:  spindle bench --task squares --input '{"n":100}' --pool thread --connections 64 --duration 10s
            Each connection runs one job after another and waits for its result. With --rate the jobs are sent on a clock,
            and a late answer counts from when its request was due (no coordinated omission).
            """)

    @Option(help: ArgumentHelp("The task.", valueName: "TASK")) var task = "squares"
    @Option(help: ArgumentHelp("Its input.", valueName: "JSON")) var input = "{\"n\":100}"
    @Option(help: ArgumentHelp("Where it runs.", valueName: "POOL")) var pool = "auto"
    @Option(help: ArgumentHelp("Connections at once.", valueName: "N")) var connections = 64
    @Option(help: ArgumentHelp("How long.", valueName: "TIME")) var duration = "10s"
    @Option(
        help: ArgumentHelp("Jobs a second over all connections (default: as fast as answers come).", valueName: "N"))
    var rate: Double?
    @Flag(help: "Print the figures as JSON.") var json = false
    @OptionGroup var client: ClientOptions

    func run() throws {
        guard let time = Duration(text: duration), time > .zero else {
            throw CommandFailure(.usage, "--duration \"\(duration)\" is no duration like 10s")
        }
        guard (1...10_000).contains(connections) else { throw CommandFailure(.usage, "--connections takes 1 to 10000") }
        let target = try LoadTarget(client)
        let request = target.request(task: task, pool: pool, input: try readInput(input))
        let loop = try EventLoop()
        loop.adopt()
        let load = Load(target, request, on: loop, rate: rate.map { $0 / Double(connections) })
        try load.run(connections: connections, for: time)
        guard load.answered > 0 || load.failed > 0 else {
            throw CommandFailure(.noServer, "no server answers at \(target.name); start one: spindle serve")
        }
        emit(json ? load.json : load.table)
        Glibc.exit(load.failed == 0 ? ExitStatus.success.rawValue : ExitStatus.jobFailed.rawValue)
    }
}
