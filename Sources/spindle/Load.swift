import EventLoop
import Glibc
import Histogram
import JSON
import Jobs

/// A closed loop of requests over many connections, and its latencies. Lives on one loop.
final class Load {
    /// How much longer than it was to last a load waits for its first answer.
    private static let patience = Duration.seconds(10)

    private let target: LoadTarget
    private let request: [UInt8]
    private let loop: EventLoop
    /// Seconds between the requests of one connection, in nanoseconds; nil: at once.
    private let interval: Double?
    private var lanes: [LoadLane] = []
    private var latencies = Histogram<UInt64>(
        highestTrackableValue: 600_000_000, numberOfSignificantValueDigits: .three)
    private(set) var answered = 0
    private(set) var failed = 0
    private var elapsed = 0.0
    private var isOver = false
    private var firstFailure: Int?

    init(_ target: LoadTarget, _ request: [UInt8], on loop: EventLoop, rate: Double?) {
        self.target = target
        self.request = request
        self.loop = loop
        interval = rate.map { 1e9 / max($0, 1e-6) }
    }

    func run(connections: Int, for time: Duration) throws {
        for _ in 0..<connections {
            guard let socket = target.connect() else { break }
            lanes.append(
                try LoadLane(socket, request, interval: interval, on: loop) { [unowned self] in take($0, $1) })
        }
        guard !lanes.isEmpty else { return }
        let timer = try Timer(on: loop) { [unowned self] in end() }
        try timer.arm(after: time)
        let patience = try Timer(on: loop) { [unowned self] in loop.stop() }
        try patience.arm(after: time + Self.patience)
        let start = monotonicNanoseconds()
        for lane in lanes { lane.begin() }
        loop.run()
        elapsed = Double(monotonicNanoseconds() - start) / 1e9
    }

    /// The time is over. A server that has not answered anything by then is given some more to show that it is one.
    private func end() {
        isOver = true
        if answered > 0 { loop.stop() }
    }

    private func take(_ nanoseconds: Int64, _ status: Int) {
        answered += 1
        if isOver { loop.stop() }
        latencies.record(UInt64(max(nanoseconds / 1000, 1)))
        guard status != 200 else { return }
        failed += 1
        firstFailure = firstFailure ?? status
    }

    // MARK: Figures

    private static let percentiles = [50.0, 75, 90, 99, 99.9, 99.99, 100]
    private var rate: Double { (Double(answered) / max(elapsed, 1e-9)).rounded() }

    var table: String {
        var table = Table("PERCENTILE", "LATENCY")
        for percentile in Self.percentiles {
            let microseconds = Double(latencies.valueAtPercentile(percentile))
            let text =
                microseconds < 1000
                ? "\(Int(saturating: microseconds)) us" : "\((microseconds / 10).rounded() / 100) ms"
            table.add("\(percentile == 100 ? "max" : "p\(JSONValue.number(percentile).shortText)")", text)
        }
        let failures = failed > 0 ? ", \(failed) failed (first: \(firstFailure ?? 0))" : ""
        return
            "\(Int(saturating: rate)) jobs/s over \(lanes.count) connections, \(answered) jobs in \((elapsed * 10).rounded() / 10) s\(failures)\n\n\(table.text)"
    }

    var json: String {
        let latency = Self.percentiles.map { percentile in
            JSONValue.Member(
                percentile == 100 ? "max" : "p\(JSONValue.number(percentile).shortText)",
                .integer(Int(latencies.valueAtPercentile(percentile))))
        }
        let figures: JSONValue = [
            "jobs_per_second": .number(rate), "jobs": .integer(answered), "failed": .integer(failed),
            "seconds": .number((elapsed * 1000).rounded() / 1000), "connections": .integer(lanes.count),
            "latency_us": .object(latency),
        ]
        return String(decoding: figures.bytes, as: UTF8.self)
    }
}

extension JSONValue {
    fileprivate var shortText: String { String(decoding: bytes, as: UTF8.self) }
}

/// One connection of the load: sends, reads the whole answer, sends again.
final class LoadLane {
    private let socket: Descriptor
    private let request: [UInt8]
    private let interval: Double?
    private let done: (_ nanoseconds: Int64, _ status: Int) -> Void
    private var watch: Watch?
    private var timer: Timer?
    private var input: [UInt8] = []
    private var due: Int64 = 0

    init(
        _ socket: consuming Descriptor, _ request: [UInt8], interval: Double?, on loop: EventLoop,
        done: @escaping (_ nanoseconds: Int64, _ status: Int) -> Void
    ) throws {
        self.socket = socket
        self.request = request
        self.interval = interval
        self.done = done
        let watch = try Watch(self.socket.number, for: .readable, on: loop) { [unowned self] _ in read() }
        try watch.start()
        self.watch = consume watch
        timer = try Timer(on: loop) { [unowned self] in send() }
    }

    // What watches the socket goes first.
    deinit { watch = nil }

    func begin() {
        due = monotonicNanoseconds()
        send()
    }

    private func send() {
        // A request fits the socket's buffer: the one before has been answered.
        let count = request.withUnsafeBytes { write(socket.number, $0.baseAddress, $0.count) }
        if count != request.count { fail() }
    }

    private func read() {
        withUnsafeTemporaryAllocation(byteCount: 64 * 1024, alignment: 1) { buffer in
            let count = Glibc.read(socket.number, buffer.baseAddress, buffer.count)
            if count < 0, errno == EAGAIN { return }
            guard count > 0 else { return fail() }
            input.append(contentsOf: buffer[..<count])
        }
        guard let status = completeAnswer() else { return }
        input.removeAll(keepingCapacity: true)
        let now = monotonicNanoseconds()
        done(now - due, status)
        guard let interval else {
            due = now
            return send()
        }
        due = due.adding(saturating: Int64(saturating: interval))
        // The event exists since init; arming it allocates nothing.
        try? timer?.arm(after: .nanoseconds(max(due - monotonicNanoseconds(), 0)))
    }

    /// The status, once head and body are there.
    private func completeAnswer() -> Int? {
        guard let headCount = input.end(of: "\r\n\r\n"), input.count > 12,
            let field = input[..<headCount].end(of: "\r\nContent-Length: ")
        else { return nil }
        let digits = input[field...].prefix { $0 >= 0x30 && $0 <= 0x39 }
        let length = Int(String(decoding: digits, as: UTF8.self)).map(\.asCount) ?? 0
        guard input.count >= headCount + length else { return nil }
        return input[9..<12].reduce(0) { $0 * 10 + Int($1 &- 0x30) }
    }

    private func fail() {
        watch = nil
        done(monotonicNanoseconds() - due, 0)
    }
}

extension RandomAccessCollection<UInt8> where Index == Int {
    /// One past the first place where `mark` stands; nil when it does not.
    fileprivate func end(of mark: StaticString) -> Int? {
        let count = mark.utf8CodeUnitCount
        var index = startIndex
        while index + count <= endIndex {
            var matched = 0
            while matched < count, self[index + matched] == mark.utf8Start[matched] { matched += 1 }
            if matched == count { return index + count }
            index += 1
        }
        return nil
    }
}
