import EventLoop
import HTTP
import JSON
import Jobs
import Store

/// All open event streams: who reads what, and how far.
///
/// Streams pull: a job that changes is only marked, and at the end of the turn each of its readers takes what is new from
/// the job's own log. What several readers take is framed once and shared. A reader that is slow is left alone until it
/// has room; it then gets coalesced progress, and a `gap` for what the log has dropped. It never slows a job or another
/// reader.
///
/// A round of deliveries to a thousand readers takes milliseconds. Rounds as long as that keep a distance, so that they take
/// no more than a part of the loop's time; what happens meanwhile goes out together.
final class Streams {
    /// A stream that was silent this long gets a sign of life, so that nothing on the way closes it.
    static let heartbeat = Duration.seconds(15)

    /// Long rounds may take one part in this many of the loop's time.
    private static let share: Int64 = 5
    /// Rounds up to this long may follow each other at once, and no round waits longer than this, in nanoseconds.
    private static let shortRound: Int64 = 1_000_000
    private static let longestPause: Int64 = 100_000_000

    private let limits: Limits
    private let loop: EventLoop
    private var readers: [JobID: [JobStream]] = [:]
    private var firehoses: [FirehoseStream] = []
    private var touched: [JobRecord] = []
    private var isTouched = JobTable<Bool>()
    /// No round begins before.
    private var nextRound: Int64 = 0
    private var alarm: Deadline?
    private(set) var delivered: UInt64 = 0

    init(limits: Limits, on loop: EventLoop) {
        self.limits = limits
        self.loop = loop
    }

    var count: Int { readers.values.reduce(0) { $0 + $1.count } + firehoses.count }

    // MARK: Readers

    func add(_ stream: JobStream) {
        let id = stream.record.id
        stream.exchange.onFinish = { [unowned stream] in stream.exchange.send(stream.format.heartbeat) }
        stream.exchange.onDrain = { [unowned self, unowned stream] in pull(stream) }
        readers[id, default: []].append(stream)
        stream.exchange.whenLeft { [unowned self, unowned stream] in remove(stream) }
        touch(stream.record)
    }

    func add(_ stream: FirehoseStream) {
        firehoses.append(stream)
        stream.exchange.onFinish = { [unowned stream] in stream.exchange.send(stream.format.heartbeat) }
        stream.exchange.whenLeft { [unowned self, unowned stream] in firehoses.removeAll { $0 === stream } }
    }

    private func remove(_ stream: JobStream) {
        let id = stream.record.id
        guard var list = readers[id], let index = list.firstIndex(where: { $0 === stream }) else { return }
        readers[id] = nil
        list.swapAt(index, list.count - 1)
        list.removeLast()
        if !list.isEmpty { readers[id] = list }
    }

    /// Whether somebody looks at the job.
    func isWatched(_ id: JobID) -> Bool { readers[id] != nil }

    // MARK: Changes

    /// Notes that a job has something new.
    func touch(_ record: JobRecord) {
        guard !readers.isEmpty || !firehoses.isEmpty else { return }
        guard touched.last !== record, !isTouched.contains(record.id) else { return }
        isTouched[record.id] = true
        touched.append(record)
    }

    /// The job is over: its readers end once they have everything.
    func ended(_ record: JobRecord) { touch(record) }

    /// Called at the end of every turn.
    func flush(now: Instant) {
        guard !touched.isEmpty else { return }
        let begin = monotonicNanoseconds()
        guard begin >= nextRound else {
            if alarm == nil {
                alarm = Deadline(after: .nanoseconds(nextRound - begin), on: loop) { [unowned self] in alarm = nil }
            }
            return
        }
        deliver(now: now)
        let took = monotonicNanoseconds() - begin
        if took > Self.shortRound { nextRound = begin + took + min(took * (Self.share - 1), Self.longestPause) }
    }

    private func deliver(now: Instant) {
        var batch: [JobRecord] = []
        swap(&batch, &touched)
        isTouched = JobTable()
        for record in batch {
            if let list = readers[record.id] {
                var shared = SharedFrames(record)
                for stream in list { pull(stream, &shared) }
            }
            for firehose in firehoses { firehose.take(record, now: now, limits: limits) }
        }
        for firehose in firehoses { firehose.send() }
    }

    func clockStepped(by step: Duration) {
        for list in readers.values { for stream in list { stream.lastSent = stream.lastSent + step } }
        for firehose in firehoses { firehose.lastSent = firehose.lastSent + step }
    }

    /// A sign of life for the silent.
    func heartbeat(now: Instant) {
        for list in readers.values {
            for stream in list where now - stream.lastSent >= Self.heartbeat {
                stream.lastSent = now
                stream.exchange.send(stream.format.heartbeat)
            }
        }
        for firehose in firehoses where now - firehose.lastSent >= Self.heartbeat {
            firehose.lastSent = now
            firehose.exchange.send(firehose.format.heartbeat)
        }
    }

    /// Ends streams whose readers may not read any more. They get nothing further.
    func end(where mayNot: (Exchange) -> Bool) {
        for stream in readers.values.joined() where mayNot(stream.exchange) {
            remove(stream)
            stream.exchange.end()
        }
        let ended = firehoses.filter { mayNot($0.exchange) }
        firehoses.removeAll { firehose in ended.contains { $0 === firehose } }
        for firehose in ended { firehose.exchange.end() }
    }

    /// Ends every stream, once it has what there is: the server stops.
    func closeAll(now: Instant) {
        deliver(now: now)
        for list in readers.values { for stream in list { stream.exchange.end() } }
        for firehose in firehoses { firehose.exchange.end() }
        readers = [:]
        firehoses = []
    }

    private func pull(_ stream: JobStream) {
        var shared = SharedFrames(stream.record)
        pull(stream, &shared)
    }

    private func pull(_ stream: JobStream, _ shared: inout SharedFrames) {
        while stream.hasMore {
            guard stream.exchange.unsent < limits.streamHighWater else { return stream.isLate = true }
            guard let (chunk, events) = stream.next(&shared) else { break }
            delivered += UInt64(events)
            stream.exchange.send(chunk)
        }
        stream.isLate = false
        if stream.record.state.isFinal, !stream.hasMore {
            remove(stream)
            stream.exchange.end()
        }
    }
}

/// What is written of the same events for several readers, kept for one turn.
struct SharedFrames {
    let record: JobRecord
    private var frames: [(format: EventFormat, range: Range<Int>, chunk: StreamChunk)] = []

    init(_ record: JobRecord) { self.record = record }

    /// - Parameter range: Places in the record's log.
    mutating func chunk(_ format: EventFormat, _ range: Range<Int>) -> StreamChunk {
        for frame in frames where frame.range == range && frame.format == format { return frame.chunk }
        var bytes: [UInt8] = []
        for index in range { format.append(record.events[index], of: record, to: &bytes) }
        let chunk = StreamChunk(bytes)
        frames.append((format, range, chunk))
        return chunk
    }
}
