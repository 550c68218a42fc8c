import JSON
import Jobs

/// Workers of one kind: one program, its tasks, some processes of it.
package struct WorkerFleet: Sendable {
    /// The built-in tasks' workers: this same binary.
    package static let builtIn = ""

    package let name: String
    /// The program and its arguments; the program has a slash in it.
    package let argv: [String]
    package let environment: Environment
    package var recycling = Recycling()
    /// Whether its workers are forked from one process that has imported everything, instead of started. Its program then
    /// understands `--zygote` as last argument.
    package var preloads = false

    package init(name: String, argv: [String], environment: Environment = Environment()) {
        self.name = name
        self.argv = argv
        self.environment = environment
    }
}

/// When a worker is to be replaced by a fresh one, which starts before it drains. Zero and nil: never for that reason.
package struct Recycling: Sendable {
    /// Why a worker leaves.
    package enum Reason: String, Sendable, CaseIterable {
        case jobs, age, idle, memory, surplus
        /// It ended by itself: it crashed, was killed, or broke the protocol.
        case died
    }

    /// After so many calls, give or take a tenth, so that not all of them leave at once.
    package var maxJobs = 0
    /// After this time, give or take a tenth.
    package var maxAge: Duration?
    /// Without a call for this time it ends; the next one starts when there is work for it.
    package var idle: Duration?
    /// When it holds more resident memory than this, in bytes, with all that it has started.
    package var memoryBytes: UInt64 = 0

    package init() {}
}

/// What a worker says of itself when it initialises.
package struct WorkerDescription: Sendable {
    /// Concurrent calls that it takes at once; 1: none.
    package let concurrency: Int
    package let tasks: [TaskDefinition]

    /// - Parameter answer: The result of `initialize`.
    /// - Throws: ``TaskFailure`` that names what is wrong.
    package init(_ answer: JSONValue, fleet: String, saysBeginnings: Bool = false) throws(TaskFailure) {
        guard answer["protocol"]?.integer == WorkerProtocol.version else {
            throw Self.wrong("speaks protocol \(Self.text(answer["protocol"])), not \(WorkerProtocol.version)")
        }
        concurrency = min(max(answer["concurrency"]?.integer ?? 1, 1), 100_000)
        var tasks: [TaskDefinition] = []
        for (index, value) in (answer["tasks"]?.elements ?? []).enumerated() {
            tasks.append(
                try Self.task(value, at: index, fleet, concurrency: concurrency, saysBeginnings: saysBeginnings))
        }
        self.tasks = tasks
    }

    private static func task(
        _ value: JSONValue, at index: Int, _ fleet: String, concurrency: Int, saysBeginnings: Bool
    ) throws(TaskFailure) -> TaskDefinition {
        guard let name = value["name"]?.string, TaskDefinition.isValid(name: name) else {
            throw wrong("names task \(index) \(text(value["name"])): 1 to 64 letters, digits, -, _ or . make a name")
        }
        let defaults = value["defaults"] ?? .null
        var timeout: Duration?
        if let given = defaults["timeout"], given != .null {
            guard let text = given.string, let duration = Duration(text: text), duration > .zero else {
                throw wrong("task \(name): the timeout \(text(given)) is no duration with a unit, like 30s")
            }
            timeout = duration
        }
        let attempts = defaults["max_attempts"]?.integer ?? 1
        guard JobSpec.attempts.contains(attempts) else {
            throw wrong("task \(name): max_attempts must be 1 to \(JobSpec.attempts.upperBound)")
        }
        do throws(SchemaError) {
            let output = value["output"]
            return TaskDefinition(
                name: name, kind: value["kind"]?.string == "io" ? .io : .cpu,
                description: value["description"]?.string ?? "",
                input: try JSONSchema(value["input"] ?? .bool(true)),
                output: try output.map { (value) throws(SchemaError) in try JSONSchema(value) }, pools: [.process],
                timeout: timeout, maxAttempts: attempts,
                body: .worker(
                    fleet: fleet, isConcurrent: concurrency > 1 && value["concurrent"]?.bool ?? true,
                    saysBeginnings: saysBeginnings))
        } catch {
            throw wrong("task \(name): \(error)")
        }
    }

    private static func text(_ value: JSONValue?) -> String {
        value.map { String(decoding: $0.bytes, as: UTF8.self) } ?? "nothing"
    }

    private static func wrong(_ what: String) -> TaskFailure {
        TaskFailure(type: "InvalidOutput", message: "the worker \(what)", canRetry: false)
    }
}
