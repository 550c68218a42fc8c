import EventLoop
import Glibc

/// `$XDG_STATE_HOME/spindle`, where the token and the store live.
enum StateDirectory {
    /// nil where the environment names no place for it. There is no second choice: what is in it is secret, and is to be
    /// found again.
    static var path: String? {
        if let state = environment("XDG_STATE_HOME") { return "\(state)/spindle" }
        return environment("HOME").map { "\($0)/.local/state/spindle" }
    }

    /// - Parameter flag: What can be given instead.
    static func missing(_ flag: String) -> CommandFailure {
        CommandFailure(
            .usage,
            "there is no place for the server's state: set HOME or XDG_STATE_HOME"
                + (flag.isEmpty ? "" : ", or give \(flag)"))
    }

    /// Makes the directory of a file, mode 0700, with all above it.
    static func make(for file: String) {
        let parts = file.parts(at: "/", keepingEmpty: true).dropLast()
        for count in 1...max(parts.count, 1) {
            let directory = parts.prefix(count).joined(separator: "/")
            if !directory.isEmpty { mkdir(directory, 0o700) }
        }
    }
}
