import EventLoop
import JSON
import Jobs
import Pools
import Server

/// A task from the configuration's `[commands.NAME]`:
///
/// ```toml
/// [commands.convert]
/// description = "Converts a film"
/// command = ["ffmpeg", "-i", "{file}", "out.webm"]
/// progress = '(\d+(?:\.\d+)?)%'
/// result = "text"                      # or "json"
/// timeout = "10m"
/// max_attempts = 2
/// input = { type = "object", required = ["file"], properties = { file = { type = "string" } } }
/// environment = { FFREPORT = "level=16" }
/// dash = ["file"]                      # parameters whose value may begin with -
/// stdin = true                         # clients write to its standard input; else that is empty
/// ```
///
/// What is of another type than these is refused by its place: an argument that is left out runs another command.
func commandTask(_ name: String, _ table: ConfigurationTable) throws -> TaskDefinition {
    guard TaskDefinition.isValid(name: name) else {
        throw table.wrong("is no name of a task: 1 to 64 letters, digits, -, _ or .")
    }
    try table.allow(only: [
        "command", "description", "kind", "input", "progress", "result", "timeout", "max_attempts", "environment",
        "dash", "stdin",
    ])
    let command = try commandDefinition(table)
    let schema: JSONSchema
    do throws(SchemaError) {
        schema = try JSONSchema(table.json("input") ?? implicitSchema(command))
    } catch {
        throw table.wrong("input", "is no schema: \(error)")
    }
    let timeout = try table.read("timeout", "a duration in quotes, like \"30s\" or \"5m\"") { value in
        value.string.flatMap { Duration(text: $0) }
    }
    let attempts = try table.read("max_attempts", "a whole number from 1 to 1000") { value in
        value.integer.flatMap { JobSpec.attempts.contains($0) ? $0 : nil }
    }
    let kind = try table.read("kind", "\"cpu\" or \"io\"") { $0.string.flatMap(TaskKind.init(rawValue:)) }
    let description = try table.text("description") ?? (table.texts("command") ?? []).joined(separator: " ")
    return TaskDefinition(
        name: name, kind: kind ?? .io, description: description, input: schema, pools: [.process],
        timeout: timeout, maxAttempts: attempts ?? 1, body: .command(command),
        check: { input in
            do throws(TaskFailure) {
                _ = try command.arguments(for: input)
                return []
            } catch {
                return [SchemaViolation(pointer: "", detail: error.message)]
            }
        })
}

/// What is run, and how.
private func commandDefinition(_ table: ConfigurationTable) throws -> CommandDefinition {
    guard var argv = try table.texts("command"), let program = argv.first else {
        throw table.wrong("command", "must be a list of texts, the program first")
    }
    guard !program.holds("{") else { throw table.wrong("command", "begins with a placeholder: no program is named") }
    argv[0] = try programPath(program, in: table.directory) { table.wrong("command", $0) }
    let result = try table.read("result", "\"text\" or \"json\"") {
        $0.string.flatMap(CommandDefinition.ResultFormat.init(rawValue:))
    }
    var progress: Pattern?
    if let text = try table.text("progress") {
        do throws(Pattern.Failure) { progress = try Pattern(text) } catch {
            throw table.wrong("progress", "is no regular expression: \(error)")
        }
    }
    return CommandDefinition(
        argv: argv, result: result ?? .text, progress: progress,
        mayBeginWithDash: Set(try table.texts("dash") ?? []), defaults: defaults(in: table.json("input")),
        environment: try table.variables("environment"),
        takesInput: try table.flag("stdin") ?? false)
}

/// The defaults of a schema's properties, in the shape of an input.
private func defaults(in schema: JSONValue?) -> JSONValue {
    .object(
        (schema?["properties"]?.members ?? []).compactMap { property in
            if let value = property.value["default"] { return JSONValue.Member(property.key, value) }
            let inner = defaults(in: property.value)
            return inner.members.isEmpty ? nil : JSONValue.Member(property.key, inner)
        })
}

/// What the placeholders ask for, when the configuration says nothing else.
private func implicitSchema(_ command: CommandDefinition) -> JSONValue {
    let names = command.parameters
    return [
        "type": "object", "additionalProperties": false, "required": .array(names.map(JSONValue.string)),
        "properties": .object(names.map { JSONValue.Member($0, .object([])) }),
    ]
}
