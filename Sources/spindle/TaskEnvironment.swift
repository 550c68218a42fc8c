import EventLoop
import Glibc

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
    static func variables(wanted: [String]) -> [String: String] {
        guard !wanted.isEmpty else {
            return all().filter { name, _ in !ours.contains { name.begins(with: $0) } }
        }
        var variables: [String: String] = [:]
        for text in wanted {
            if let (name, value) = text.cut(at: "=") {
                variables[String(name)] = String(value)
            } else if let value = getenv(text) {
                variables[text] = String(cString: value)
            }
        }
        return variables
    }

    private static func all() -> [String: String] {
        var variables: [String: String] = [:]
        var next = environ
        while let entry = next.pointee {
            if let (name, value) = String(cString: entry).cut(at: "=") { variables[String(name)] = String(value) }
            next += 1
        }
        return variables
    }
}
