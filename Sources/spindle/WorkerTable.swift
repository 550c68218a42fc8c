import JSON
import Jobs
import Pools

/// Workers from the configuration's `[workers.NAME]`: any program that speaks the worker protocol.
///
/// ```toml
/// [workers.shell]
/// command = ["sh", "worker.sh"]
/// environment = { LEVEL = "3" }
/// max_jobs = 1000        # these four go before the flags --worker-max-jobs, --worker-max-age, …
/// max_age = "1h"
/// idle = "10m"
/// memory = "512MiB"
/// preload = true         # the program understands --zygote, as spindle.py does
/// ```
struct WorkerTable {
    let name: String
    let argv: [String]
    private let environment: Environment
    private let preloads: Bool
    private let maxJobs: Int?
    private let maxAge: Duration?
    private let idle: Duration?
    private let memory: UInt64?

    init(_ name: String, _ table: ConfigurationTable) throws {
        try table.allow(only: ["command", "environment", "max_jobs", "max_age", "idle", "memory", "preload"])
        guard var argv = try table.texts("command"), let program = argv.first else {
            throw table.wrong("command", "must be a list of texts, the program first")
        }
        argv[0] = try programPath(program, in: table.directory) { table.wrong("command", $0) }
        func time(_ value: JSONValue) -> Duration? { value.string.flatMap { Duration(text: $0) } }
        self.name = "workers.\(name)"
        self.argv = argv
        environment = try table.variables("environment")
        preloads = try table.flag("preload") ?? false
        maxJobs = try table.read("max_jobs", "a whole number from 0 on") { $0.integer.flatMap { $0 >= 0 ? $0 : nil } }
        maxAge = try table.read("max_age", "a duration in quotes, like \"1h\"", time)
        idle = try table.read("idle", "a duration in quotes, like \"10m\"", time)
        memory = try table.read("memory", "a size in quotes, like \"512MiB\"") { $0.string.flatMap(byteCount) }
    }

    /// - Parameter recycling: What holds where the table says nothing.
    func fleet(_ recycling: Recycling) -> WorkerFleet {
        var fleet = WorkerFleet(name: name, argv: argv, environment: environment)
        fleet.recycling = recycling
        fleet.preloads = preloads
        if let maxJobs { fleet.recycling.maxJobs = maxJobs }
        if let maxAge { fleet.recycling.maxAge = maxAge.ifPositive }
        if let idle { fleet.recycling.idle = idle.ifPositive }
        if let memory { fleet.recycling.memoryBytes = memory }
        return fleet
    }
}

extension Duration {
    /// nil for zero, which switches a limit off.
    var ifPositive: Duration? { self > .zero ? self : nil }
}
