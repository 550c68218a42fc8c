import ArgumentParser
import JSON
import Jobs

struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Lists jobs, newest first.",
        discussion: "Example:  spindle list --state running,queued --task primes")

    @Option(help: ArgumentHelp("Only these states, separated by commas.", valueName: "STATES")) var state: String?
    @Option(help: ArgumentHelp("Only this task.", valueName: "TASK")) var task: String?
    @Option(help: ArgumentHelp("Only this queue.", valueName: "NAME")) var queue: String?
    @Option(help: ArgumentHelp("Only this pool.", valueName: "POOL")) var pool: String?
    @Option(help: ArgumentHelp("At most this many, 1 to 500.", valueName: "N")) var limit = 50
    @Flag(help: "Print what the server answers, as JSON.") var json = false
    @OptionGroup var client: ClientOptions

    func run() throws {
        let filters = [("state", state), ("task", task), ("queue", queue), ("pool", pool), ("limit", String(limit))]
        let query = filters.compactMap { name, value in value.map { "\(name)=\(percentEncoded($0))" } }.joined(
            separator: "&")
        try show("/v1/jobs?\(query)", "jobs", json, client) { entries in
            var table = Table("ID", "TASK", "STATE", "POOL", "ATTEMPT", "PROGRESS", "CREATED")
            for job in entries {
                let fraction = job["progress"]?["fraction"]?.number
                table.add(
                    job.text("id"), job.text("task"), job.text("state"), job.text("pool"), job.text("attempt"),
                    fraction.map { "\(Int(saturating: ($0 * 100).rounded())) %" } ?? "-", job.text("created_at"))
            }
            return table
        }
    }
}

struct TasksCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tasks", abstract: "Lists the tasks that can be run.", discussion: "Example:  spindle tasks --json"
    )

    @Flag(help: "Print what the server answers, as JSON.") var json = false
    @OptionGroup var client: ClientOptions

    func run() throws {
        try show("/v1/tasks", "tasks", json, client) { entries in
            var table = Table("TASK", "KIND", "POOLS", "DESCRIPTION")
            for task in entries {
                let pools = (task["pools"]?.elements ?? []).compactMap(\.string).joined(separator: ",")
                table.add(task.text("name"), task.text("kind"), pools, task.text("description"))
            }
            return table
        }
    }
}

struct QueuesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "queues", abstract: "Lists the queues.", discussion: "Example:  spindle queues")

    @Flag(help: "Print what the server answers, as JSON.") var json = false
    @OptionGroup var client: ClientOptions

    func run() throws {
        try show("/v1/queues", "queues", json, client) { entries in
            var table = Table("QUEUE", "DEPTH", "OLDEST", "JOBS/S", "PAUSED")
            for queue in entries {
                let oldest = queue["oldest_seconds"]?.number.map { "\(($0 * 10).rounded() / 10) s" } ?? "-"
                table.add(
                    queue.text("name"), queue.text("depth"), oldest, queue.text("drain_rate"), queue.text("paused"))
            }
            return table
        }
    }
}

struct PoolsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pools", abstract: "Lists the pools and how busy they are.", discussion: "Example:  spindle pools")

    @Flag(help: "Print what the server answers, as JSON.") var json = false
    @OptionGroup var client: ClientOptions

    func run() throws {
        try show("/v1/pools", "pools", json, client) { entries in
            var table = Table("POOL", "CAPACITY", "BUSY", "WAITING", "WORKERS", "NOTE")
            for pool in entries {
                table.add(
                    pool.text("name"), pool.text("capacity"), pool.text("busy"), pool.text("waiting"),
                    String(pool["workers"]?.elements?.count ?? 0), pool["reason"]?.string ?? "")
            }
            return table
        }
    }
}

/// Asks the server for a list and shows it, as JSON for programs or as a table for people.
///
/// - Parameter member: What the list is called in the answer.
func show(
    _ path: String, _ member: String, _ isJSON: Bool, _ options: ClientOptions,
    _ table: @escaping @Sendable ([JSONValue]) -> Table
) throws -> Never {
    try runOnLoop(options) { client in
        let answer = try await client.send("GET", path).checked()
        guard let entries = try answer.json()[member]?.elements else { throw answer.notOurs("has no \(member)") }
        emit(isJSON ? try answer.text() : table(entries).text)
        return .success
    }
}

extension JSONValue {
    /// A member as people read it.
    func text(_ name: String) -> String {
        guard let value = self[name] else { return "-" }
        return value.string ?? (value == .null ? "-" : String(decoding: value.bytes, as: UTF8.self))
    }
}

func percentEncoded(_ text: String) -> String {
    text.utf8.map { byte in
        let isPlain =
            byte >= 0x30 && byte <= 0x39 || byte >= 0x41 && byte <= 0x5A || byte >= 0x61 && byte <= 0x7A
            || [0x2D, 0x2E, 0x5F].contains(byte)
        return isPlain
            ? String(Unicode.Scalar(byte)) : "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
    }.joined()
}
