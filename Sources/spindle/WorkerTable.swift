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
    private let name: String
    private let argv: [String]
    private let environment: [String: String]
    private let preloads: Bool
    private let maxJobs: Int?
    private let maxAge: Duration?
    private let idle: Duration?
    private let memory: UInt64?

    init(_ name: String, _ table: JSONValue, _ path: String) throws {
        func wrong(_ why: String) -> CommandFailure { CommandFailure(.usage, "\(path): workers.\(name): \(why)") }
        let known = ["command", "environment", "max_jobs", "max_age", "idle", "memory", "preload"]
        for member in table.members where !known.contains(member.key) {
            let near = nearest(to: member.key, among: known).map { "; did you mean \"\($0)\"?" } ?? ""
            throw wrong("unknown key \"\(member.key)\"" + near)
        }
        guard var argv = table["command"]?.elements?.compactMap(\.string), !argv.isEmpty else {
            throw wrong("command must be a list of texts, the program first")
        }
        do throws(TaskFailure) { argv[0] = try findExecutable(argv[0]) } catch { throw wrong(error.message) }
        func read<Value>(_ key: String, _ what: String, _ convert: (JSONValue) -> Value?) throws -> Value? {
            guard let given = table[key] else { return nil }
            guard let value = convert(given) else { throw wrong("\(key) must be \(what)") }
            return value
        }
        func time(_ value: JSONValue) -> Duration? { value.string.flatMap { Duration(text: $0) } }
        self.name = "workers.\(name)"
        self.argv = argv
        environment = Dictionary(
            uniqueKeysWithValues: (table["environment"]?.members ?? []).map { ($0.key, $0.value.string ?? "") })
        preloads = try read("preload", "true or false", \.bool) ?? false
        maxJobs = try read("max_jobs", "a number from 0 on") { $0.integer.flatMap { $0 >= 0 ? $0 : nil } }
        maxAge = try read("max_age", "a time like 1h", time)
        idle = try read("idle", "a time like 10m", time)
        memory = try read("memory", "a size like 512MiB") { $0.string.flatMap(byteCount) }
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
