import ArgumentParser
import EventLoop
import Glibc
import HTTP
import HTTPClient
import JSON
import Jobs
import Logging
import Pools

struct Demo: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Starts a server on a free port and runs real work in every pool, live.",
        discussion: """
            Example:  spindle demo
            Hashes a directory, fetches addresses, counts primes on threads and in worker processes, runs a command. The
            dashboard stays up until Ctrl-C; with --once it ends by itself, with 0 only if all of it worked.
            """)

    @Flag(help: "End when the work is done.") var once = false

    func run() throws {
        let token = try TemporaryToken()
        defer { token.remove() }
        let flags: [Setting: [String]] = [
            .listen: ["127.0.0.1:0"], .store: ["memory"], .tokenFile: [token.path], .allowFetch: ["127.0.0.0/8"],
        ]
        let settings = try Settings(flags: flags, file: nil)
        var setup = try ServerSetup(settings)
        setup.commands.append(
            try TaskDefinition(
                name: "kernel", kind: .io, description: "Names the kernel", input: JSONSchema(["type": "object"]),
                pools: [.process], body: .command(CommandDefinition(argv: ["uname", "-sr"]))))
        let loop = try EventLoop()
        loop.adopt()
        let running = try RunningServer(setup, on: loop, logging: .error)
        running.stopOnSignals()
        running.announce()
        let show = DemoShow(try Client(url: running.url, token: running.token, on: loop), running.url)
        let bound = LoopBound((show, running), on: loop)
        let ends = once
        // Owned by the loop: it runs until the task has told the server to stop.
        Task(executorPreference: loop) {
            let (show, running) = bound.value
            await show.play()
            if ends { return running.stop() }
            print("\nThe dashboard stays up; Ctrl-C ends it: \(running.dashboard)")
            fflush(nil)
        }
        loop.run()
        running.finish()
        if !show.allWorked { throw CommandFailure(.jobFailed, "not all of it worked") }
    }
}

/// A token file that lives as long as the demo, in a directory that nobody else can look into.
private struct TemporaryToken {
    private let directory: String
    var path: String { "\(directory)/token" }

    init() throws {
        var template = Array("\(environment("TMPDIR") ?? "/tmp")/spindle-demo-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw CommandFailure(.usage, "cannot make a directory in TMPDIR: \(String(cString: strerror(errno)))")
        }
        directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    func remove() {
        unlink(path)
        rmdir(directory)
    }
}

/// The demo's jobs and their bars. Lives on the loop.
final class DemoShow {
    private struct Act {
        let title: String
        let task: String
        let input: JSONValue
        let pool: PoolName
    }

    private final class Row {
        let act: Act
        var fraction = 0.0
        var outcome: String?
        var worked = false

        init(_ act: Act) { self.act = act }
    }

    private let client: Client
    private let rows: [Row]
    private let isTerminal = isatty(STDOUT_FILENO) == 1
    private var isDrawn = false

    init(_ client: Client, _ url: String) {
        self.client = client
        let urls: [JSONValue] = ["/healthz", "/", "/spindle.css", "/spindle.js", "/readyz"].map { .string(url + $0) }
        rows = [
            Act(title: "hash a directory", task: "hash", input: ["path": "."], pool: .thread),
            Act(title: "count primes", task: "primes", input: ["limit": 100_000_000], pool: .thread),
            Act(title: "count primes", task: "primes", input: ["limit": 100_000_000], pool: .process),
            Act(
                title: "draw a picture", task: "mandelbrot", input: ["width": 640, "height": 480, "iterations": 1000],
                pool: .process),
            Act(title: "run a command", task: "kernel", input: [:], pool: .process),
            Act(title: "fetch addresses", task: "fetch", input: ["urls": .array(urls)], pool: .loop),
            Act(title: "wait without a thread", task: "sleep", input: ["seconds": 1], pool: .loop),
        ].map(Row.init)
    }

    var allWorked: Bool { rows.allSatisfy(\.worked) }

    /// Runs everything at once and shows it.
    func play() async {
        let bound = LoopBound(self, on: client.loop)
        await withTaskGroup(of: Void.self) { group in
            for index in rows.indices { group.addTask { await bound.value.run(index) } }
        }
        draw()
        if !isTerminal { for row in rows { print(line(row)) } }
        fflush(nil)
    }

    private func run(_ index: Int) async {
        let row = rows[index]
        let body: JSONValue = [
            "task": .string(row.act.task), "input": row.act.input, "pool": .string(row.act.pool.rawValue),
        ]
        do {
            let answer = try await client.send(
                "POST", "/v1/jobs", body: body.bytes, headers: ["Accept: application/x-ndjson"]
            ) { [self] event in
                take(event, row)
            }
            _ = try answer.checked()
        } catch {
            row.outcome = "\(error)"
        }
    }

    private func take(_ event: JSONValue, _ row: Row) {
        switch event["type"]?.string {
        case "progress": row.fraction = event["fraction"]?.number ?? row.fraction
        case "succeeded":
            row.fraction = 1
            row.worked = true
            row.outcome = String(decoding: (event["result"] ?? .null).bytes, as: UTF8.self)
        case "failed", "cancelled": row.outcome = event["error"]?["message"]?.string ?? "cancelled"
        default: return
        }
        draw()
    }

    private func draw() {
        guard isTerminal else { return }
        if isDrawn { print("\u{1B}[\(rows.count)A", terminator: "") }
        isDrawn = true
        for row in rows { print("\u{1B}[2K\(line(row))") }
        fflush(nil)
    }

    private func line(_ row: Row) -> String {
        let title = row.act.title.padded(to: 22) + row.act.pool.rawValue.padded(to: 9)
        let outcome = row.outcome.map { "  " + $0.prefix(60) + ($0.count > 60 ? "…" : "") } ?? ""
        return title + ProgressBar.bar(row.fraction) + " " + ProgressBar.percent(row.fraction) + outcome
    }
}

extension String {
    fileprivate func padded(to width: Int) -> String { self + String(repeating: " ", count: max(width - count, 1)) }
}
