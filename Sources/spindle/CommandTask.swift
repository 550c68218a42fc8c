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
func commandTask(_ name: String, _ table: JSONValue, _ path: String) throws -> TaskDefinition {
    func wrong(_ why: String) -> CommandFailure { CommandFailure(.usage, "\(path): commands.\(name): \(why)") }
    guard TaskDefinition.isValid(name: name) else { throw wrong("a name has 1 to 64 letters, digits, -, _ or .") }
    let known = [
        "command", "description", "kind", "input", "progress", "result", "timeout", "max_attempts", "environment",
        "dash", "stdin",
    ]
    for member in table.members where !known.contains(member.key) {
        let near = nearest(to: member.key, among: known).map { "; did you mean \"\($0)\"?" } ?? ""
        throw wrong("unknown key \"\(member.key)\"" + near)
    }
    guard let argv = table["command"]?.elements?.compactMap(\.string), !argv.isEmpty else {
        throw wrong("command must be a list of texts, the program first")
    }
    guard !argv[0].contains("{") else { throw wrong("the program itself cannot be a placeholder") }
    do throws(TaskFailure) { _ = try findExecutable(argv[0]) } catch { throw wrong(error.message) }
    guard let result = CommandDefinition.ResultFormat(rawValue: table["result"]?.string ?? "text") else {
        throw wrong("result is \"text\" or \"json\"")
    }
    var progress: Pattern?
    if let text = table["progress"]?.string {
        do throws(Pattern.Failure) { progress = try Pattern(text) } catch {
            throw wrong("progress is no regular expression: \(error)")
        }
    }
    var environment: [String: String] = [:]
    for variable in table["environment"]?.members ?? [] { environment[variable.key] = variable.value.string ?? "" }
    let command = CommandDefinition(
        argv: argv, result: result, progress: progress,
        mayBeginWithDash: Set((table["dash"]?.elements ?? []).compactMap(\.string)), environment: environment,
        takesInput: table["stdin"]?.bool ?? false)
    let schema: JSONSchema
    do throws(SchemaError) {
        schema = try JSONSchema(table["input"] ?? implicitSchema(command))
    } catch {
        throw wrong("input: \(error)")
    }
    var timeout: Duration?
    if let text = table["timeout"]?.string {
        timeout = Duration(text: text)
        guard timeout != nil else { throw wrong("timeout \"\(text)\" is no duration like 30s or 5m") }
    }
    let attempts = table["max_attempts"]?.integer ?? 1
    guard JobSpec.attempts.contains(attempts) else { throw wrong("max_attempts is a number from 1 to 1000") }
    return TaskDefinition(
        name: name, kind: table["kind"]?.string == "cpu" ? .cpu : .io,
        description: table["description"]?.string ?? argv.joined(separator: " "), input: schema, pools: [.process],
        timeout: timeout, maxAttempts: attempts, body: .command(command),
        check: { input in
            do throws(TaskFailure) {
                _ = try command.arguments(for: input)
                return []
            } catch {
                return [SchemaViolation(pointer: "", detail: error.message)]
            }
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
