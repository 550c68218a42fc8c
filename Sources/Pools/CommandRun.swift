import EventLoop
import Glibc
import JSON
import Jobs

/// One attempt as a child process of its own: a command from the configuration.
final class CommandRun {
    /// Output up to this length is the result, in bytes.
    static let longestResult = 1024 * 1024
    /// Of longer output the result is at least this much of the end; the log has more.
    static let keptEnd = 64 * 1024
    private static let maximumLine = 64 * 1024

    let attempt: Attempt
    let pid: pid_t
    private let command: CommandDefinition
    private let loop: EventLoop
    private let limits: ChildLimits
    private let report: (Report) -> Void
    private let onEnd: (CommandRun, AttemptResult) -> Void
    /// One for each stream, when there is a pattern to look for.
    private var progress: [ProgressReader] = []
    private var wasTooCostly = false
    private var child: Child!
    private var readers: [LineReader] = []
    private var input: ChildInput?
    private var kept: [UInt8] = []
    private var total = 0
    private var openPipes = 3
    private var exit: Child.Exit?
    private var wasStopped = false
    private var isOver = false
    /// The limit that it was killed for.
    private var excess: JobError?
    private let started = monotonicNanoseconds()

    init(
        _ attempt: Attempt, _ command: CommandDefinition, _ spawned: SpawnedChild, limits: ChildLimits,
        on loop: EventLoop, spawner: Spawner, report: @escaping (Report) -> Void,
        onEnd: @escaping (CommandRun, AttemptResult) -> Void
    ) throws(LoopError) {
        self.attempt = attempt
        self.command = command
        self.loop = loop
        self.limits = limits
        self.report = report
        self.onEnd = onEnd
        pid = spawned.pid
        child = try Child(
            spawned, limits: limits, on: loop, spawner: spawner, onExcess: { [unowned self] in exceeded($0) },
            onExit: { [unowned self] in exited($0) })
        if let descriptor = spawned.takeInput() { input = ChildInput(descriptor, on: loop) }
        if let pattern = command.progress { progress = (0..<2).map { _ in progressReader(pattern, spawner.looks) } }
        readers = [
            try reader(
                spawned.takeOutput(),
                onBytes: { [unowned self] in
                    keep($0)
                    progress.first?.take($0)
                }
            ) { [unowned self] in for line in $0 { take(line, "stdout") } },
            try reader(spawned.takeErrors(), onBytes: { [unowned self] in progress.last?.take($0) }) { [unowned self] in
                for line in $0 { take(line, "stderr") }
            },
            try reader(spawned.takeChannel()) { [unowned self] in for line in $0 { takeEvent(line) } },
        ]
    }

    /// At once: a program's way of being asked is SIGTERM.
    ///
    /// - Parameter patience: What it has then to end by itself, two seconds at least.
    func stop(patience: Duration = .zero) {
        // However late it is: what has ended before it was asked to has ended by itself.
        guard !child.isOver else { return }
        wasStopped = true
        child.terminate(patience: patience)
    }

    func hold(_ isHeld: Bool) { child.hold(isHeld) }
    func signal(_ number: CInt) { child.signal(number) }
    func write(_ bytes: [UInt8], closing: Bool) -> InputAnswer { input?.write(bytes, closing: closing) ?? .closed }

    func killNow() {
        wasStopped = true
        child.killTree()
    }

    private func exceeded(_ holding: Warden.Holding) {
        guard excess == nil, let error = limits.excess(of: holding) else { return }
        excess = error
        child.killTree()
    }

    // MARK: What it says

    private func reader(
        _ descriptor: consuming Descriptor, onBytes: ((UnsafeBufferPointer<UInt8>) -> Void)? = nil,
        _ onLines: @escaping ([[UInt8]]) -> Void
    ) throws(LoopError) -> LineReader {
        try LineReader(
            descriptor, maximumBytes: Self.maximumLine, isText: true, on: loop, onBytes: onBytes,
            onLines: onLines,
            onProblem: { [unowned self] _ in
                openPipes -= 1
                finishIfDone()
            })
    }

    private func progressReader(_ pattern: Pattern, _ looks: Errands) -> ProgressReader {
        ProgressReader(
            pattern, on: looks, and: loop, found: { [unowned self] in report(.progress(attempt.id, $0)) },
            whenIdle: { [unowned self] wasTooCostly in
                if wasTooCostly, !self.wasTooCostly {
                    self.wasTooCostly = true
                    let text = "progress: the pattern takes too long on this output; not all of it was looked through"
                    report(.log(attempt.id, stream: LogStream.control, text: text))
                }
                finishIfDone()
            })
    }

    /// Keeps what it prints, or the end of it: its result.
    private func keep(_ bytes: UnsafeBufferPointer<UInt8>) {
        total += bytes.count
        kept.append(contentsOf: bytes)
        if total > Self.longestResult, kept.count >= 2 * Self.keptEnd { kept = Array(kept.suffix(Self.keptEnd)) }
    }

    private func take(_ line: [UInt8], _ stream: String) {
        let text = String(decoding: line, as: UTF8.self)
        if let progress = Progress(drawn: text) { return report(.progress(attempt.id, progress)) }
        report(.log(attempt.id, stream: stream, text: text))
    }

    /// A line on descriptor 3: `{"done":…,"total":…}`, `{"output":…}` or `{"log":…}`.
    private func takeEvent(_ line: [UInt8]) {
        // What is no JSON is the program's mistake, not the job's: it is shown in the log.
        guard let value = try? JSONReader.value(of: line, depth: JSONReader.maximumDepth + 1) else {
            return take(line, "fd3")
        }
        if let output = value["output"] { report(.output(attempt.id, json: output.bytes)) }
        if let text = value["log"]?.string { report(.log(attempt.id, stream: "log", text: text)) }
        guard let done = value["done"]?.number else { return }
        let progress = Progress(
            done, of: value["total"]?.number, unit: value["unit"]?.string, message: value["message"]?.string)
        report(.progress(attempt.id, progress))
    }

    // MARK: End

    private func exited(_ exit: Child.Exit) {
        self.exit = exit
        input = nil
        // A pipe that somebody else still holds open keeps no job from ending.
        for reader in readers { reader.finish() }
        finishIfDone()
    }

    private func finishIfDone() {
        guard let exit, openPipes == 0, !isOver, progress.allSatisfy(\.isIdle) else { return }
        isOver = true
        var result = outcome(exit)
        result.usage = Usage(exit.usage)
        result.usage.wallNanoseconds = monotonicNanoseconds() - started
        onEnd(self, result)
    }

    private func outcome(_ exit: Child.Exit) -> AttemptResult {
        if wasStopped { return AttemptResult(.stopped(child.stopped ?? .sigterm)) }
        if let excess { return AttemptResult(.crashed, error: excess) }
        if let signal = exit.signal {
            let message = "killed by signal \(signal) (\(signalName(signal)))"
            return AttemptResult(.crashed, error: JobError(type: "Crashed", message: message, signal: signal))
        }
        guard exit.code == 0 else {
            let code = exit.code ?? 0
            let error = JobError(type: "ExitStatus", message: "exited with status \(code)", exitCode: code)
            return AttemptResult(.failed(canRetry: true), error: error)
        }
        return success()
    }

    private func success() -> AttemptResult {
        if total > kept.count, case .text = command.result {
            let said = "the result is the last \(kept.count) of \(total) bytes of output"
            report(.log(attempt.id, stream: LogStream.control, text: said))
        }
        var text = kept
        kept = []
        if text.last == 0x0A { text.removeLast() }
        switch command.result {
        case .text:
            return AttemptResult(.succeeded, value: JSONValue.string(String(decoding: text, as: UTF8.self)).bytes)
        case .json:
            do throws(JSONError) {
                _ = try JSONReader.value(of: text)
                return AttemptResult(.succeeded, value: onOneLine(text))
            } catch {
                let isLong = total > Self.longestResult
                let what = isLong ? "output over \(Self.longestResult) bytes" : "stdout is no JSON: \(error)"
                return AttemptResult(.failed(canRetry: false), error: JobError(type: "InvalidOutput", message: what))
            }
        }
    }
}
