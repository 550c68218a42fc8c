import HTTP
import JSON
import Jobs
import Store

/// One client that reads one job's events, and how far it has come.
final class JobStream {
    /// Events of one frame; more go into the next.
    private static let batch = 256
    /// Bytes of log in one frame.
    private static let logBatch = 64 * 1024

    let record: JobRecord
    let exchange: Exchange
    let format: EventFormat
    var lastSent: Instant
    /// Was slow and has not caught up.
    var isLate = false
    /// The last event that was sent; for ``EventFormat/log`` the next byte.
    private var cursor: Int

    /// - Parameter after: The last event that the client has; 0 for none.
    init(_ record: JobRecord, to exchange: Exchange, as format: EventFormat, after: Int, now: Instant) {
        self.record = record
        self.exchange = exchange
        self.format = format
        lastSent = now
        cursor = format == .log ? 0 : after
    }

    /// Sends the response's head and what comes before the first event.
    func begin(_ response: Response) {
        exchange.beginStream(response)
        let prelude = format.prelude
        if !prelude.isEmpty { exchange.send(StreamChunk(prelude)) }
    }

    var hasMore: Bool { cursor < (format == .log ? record.log.end : record.events.lastShown) }

    /// The next frame and how many events it carries.
    func next(_ shared: inout SharedFrames) -> (StreamChunk, events: Int)? {
        guard hasMore else { return nil }
        if format == .log {
            let (bytes, next) = record.log.read(from: cursor, limit: Self.logBatch)
            cursor = next
            if record.events.count > 0 { lastSent = record.events[record.events.count - 1].time }
            return (StreamChunk(bytes), 1)
        }
        let log = record.events
        if cursor + 1 < log.firstSeq {
            // What is dropped may be more than has been reserved: no number beyond that may be shown.
            return (gap(to: min(log.firstSeq - 1, log.lastShown), "history dropped", at: log[0].time), 1)
        }
        lastSent = log[log.count - 1].time
        let first = log.index(after: cursor)
        let shown = log.index(after: log.lastShown)
        if isLate, let skipped = skippableProgress(log, first..<shown) {
            return (gap(to: skipped, "progress coalesced", at: lastSent), 1)
        }
        guard first < shown else {
            cursor = log.lastShown
            return nil
        }
        // A gap that the client has seen the beginning of as events goes on from there.
        if case .gap(let from, let reason) = log[first].kind, from <= cursor {
            return (gap(to: log[first].seq, reason, at: log[first].time), 1)
        }
        let range = first..<min(shown, first + Self.batch)
        cursor = log[range.upperBound - 1].seq
        return (shared.chunk(format, range), range.count)
    }

    private func gap(to last: Int, _ reason: String, at time: Instant) -> StreamChunk {
        var bytes: [UInt8] = []
        let first = cursor + 1
        format.frame(seq: last, type: "gap", to: &bytes) {
            $0.append(gapFrom: first, to: last, reason: reason, of: record, at: time)
        }
        cursor = last
        return StreamChunk(bytes)
    }

    /// The end of a run of progress at the beginning, its last event excepted; nil when there is no run.
    private func skippableProgress(_ log: EventLog, _ range: Range<Int>) -> Int? {
        var index = range.lowerBound
        while index + 1 < range.upperBound, log[index].isProgress, log[index + 1].isProgress { index += 1 }
        return index > range.lowerBound ? log[index - 1].seq : nil
    }
}
