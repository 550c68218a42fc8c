import EventLoop
import HTTP
import JSON
import Jobs
import Store

/// What is written for all readers of one pace: frames, each the whole picture and what has changed since the last one.
///
/// The first change after a rest goes out at the end of its turn; then `pace` passes before the next frame.
final class Board {
    /// Jobs and spans of one frame; what is more is counted, or comes joined.
    private static let mostJobs = 60
    private static let mostSpans = 400
    /// A reader with more than this unsent is left out, and sees by the numbers of the frames that it has missed some.
    private static let mostUnsent = 256 * 1024

    let pace: Duration
    let format: EventFormat
    var isDirty = false
    private unowned let monitor: Monitor
    private unowned let engine: Engine
    private var readers: [Exchange] = []
    private var jobs: [JobRecord] = []
    private var isListed: Set<JobID> = []
    private var more = 0
    private var lastSpan: Int
    private var lanesTold = 0
    private var tasksTold = 0
    private var number = 0
    private var lastSent: Int64 = 0
    private var timer: Deadline?

    init(_ pace: Duration, _ format: EventFormat, _ monitor: Monitor, _ engine: Engine) {
        self.pace = pace
        self.format = format
        self.monitor = monitor
        self.engine = engine
        lastSpan = monitor.spans.count
    }

    var isEmpty: Bool { readers.isEmpty }
    var readerCount: Int { readers.count }

    func add(_ exchange: Exchange) {
        readers.append(exchange)
        // The first frame tells a new reader what the others know.
        lanesTold = 0
        tasksTold = 0
        send()
    }

    func remove(_ exchange: Exchange) { readers.removeAll { $0 === exchange } }

    func end(where mayNot: (Exchange) -> Bool) {
        let ended = readers.filter(mayNot)
        readers.removeAll { reader in ended.contains { $0 === reader } }
        for reader in ended { reader.end() }
    }

    func closeAll() {
        for reader in readers { reader.end() }
        readers = []
        timer = nil
    }

    func note(_ record: JobRecord) {
        isDirty = true
        guard isListed.insert(record.id).inserted else { return }
        if jobs.count < Self.mostJobs { jobs.append(record) } else { more += 1 }
    }

    func endTurn() {
        guard isDirty, timer == nil else { return }
        let wait = lastSent + pace.nanoseconds - monotonicNanoseconds()
        if wait <= 0 { return send() }
        timer = Deadline(after: .nanoseconds(wait), on: engine.loop) { [unowned self] in
            timer = nil
            send()
        }
    }

    private func send() {
        isDirty = false
        lastSent = monotonicNanoseconds()
        number += 1
        var bytes: [UInt8] = []
        bytes.reserveCapacity(4096)
        format.frame(seq: nil, type: "state", to: &bytes) { write(&$0) }
        jobs.removeAll(keepingCapacity: true)
        isListed.removeAll(keepingCapacity: true)
        more = 0
        let chunk = StreamChunk(bytes)
        for reader in readers where reader.unsent < Self.mostUnsent { reader.send(chunk) }
    }

    // MARK: One frame

    private func write(_ out: inout [UInt8]) {
        let now = engine.now
        monitor.refreshProgress()
        out.append(#"{"type":"state","number":"#)
        out.append(integer: number)
        out.append(#","time":"#)
        out.append(epoch: now.nanoseconds)
        out.append(#","started":"#)
        out.append(epoch: engine.startedAt.nanoseconds)
        out.append(#","totals":{"submitted":"#)
        out.append(integer: Int(engine.metrics.submitted))
        out.append(#","succeeded":"#)
        out.append(integer: monitor.ended.succeeded)
        out.append(#","failed":"#)
        out.append(integer: monitor.ended.failed)
        out.append(#","cancelled":"#)
        out.append(integer: monitor.ended.cancelled)
        out.append(#","live":"#)
        out.append(integer: engine.live.count)
        out.append("}")
        out.append(latencies: monitor.latencies())
        out.append(poolsOf: engine)
        out.append(queuesOf: engine)
        out.append(tasksOf: engine)
        out.append(#","jobs":["#)
        out.append(list: jobs) { $0.append(brief: $1) }
        out.append(#"],"more":"#)
        out.append(integer: more)
        if lanesTold < monitor.lanes.all.count || tasksTold < monitor.taskNames.count {
            lanesTold = monitor.lanes.all.count
            tasksTold = monitor.taskNames.count
            out.append(legendOf: monitor)
        }
        out.append(#","spans":"#)
        out.append(spans: monitor.spans.since(lastSpan, limit: Self.mostSpans))
        lastSpan = monitor.spans.count
        out.append(runningOf: monitor)
        out.append("}")
    }
}
