import CSpindle
import EventLoop
import Glibc
import JSON
import Jobs

/// A process that has imported what its workers need, and forks one when asked: a start without the imports.
///
/// ```
///   → {"jsonrpc":"2.0","id":1,"method":"fork","params":{"dir":"…","mark":"…","brand":9…,"parent":4200,"begun":"…"}}
///     and beside it, by SCM_RIGHTS, the worker's stdout, stderr, channel and state
///   ← {"jsonrpc":"2.0","method":"ready"}                      once, first
///   ← {"jsonrpc":"2.0","id":1,"result":{"pid":4242}}           a child of ours: its own parent has ended at once
/// ```
///
/// Loop-confined.
final class Zygote {
    enum Change {
        /// It can fork.
        case ready
        /// It is gone, or never came to be.
        case ended(why: String)
    }

    /// Longest line that it says.
    private static let maximumLine = 64 * 1024
    private static let keptErrors = 2048

    private struct Birth {
        let pipes: ChildPipes
        let directory: String
        let mark: Mark
        let done: (Result<SpawnedChild, SpawnFailure>) -> Void
    }

    private(set) var isReady = false
    private let loop: EventLoop
    private let spawner: Spawner
    private let work: WorkDirectory?
    private let onChange: (Change) -> Void
    private let pid: pid_t
    private var child: Child!
    private var channel: LineReader!
    private var output: [LineReader] = []
    private var births: [Int: Birth] = [:]
    private var nextBirth = 1
    private var lastErrors = ""
    private var problem: String?
    private var startTimer: Deadline?

    init(
        _ spawned: SpawnedChild, work: WorkDirectory?, on loop: EventLoop, spawner: Spawner,
        onChange: @escaping (Change) -> Void
    ) throws(LoopError) {
        self.loop = loop
        self.spawner = spawner
        self.work = work
        self.onChange = onChange
        pid = spawned.pid
        // Its workers have limits of their own.
        var limits = ChildLimits()
        limits.processes = 0
        child = try Child(
            spawned, limits: limits, on: loop, spawner: spawner, onExcess: { [unowned self] _ in child.killTree() },
            onExit: { [unowned self] in exited($0) })
        channel = try LineReader(
            spawned.takeChannel(), maximumBytes: Self.maximumLine, on: loop,
            onLines: { [unowned self] in for line in $0 { receive(line) } },
            onProblem: { [unowned self] _ in child.stop(after: .milliseconds(100)) })
        output = [
            try LineReader(
                spawned.takeOutput(), maximumBytes: Self.maximumLine, isText: true, on: loop, onLines: { _ in },
                onProblem: { _ in }),
            try LineReader(
                spawned.takeErrors(), maximumBytes: Self.maximumLine, isText: true, on: loop,
                onLines: { [unowned self] in keep($0) }, onProblem: { _ in }),
        ]
        startTimer = Deadline(after: WorkerProcess.initialiseTime, on: loop) { [unowned self] in
            problem = "did not finish its imports within 30 s"
            child.killTree()
        }
    }

    /// Makes one more worker process.
    func fork(_ done: @escaping (Result<SpawnedChild, SpawnFailure>) -> Void) {
        let number = nextBirth
        nextBirth += 1
        do throws(SpawnFailure) {
            let pipes = try ChildPipes(.socket, takesInput: false, spawner.starts)
            let (mark, child) = spawner.nextMark()
            let directory = try childDirectory(child, in: work)
            births[number] = Birth(pipes: pipes, directory: directory, mark: mark, done: done)
        } catch {
            return done(.failure(error))
        }
        ask(for: number)
    }

    func end() { child.stop(after: .zero) }

    private func ask(for number: Int) {
        guard let birth = births[number] else { return }
        let request: JSONValue = [
            "jsonrpc": "2.0", "id": .integer(number), "method": "fork",
            "params": [
                "dir": .string(birth.directory), "mark": .string(birth.mark.value),
                "brand": .integer(Int(birth.mark.brand)), "parent": .integer(Int(getpid())),
                "begun": birth.pipes.page.map { .string($0.path) } ?? .null,
            ],
        ]
        let line = request.bytes + [0x0A]
        let pipes = birth.pipes
        let descriptors =
            [pipes.output.write.number, pipes.errors.write.number, pipes.channel.write.number]
            + (pipes.stateDescriptor == nil ? [] : [pipes.stateDescriptor.number])
        let code = spindle_send_descriptors(channel.descriptor, line, line.count, descriptors, CInt(descriptors.count))
        if code != 0 { failed(number, "the zygote does not listen: \(String(cString: strerror(-code)))") }
    }

    // MARK: What it says

    private func receive(_ line: [UInt8]) {
        guard let message = try? JSONReader.value(of: line) else {
            problem = "said what is no JSON"
            return child.killTree()
        }
        if message["method"]?.string == "ready" {
            isReady = true
            startTimer = nil
            onChange(.ready)
        } else if message["method"]?.string == "refused" {
            problem = message["params"]?["why"]?.string ?? "refused"
        } else if let number = message["id"]?.integer {
            guard let pid = message["result"]?["pid"]?.integer else {
                return failed(number, message["error"]?["message"]?.string ?? "the zygote has not forked")
            }
            // A number that is no child of ours would be signalled in its place.
            guard let pid = pid_t(exactly: pid), pid > 1, spindle_is_child(pid) != 0 else {
                return failed(number, "the zygote names a process that is none of ours: \(pid)")
            }
            born(number, pid)
        }
    }

    private func born(_ number: Int, _ pid: pid_t) {
        guard let birth = births[number] else { return }
        // Without it the worker is left to the end of its channel, which goes with the birth.
        guard let pidfd = Descriptor(ifOpen: spindle_pidfd_open(pid)) else {
            return failed(number, "the new worker has died at once, or no descriptors are left")
        }
        births[number] = nil
        spawner.own(pid)
        let spawned = birth.pipes.taken(
            pid: pid, pidfd: pidfd, mark: birth.mark, directory: birth.directory, by: spawner)
        birth.done(.success(spawned))
    }

    private func failed(_ number: Int, _ why: String) {
        guard let birth = births.removeValue(forKey: number) else { return }
        removeDirectory(birth.directory)
        birth.done(.failure(SpawnFailure(message: why)))
    }

    private func keep(_ lines: [[UInt8]]) {
        for line in lines {
            lastErrors = String((lastErrors + String(decoding: line, as: UTF8.self) + "\n").suffix(Self.keptErrors))
        }
    }

    private func exited(_ exit: Child.Exit) {
        isReady = false
        startTimer = nil
        channel.drain()
        for reader in output { reader.drain() }
        channel.close()
        for reader in output { reader.close() }
        let why = problem ?? "the zygote \(WorkerProcess.words(exit))"
        for number in births.keys.sorted() { failed(number, why) }
        onChange(.ended(why: lastErrors.isEmpty ? why : "\(why): \(lastErrors)"))
    }
}
