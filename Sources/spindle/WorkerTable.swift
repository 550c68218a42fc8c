import JSON
import Pools

/// Workers from the configuration's `[workers.NAME]`: any program that speaks the worker protocol.
///
/// ```toml
/// [workers.shell]
/// command = ["sh", "worker.sh"]
/// environment = { LEVEL = "3" }
/// ```
func workerFleet(_ name: String, _ table: JSONValue, _ path: String) throws -> WorkerFleet {
    func wrong(_ why: String) -> CommandFailure { CommandFailure(.usage, "\(path): workers.\(name): \(why)") }
    let known = ["command", "environment"]
    for member in table.members where !known.contains(member.key) {
        let near = nearest(to: member.key, among: known).map { "; did you mean \"\($0)\"?" } ?? ""
        throw wrong("unknown key \"\(member.key)\"" + near)
    }
    guard var argv = table["command"]?.elements?.compactMap(\.string), !argv.isEmpty else {
        throw wrong("command must be a list of texts, the program first")
    }
    do throws(TaskFailure) { argv[0] = try findExecutable(argv[0]) } catch { throw wrong(error.message) }
    var environment: [String: String] = [:]
    for variable in table["environment"]?.members ?? [] { environment[variable.key] = variable.value.string ?? "" }
    return WorkerFleet(name: "workers.\(name)", argv: argv, environment: environment)
}
