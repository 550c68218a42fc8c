import CSpindle
import Glibc
import Pools
import Tasks

/// What the process pool starts: this same binary, speaking the worker protocol on descriptor 3.
enum WorkerCommand {
    static let name = "__worker"

    /// The arguments that make a worker with the same tasks.
    static func arguments(_ options: TaskOptions) -> [String] {
        // What this process was started from, even if the file has been replaced since.
        var arguments = ["/proc/self/exe", name, options.filesRoot]
        if let path = executablePath() { arguments[0] = path }
        if options.hasFaults { arguments.append("faults") }
        return arguments
    }

    static func run() -> Never {
        var options = TaskOptions()
        let arguments = CommandLine.arguments
        if arguments.count > 2 { options.filesRoot = arguments[2] }
        options.hasFaults = arguments.contains("faults")
        WorkerMain(tasks: builtInTasks(options, on: nil)).run()
    }

    private static func executablePath() -> String? {
        guard let path = realpath("/proc/self/exe", nil) else { return nil }
        defer { free(path) }
        return String(cString: path)
    }
}
