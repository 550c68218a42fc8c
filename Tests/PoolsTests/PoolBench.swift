import EventLoop
import Glibc
import JSON
import Jobs
import Testing

@testable import Pools
@testable import Tasks

/// Lets the deaf task of a test return, so that its thread does not outlive it.
let deafMayEnd = Gate()

/// Closed until somebody opens it; who comes before that waits.
// Guard: `isOpen` by `lock`.
final class Gate: @unchecked Sendable {
    private let lock = Lock()
    private let opened = Condition()
    private var isOpen = false

    func open() {
        lock.withLock {
            isOpen = true
            opened.broadcast()
        }
    }

    func pass() {
        lock.withLock {
            while !isOpen { opened.wait(lock) }
        }
    }
}

/// One pool on a loop of its own, on the test's thread.
final class PoolBench {
    struct Reports {
        var ends: [AttemptResult] = []
        var endedIDs: [AttemptID] = []
        var begun: [AttemptID] = []
        /// What came about an attempt that had not begun.
        var early: [String] = []
        var progress: [Progress] = []
        var logs: [String] = []
    }

    /// A test that waits longer than this has failed.
    private static let patience = Duration.seconds(60)
    let loop: EventLoop
    private let work: WorkDirectory
    private var pool: (any Pool)!
    private var tasks: [String: TaskDefinition] = [:]
    private var reports = Reports()
    private var wanted = 0
    private var nextID: UInt64 = 1
    private var onBegun: (() -> Void)?
    private var onProgress: (() -> Void)?

    /// - Parameter fleets: More workers of the process pool.
    init(_ name: PoolName, fleets: [WorkerFleet] = []) throws {
        loop = try EventLoop()
        work = try WorkDirectory(below: "/tmp")
        loop.adopt()
        var options = TaskOptions()
        options.hasFaults = true
        for task in builtInTasks(options, on: loop) { tasks[task.name] = task }
        let report: (Report) -> Void = { [weak self] in self?.take($0) }
        switch name {
        case .loop: pool = LoopPool(slots: 100, on: loop, report: report)
        case .thread: pool = ThreadPool(slots: 2, on: loop, report: report)
        case .process, .gpu:
            let options = ProcessPoolOptions(
                slots: 2,
                fleets: [WorkerFleet(name: WorkerFleet.builtIn, argv: [Self.binary, "__worker", ".", "faults"])]
                    + fleets,
                work: work)
            pool = try ProcessPool(options, on: loop, report: report, notice: { _ in })
        }
    }

    deinit {
        pool.shutDown { [loop] in loop.stop() }
        loop.run()
    }

    /// The binary under test stands beside the tests' own.
    static let binary: String = {
        let own = realpath("/proc/self/exe", nil)!
        defer { free(own) }
        let path = String(cString: own)
        return String(path[..<path.lastIndex(of: "/")!]) + "/spindle"
    }()

    /// - Parameter stopAfter: Counted from where the attempt has begun.
    func run(
        _ task: String, _ input: JSONValue, stopAfter: Duration? = nil, stopOnFirstProgress: Duration? = nil,
        grace: Duration = .seconds(30)
    ) throws -> Reports {
        try run(
            try #require(tasks[task]), input, stopAfter: stopAfter, stopOnFirstProgress: stopOnFirstProgress,
            grace: grace)
    }

    func run(
        _ task: TaskDefinition, _ input: JSONValue, stopAfter: Duration? = nil, stopOnFirstProgress: Duration? = nil,
        grace: Duration = .seconds(30)
    ) throws -> Reports {
        reports = Reports()
        let id = start(task, input)
        var timer: Deadline?
        if let stopAfter {
            // One that has not begun is stopped before its start, and says nothing of what it would have listened to.
            onBegun = { [unowned self] in
                timer = Deadline(after: stopAfter, on: loop) { [unowned self] in pool.stop(id, grace: grace) }
            }
        }
        defer { onBegun = nil }
        if let grace = stopOnFirstProgress {
            onProgress = { [unowned self] in
                onProgress = nil
                pool.stop(id, grace: grace)
            }
        }
        try wait(for: 1)
        _ = timer
        return reports
    }

    func runMany(_ task: String, _ input: JSONValue, count: Int) throws -> Reports {
        reports = Reports()
        let task = try #require(tasks[task])
        for _ in 0..<count { _ = start(task, input) }
        try wait(for: count)
        return reports
    }

    /// Attempts that may wait inside a worker.
    func runQuick(_ task: TaskDefinition, _ inputs: [JSONValue]) throws -> Reports {
        reports = Reports()
        for input in inputs { _ = start(task, input, isQuick: true) }
        try wait(for: inputs.count)
        return reports
    }

    private func start(_ task: TaskDefinition, _ input: JSONValue, isQuick: Bool = false) -> AttemptID {
        let id = AttemptID(job: JobID(rawValue: nextID), grant: 1)
        nextID += 1
        pool.start(
            Attempt(
                id: id, number: 1, task: task, input: AttemptInput(input.bytes, parsed: input), timeout: nil,
                isQuick: isQuick))
        return id
    }

    private func wait(for count: Int) throws {
        wanted = count
        guard reports.ends.count < count else { return }
        var isLate = false
        let deadline = Deadline(after: Self.patience, on: loop) { [loop] in
            isLate = true
            loop.stop()
        }
        loop.run()
        _ = deadline
        try #require(!isLate, "waited for \(count) ends, got \(reports.ends.count)")
    }

    private func take(_ report: Report) {
        switch report {
        case .began(let id, let worker, _):
            if worker.isEmpty || reports.begun.contains(id) { reports.early.append("began twice, or nowhere") }
            reports.begun.append(id)
            onBegun?()
        case .ended(let id, let result):
            if !reports.begun.contains(id) { reports.early.append("ended") }
            reports.ends.append(result)
            reports.endedIDs.append(id)
            if reports.ends.count == wanted { loop.stop() }
        case .progress(let id, let progress):
            if !reports.begun.contains(id) { reports.early.append("progress") }
            reports.progress.append(progress)
            onProgress?()
        case .log(_, _, _, let text): reports.logs.append(text)
        case .output, .childStarted, .childEnded: break
        }
    }
}
