import ArgumentParser
import EventLoop
import JSON
import Jobs
import Server
import Store

/// Looking after the file that jobs are kept in.
struct StoreCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "store",
        abstract: "Checks, copies, counts and shrinks the store.",
        discussion: """
            Example:  spindle store backup /var/backups/spindle.db
            All but vacuum work while a server uses the store.
            """,
        subcommands: [StoreCheck.self, StoreBackup.self, StoreStats.self, StoreVacuum.self])
}

/// Which store is meant.
struct StoreOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The store (default: SPINDLE_STORE, or spindle.db in the state directory).", valueName: "PATH"))
    var store: String?
    @Option(help: ArgumentHelp("The configuration that names it.", valueName: "FILE")) var config: String?

    func path() throws -> String {
        let flags: [Setting: [String]] = [.store: store.map { [$0] } ?? []]
        let settings = try Settings(flags: flags, file: config ?? environment("SPINDLE_CONFIG"))
        guard let path = settings.text(.store) else { throw StateDirectory.missing("--store") }
        guard path != "memory", !path.begins(with: "postgres") else {
            throw settings.wrong(.store, "is no file: there is nothing to look after")
        }
        return path
    }
}

/// Runs what may fail because of the store.
private func caring<Value>(_ body: () throws -> Value) throws -> Value {
    do {
        return try body()
    } catch let failure as StoreFailure {
        throw CommandFailure(
            .jobFailed, failure.description + (failure.damage == nil ? "" : "\n\(StoreFailure.remedy())"))
    }
}

struct StoreCheck: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Reads all of the store and says what is wrong.",
        discussion: "Example:  spindle store check\nEnds with 0 when all is well, with 1 when something is wrong.")

    @OptionGroup var options: StoreOptions

    func run() throws {
        let path = try options.path()
        let found = try caring { try StoreCare.check(path) }
        guard !found.isEmpty else { return emit("\(path): all is well") }
        for line in found { emit(line) }
        throw CommandFailure(
            .jobFailed,
            "\(path) is damaged: put back a copy made by `spindle store backup`, or move the file away to start anew")
    }
}

struct StoreBackup: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup", abstract: "Copies the store to a file, while the server goes on.",
        discussion: """
            Example:  spindle store backup /var/backups/spindle.db
            The copy is checked and synced before it appears under its name. To use it: stop the server, put the copy in the
            store's place, remove what ends in -wal and -shm there, start the server.
            """)

    @Argument(help: "The file to make; it must not be there yet.") var file: String
    @OptionGroup var options: StoreOptions

    func run() throws {
        let path = try options.path()
        try caring { try StoreCare.backup(path, to: file) }
        let figures = try caring { try StoreCare.figures(file) }
        let finished = figures.finished.reduce(0) { $0 + $1.count }
        emit("\(file): \(figures.live) live and \(finished) finished jobs, \(bytes(figures.fileBytes))")
    }
}

struct StoreStats: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stats", abstract: "Counts what is in the store and what it takes.",
        discussion: "Example:  spindle store stats --json")

    @Flag(help: "Print as JSON.") var json = false
    @OptionGroup var options: StoreOptions

    func run() throws {
        let path = try options.path()
        let figures = try caring { try StoreCare.figures(path) }
        json ? printJSON(path, figures) : printTable(path, figures)
    }

    private func printTable(_ path: String, _ figures: StoreCare.Figures) {
        var table = Table("STORE", path)
        table.add("live jobs", "\(figures.live), \(figures.running) of them running")
        for (state, count) in figures.finished { table.add("\(state) jobs", String(count)) }
        if let oldest = figures.oldest, let newest = figures.newest {
            table.add("first end", oldest.text)
            table.add("last end", newest.text)
        }
        table.add("idempotency keys", String(figures.keys))
        table.add("starts", String(figures.epoch))
        table.add("in use or not closed", figures.isClean ? "no" : "yes")
        table.add("file", bytes(figures.fileBytes))
        table.add("unused in it", bytes(figures.freeBytes))
        table.add("log", bytes(figures.logBytes))
        emit(table.text)
    }

    private func printJSON(_ path: String, _ figures: StoreCare.Figures) {
        let finished = figures.finished.map { JSONValue.Member($0.state, .integer($0.count)) }
        let value: JSONValue = [
            "store": .string(path), "live": .integer(figures.live), "running": .integer(figures.running),
            "finished": .object(finished), "idempotency_keys": .integer(figures.keys),
            "first_end": figures.oldest.map { .string($0.text) } ?? .null,
            "last_end": figures.newest.map { .string($0.text) } ?? .null, "epoch": .integer(figures.epoch),
            "clean": .bool(figures.isClean), "file_bytes": .integer(figures.fileBytes),
            "unused_bytes": .integer(figures.freeBytes), "log_bytes": .integer(figures.logBytes),
        ]
        emit(String(decoding: value.bytes, as: UTF8.self))
    }
}

struct StoreVacuum: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vacuum", abstract: "Gives unused space back to the disk; the server must not run.",
        discussion: "Example:  systemctl stop spindle && spindle store vacuum && systemctl start spindle")

    @OptionGroup var options: StoreOptions

    func run() throws {
        let path = try options.path()
        let before = try caring { try StoreCare.figures(path) }
        try caring { try StoreCare.vacuum(path) }
        let after = try caring { try StoreCare.figures(path) }
        emit("\(path): \(bytes(before.fileBytes + before.logBytes)) before, \(bytes(after.fileBytes)) now")
    }
}

/// 1536 as `1.5 KiB`.
private func bytes(_ count: Int) -> String {
    var value = Double(count)
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024 || unit == "GiB" {
            return unit == "B" ? "\(count) B" : "\((value * 10).rounded() / 10) \(unit)"
        }
        value /= 1024
    }
    return "\(count) B"
}
