import EventLoop
import Pools

/// What the tasks of `--python` see of the server's environment: it is the user's own code, and sees what the user does,
/// but for what is the server's alone.
enum TaskEnvironment {
    /// Names of what speaks to the server itself: of its secrets, and of the system that has started it.
    private static let ours = ["SPINDLE_", "LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_"]

    /// Whether a text is `NAME=VALUE` or `NAME`, with a name that a variable can have.
    static func isNamed(_ text: String) -> Bool {
        let name = text.cut(at: "=")?.before ?? text[...]
        // Characters: a name of letters is what a person would call one.
        return name.first.map { $0.isLetter || $0 == "_" } == true && !name.contains(where: \.isWhitespace)
    }

    /// - Parameter wanted: `NAME=VALUE`, or `NAME` for the server's own value of it. Empty: all that the server sees.
    static func variables(wanted: [String]) -> Environment {
        guard !wanted.isEmpty else {
            var all = Environment.own
            all.removeAll { name in ours.contains { name.begins(with: $0) } }
            return all
        }
        var variables = Environment()
        for text in wanted {
            if let (name, value) = text.cut(at: "=") {
                variables[String(name)] = String(value)
            } else {
                variables.inherit(text)
            }
        }
        return variables
    }
}
