import EventLoop
import Glibc
import JSON
import Jobs
import Pools
import Server

/// Everything that `serve` can be told, by flag, environment or file: one line for each.
enum Setting: String, CaseIterable {
    case listen, store, loops, threads, processes, python, interpreter, env, drain
    case preload
    case liveBytes = "live-bytes"
    case workerMaxJobs = "worker-max-jobs"
    case workerMaxAge = "worker-max-age"
    case workerIdle = "worker-idle"
    case workerMemory = "worker-memory"
    case memoryLimit = "memory-limit"
    case processLimit = "process-limit"
    case cpuLimit = "cpu-limit"
    case fileLimit = "file-limit"
    case keepJobs = "keep-jobs"
    case keepAge = "keep-age"
    case tokenFile = "token-file"
    case noAuth = "no-auth"
    case publicDirectory = "public"
    case filesRoot = "files-root"
    case allowFetch = "allow-fetch"
    case demoFaults = "demo-faults"
    case allowHost = "allow-host"
    case tlsCert = "tls-cert"
    case tlsKey = "tls-key"
    case allowPlaintext = "allow-plaintext-on-network"

    /// `SPINDLE_TOKEN_FILE` for `token-file`.
    var variable: String {
        // Characters: our own names.
        "SPINDLE_" + rawValue.uppercased().map { $0 == "-" ? "_" : $0 }
    }

    /// The key in the file: `token_file`.
    // Characters: our own names.
    var key: String { String(rawValue.map { $0 == "-" ? "_" : $0 }) }

    /// What its value is in the file.
    enum Kind {
        case text, list, flag, count, duration, size
    }

    var kind: Kind {
        switch self {
        case .listen, .python, .env, .allowFetch, .allowHost: .list
        case .preload, .noAuth, .demoFaults, .allowPlaintext: .flag
        case .loops, .threads, .processes, .workerMaxJobs, .processLimit, .fileLimit, .keepJobs: .count
        case .drain, .workerMaxAge, .workerIdle, .cpuLimit, .keepAge: .duration
        case .liveBytes, .workerMemory, .memoryLimit: .size
        case .store, .interpreter, .tokenFile, .publicDirectory, .filesRoot, .tlsCert, .tlsKey: .text
        }
    }
}

/// The settings in force, and where each came from: flags win over environment over file over defaults.
struct Settings {
    struct Value {
        var texts: [String]
        var origin: String
    }

    private(set) var values: [Setting: Value] = [:]
    /// The file that was read.
    private(set) var path: String?
    /// Tasks that are programs, from the file's `[commands.NAME]`.
    private(set) var commands: [TaskDefinition] = []
    /// Workers in any language, from the file's `[workers.NAME]`.
    private(set) var workers: [WorkerTable] = []

    /// - Parameters:
    ///   - flags: What the command line said.
    ///   - path: The file of `--config`, else of `SPINDLE_CONFIG`; nil: none.
    init(flags: [Setting: [String]], file path: String?) throws {
        values = Self.defaults()
        if let path { try readFile(path) }
        for setting in Setting.allCases {
            guard let text = environment(setting.variable) else { continue }
            let texts = setting.kind == .list ? Self.items(of: text) : [text]
            values[setting] = Value(texts: texts, origin: setting.variable)
        }
        for (setting, texts) in flags where !texts.isEmpty {
            values[setting] = Value(texts: texts, origin: "--\(setting.rawValue)")
        }
    }

    /// The items of a list in a variable, between commas; one with a backslash before it is part of its item.
    static func items(of text: String) -> [String] {
        var items = [""]
        var isEscaped = false
        for scalar in text.unicodeScalars {
            if scalar == ",", !isEscaped {
                items.append("")
            } else {
                if scalar == "," { items[items.count - 1].unicodeScalars.removeLast() }
                items[items.count - 1].unicodeScalars.append(scalar)
            }
            isEscaped = scalar == "\\"
        }
        return items.filter { !$0.isEmpty }
    }

    private static func defaults() -> [Setting: Value] {
        let cores = String(max(sysconf(CInt(_SC_NPROCESSORS_ONLN)), 1))
        let state = StateDirectory.path
        func stored(_ name: String) -> [String] { state.map { ["\($0)/\(name)"] } ?? [] }
        let texts: [Setting: [String]] = [
            .listen: ["127.0.0.1:8080"], .store: stored("spindle.db"), .drain: ["10s"], .keepJobs: ["1000000"],
            .keepAge: ["7d"], .liveBytes: [Memory.quarter], .loops: ["1"], .threads: [cores], .processes: [cores],
            .python: [], .env: [],
            .interpreter: ["python3"], .preload: ["false"], .workerMaxJobs: ["0"], .workerMaxAge: ["0s"],
            .workerIdle: ["0s"], .workerMemory: ["0"], .memoryLimit: ["2GiB"], .processLimit: ["512"],
            .cpuLimit: ["0s"], .fileLimit: ["1024"],
            .tokenFile: stored("token"), .noAuth: ["false"], .publicDirectory: [], .filesRoot: ["."],
            .allowFetch: [], .demoFaults: ["false"], .allowHost: [], .tlsCert: [], .tlsKey: [],
            .allowPlaintext: ["false"],
        ]
        return texts.mapValues { Value(texts: $0, origin: "default") }
    }

    /// What is said otherwise in `other`, by its keys in the file.
    func differences(from other: Settings) -> [String] {
        Setting.allCases.filter { list($0) != other.list($0) }.map(\.key)
    }

    // MARK: Reading values

    func isDefault(_ setting: Setting) -> Bool { values[setting]?.origin == "default" }
    func list(_ setting: Setting) -> [String] { values[setting]?.texts ?? [] }
    func text(_ setting: Setting) -> String? { values[setting]?.texts.last }

    func flag(_ setting: Setting) throws -> Bool {
        let text = text(setting) ?? "false"
        switch text.inLowerCase {
        case "true", "1", "yes", "on": return true
        case "false", "0", "no", "off", "": return false
        default: throw wrong(setting, "is neither true nor false: \"\(text)\"")
        }
    }

    func count(_ setting: Setting, in bounds: ClosedRange<Int>) throws -> Int {
        let text = text(setting) ?? ""
        guard let number = Int(text), bounds.contains(number) else {
            throw wrong(
                setting, "must be a whole number from \(bounds.lowerBound) to \(bounds.upperBound), not \"\(text)\"")
        }
        return number
    }

    func duration(_ setting: Setting) throws -> Duration {
        let text = text(setting) ?? ""
        guard let duration = Duration(text: text) else {
            throw wrong(setting, "must be a duration with a unit, like 500ms, 10s, 5m or 24h, not \"\(text)\"")
        }
        return duration
    }

    /// Bytes, with one of the units KiB, MiB and GiB; 0 alone needs none.
    func bytes(_ setting: Setting) throws -> UInt64 {
        let text = text(setting) ?? ""
        guard let bytes = byteCount(text) else {
            throw wrong(setting, "must be a size with a unit, like 512MiB or 2GiB, or 0, not \"\(text)\"")
        }
        return bytes
    }

    /// An error about a setting, named as it was given.
    func wrong(_ setting: Setting, _ why: String) -> CommandFailure {
        let origin = values[setting]?.origin ?? "default"
        return CommandFailure(.usage, "\(origin == "default" ? "--\(setting.rawValue)" : origin) \(why)")
    }

    // MARK: The file

    private mutating func readFile(_ path: String) throws {
        let root = try ConfigurationFile(path).root
        try root.allow(only: Setting.allCases.map(\.key) + ["commands", "workers"])
        commands = try root.tables("commands").map { try commandTask($0.name, $0.table) }
        workers = try root.tables("workers").map { try WorkerTable($0.name, $0.table) }
        for setting in Setting.allCases {
            guard let texts = try Self.texts(of: setting, in: root) else { continue }
            values[setting] = Value(texts: texts, origin: "\(path): \(setting.key)")
        }
        self.path = path
    }

    /// A setting's value as the command line would have it.
    private static func texts(of setting: Setting, in root: ConfigurationTable) throws -> [String]? {
        let key = setting.key
        switch setting.kind {
        case .text: return try root.text(key).map { [$0] }
        case .list: return try root.texts(key, orOne: true)
        case .flag: return try root.flag(key).map { [$0 ? "true" : "false"] }
        case .count: return try root.whole(key).map { [String($0)] }
        case .duration:
            return try root.read(key, "a duration in quotes, like \"10s\"") { $0.string.map { [$0] } }
        case .size:
            return try root.read(key, "a size in quotes, like \"512MiB\", or a whole number") { value in
                (value.string ?? value.integer.map(String.init)).map { [$0] }
            }
        }
    }
}

/// `512MiB` in bytes; nil for what is no size.
func byteCount(_ text: String) -> UInt64? {
    if text == "0" { return 0 }
    for (unit, shift) in [("KiB", 10), ("MiB", 20), ("GiB", 30)] {
        guard let digits = text.rest(before: unit) else { continue }
        guard let number = UInt64(digits), number <= UInt64.max >> (UInt64(shift) + 1) else { return nil }
        return number << UInt64(shift)
    }
    return nil
}
