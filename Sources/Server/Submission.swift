import HTTP
import JSON
import Jobs
import Pools
import Store

/// What a client asks for: a task, its input, and how it is to run. Complete and checked.
final class Submission {
    static let queueNameBytes = 1...64
    static let keyBytes = 200
    static let maximumLabels = 32
    static let labelBytes = 200
    static let optionNames = QueryParameter.submission.map(\.name)

    let entry: TaskRegistry.Entry
    var inputBytes = Submission.noInput
    var input = JSONValue.object([])
    var pool: PoolName
    /// Why that one, when nobody named one.
    var poolReason: String?
    var queue = "default"
    var priority = 0
    var timeout: Duration?
    var maxAttempts: Int?
    var delay: Duration?
    var runAt: Instant?
    var key: String?
    var labels: [(name: String, value: String)] = []

    private static let noInput = Array("{}".utf8)

    private init(_ entry: TaskRegistry.Entry) {
        self.entry = entry
        pool = entry.task.pools[0]
    }

    /// The body of `POST /v1/jobs`.
    ///
    /// - Throws: ``Problem``: 400 for what is no JSON, 422 for what does not fit, with a pointer into the body.
    static func read(_ body: [UInt8], _ registry: TaskRegistry) throws(Problem) -> Submission {
        guard !body.isEmpty else { throw Problem(400, "malformed-json", "the body is empty; send {\"task\":\"…\"}") }
        var members: [(key: String, value: JSONValue)] = []
        var inputRange: Range<Int>?
        do throws(JSONError) {
            try JSONReader.withReader(of: body, depth: JSONReader.maximumDepth + 1) { (reader) throws(JSONError) in
                guard reader.startsObject else { throw reader.error("expected an object") }
                try reader.readObject { (key, reader) throws(JSONError) in
                    let start = reader.offset
                    members.append((key, try reader.readValue()))
                    if key == "input" { inputRange = start..<reader.offset }
                }
            }
        } catch {
            throw .malformed(error)
        }
        guard let task = members.first(where: { $0.key == "task" })?.value else {
            throw .invalid("/task", "is required")
        }
        guard let name = task.string else { throw .invalid("/task", "expected string, got \(task.typeName)") }
        let submission = Submission(try registry.entry(name, at: "/task"))
        for (key, value) in members where key != "task" {
            if key == "input" {
                submission.input = value
                submission.inputBytes = Array(body[inputRange!])
            } else {
                try submission.set(key, value)
            }
        }
        try submission.check(inputAt: "/input")
        return submission
    }

    /// A body that is the input alone, with the options in the query.
    static func read(_ body: [UInt8], for name: String, _ query: Query, _ registry: TaskRegistry) throws(Problem)
        -> Submission
    {
        let submission = Submission(try registry.entry(name, at: "/task"))
        for item in query.items {
            if let label = Query.label(in: item.name) {
                try submission.addLabel(label, .string(item.value))
            } else {
                let isNumber = item.name == "priority" || item.name == "max_attempts"
                let value = isNumber ? Int(item.value).map(JSONValue.integer) : nil
                try submission.set(item.name, value ?? .string(item.value))
            }
        }
        if !body.isEmpty {
            do throws(JSONError) {
                submission.input = try JSONReader.value(of: body)
            } catch {
                throw .malformed(error)
            }
            submission.inputBytes = body
        }
        try submission.check(inputAt: "")
        return submission
    }

    /// What a job was submitted with, to run at once.
    ///
    /// - Throws: ``Problem`` 422 when its task is gone or takes another input now.
    convenience init(again record: JobRecord, _ registry: TaskRegistry) throws(Problem) {
        self.init(try registry.entry(record.task, at: "/task"))
        inputBytes = record.input
        // It was checked when it came in.
        input = (try? JSONReader.value(of: record.input)) ?? .null
        if entry.task.pools.contains(record.pool) { pool = record.pool }
        queue = record.queue
        priority = record.priority
        timeout = record.timeout
        maxAttempts = record.maxAttempts
        key = record.key
        labels = record.labels
        try check(inputAt: "/input")
    }

    /// When it may start first; nil: at once.
    func notBefore(_ now: Instant) -> Instant? { runAt ?? delay.map { now + $0 } }

    // MARK: Options

    private func set(_ name: String, _ value: JSONValue) throws(Problem) {
        if value == .null, name != "labels" { return try Self.known(name) }
        switch name {
        case "pool": pool = try choosePool(try text(name, value))
        case "queue":
            queue = try text(name, value)
            guard Self.queueNameBytes.contains(queue.utf8.count), TaskDefinition.isValid(name: queue) else {
                throw .invalid("/queue", "1 to 64 letters, digits, -, _ or .")
            }
        case "priority": priority = try integer(name, value, in: JobSpec.priorities)
        case "max_attempts": maxAttempts = try integer(name, value, in: JobSpec.attempts)
        case "timeout": timeout = try duration(name, value)
        case "delay": delay = try duration(name, value)
        case "run_at":
            guard let time = instant(fromTimestamp: try text(name, value)) else {
                throw .invalid("/run_at", "expected a time from 1970 to 2200, like 2026-11-22T14:00:00Z")
            }
            runAt = time
        case "key":
            let key = try text(name, value)
            guard !key.isEmpty, key.utf8.count <= Self.keyBytes else {
                throw .invalid("/key", "1 to \(Self.keyBytes) bytes")
            }
            try Self.checkAskable(key, at: "/key")
            self.key = key
        case "labels": try setLabels(value)
        default: try Self.known(name)
        }
    }

    private static func known(_ name: String) throws(Problem) {
        let names = optionNames + ["task", "input", "labels"]
        guard !names.contains(name) else { return }
        let near = nearest(to: name, among: names).map { "; did you mean \"\($0)\"?" } ?? ""
        throw .invalid("/\(escapedPointer(name))", "unknown member" + near)
    }

    private func choosePool(_ name: String) throws(Problem) -> PoolName {
        let task = entry.task
        if name == "auto" {
            let choice = entry.choosePool()
            poolReason = choice.reason
            return choice.pool
        }
        var choices: String { (task.pools.map(\.rawValue) + ["auto"]).joined(separator: ", ") }
        guard let pool = PoolName(rawValue: name) else {
            throw .invalid("/pool", "there is no pool \"\(name)\"; \(task.name) runs in: \(choices)")
        }
        guard task.pools.contains(pool) else {
            throw .invalid("/pool", "\(task.name) does not run in the \(name) pool, but in: \(choices)")
        }
        return pool
    }

    private func setLabels(_ value: JSONValue) throws(Problem) {
        guard case .object(let members) = value else {
            throw .invalid("/labels", "expected object, got \(value.typeName)")
        }
        for member in members { try addLabel(member.key, member.value) }
    }

    /// In a body or in a query: the same bounds.
    private func addLabel(_ name: String, _ value: JSONValue) throws(Problem) {
        guard labels.count < Self.maximumLabels else { throw .invalid("/labels", "at most \(Self.maximumLabels)") }
        let pointer = "/labels/\(escapedPointer(name))"
        guard !name.isEmpty, name.utf8.count <= Self.labelBytes else {
            throw .invalid(pointer, "a name has 1 to \(Self.labelBytes) bytes")
        }
        guard let text = value.string else { throw .invalid(pointer, "expected string, got \(value.typeName)") }
        guard text.utf8.count <= Self.labelBytes else { throw .invalid(pointer, "at most \(Self.labelBytes) bytes") }
        try Self.checkAskable(name, at: pointer)
        try Self.checkAskable(text, at: pointer)
        labels.append((name, text))
    }

    /// In a query there is no zero: what has one in it could never be asked for.
    private static func checkAskable(_ text: String, at pointer: String) throws(Problem) {
        guard !text.utf8.contains(0) else { throw .invalid(pointer, "holds a NUL") }
    }

    private func text(_ name: String, _ value: JSONValue) throws(Problem) -> String {
        guard let text = value.string else { throw .invalid("/\(name)", "expected string, got \(value.typeName)") }
        return text
    }

    private func integer(_ name: String, _ value: JSONValue, in bounds: ClosedRange<Int>) throws(Problem) -> Int {
        guard let number = value.integer, bounds.contains(number) else {
            throw .invalid("/\(name)", "must be a whole number from \(bounds.lowerBound) to \(bounds.upperBound)")
        }
        return number
    }

    private func duration(_ name: String, _ value: JSONValue) throws(Problem) -> Duration {
        guard let duration = Duration(text: try text(name, value)) else {
            throw .invalid("/\(name)", "expected a duration with a unit, like 250ms, 30s, 5m or 2h")
        }
        guard duration > .zero else { throw .invalid("/\(name)", "must be a nanosecond (0.001us) or more") }
        return duration
    }

    // MARK: Input

    /// Checks the input against the task's schema, and by the task's own eye.
    private func check(inputAt prefix: String) throws(Problem) {
        var violations = entry.task.input.violations(in: input)
        if violations.isEmpty, let check = entry.task.check { violations = check(input) }
        guard violations.isEmpty else {
            throw .invalid(violations.map { SchemaViolation(pointer: prefix + $0.pointer, detail: $0.detail) })
        }
    }
}

extension TaskRegistry {
    func entry(_ name: String, at pointer: String) throws(Problem) -> Entry {
        guard let entry = self[name] else { throw .invalid(pointer, unknown(name)) }
        return entry
    }

    /// Says that there is no such task, and which one may have been meant.
    func unknown(_ name: String) -> String {
        let near = nearest(to: name, among: names).map { "; did you mean \"\($0)\"?" } ?? "; see GET /v1/tasks"
        return "there is no task \"\(name)\"" + near
    }
}
