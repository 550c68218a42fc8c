import HTTP
import JSON
import Jobs
import Store

/// One client that reads the events of all jobs, from now on.
///
/// It has no history and no resume; what it cannot take in time is dropped and told by a `gap`.
final class FirehoseStream {
    /// Bytes gathered in one turn, over which events are dropped.
    private static let turnBytes = 256 * 1024

    let exchange: Exchange
    let format: EventFormat
    let filter: JobFilter
    var lastSent: Instant
    private var seen: [JobID: Int] = [:]
    private var out: [UInt8] = []
    private var dropped = 0

    init(to exchange: Exchange, as format: EventFormat, _ filter: JobFilter, now: Instant) {
        self.exchange = exchange
        self.format = format
        self.filter = filter
        lastSent = now
    }

    /// Gathers what is new of a job, as far as it may be shown.
    func take(_ record: JobRecord, now: Instant, limits: Limits) {
        let log = record.events
        let first = seen[record.id].map { log.index(after: $0) } ?? firstOfInterest(log)
        let end = log.index(after: log.lastShown)
        seen[record.id] = record.state.isFinal ? nil : log.lastShown
        guard first < end, filter.matchesKind(of: record) else { return }
        for index in first..<end {
            guard out.count < Self.turnBytes, exchange.unsent < limits.streamHighWater else {
                dropped += end - index
                return
            }
            format.frame(seq: nil, type: log[index].type, to: &out) { $0.append(event: log[index], of: record) }
        }
        lastSent = now
    }

    /// A job not seen yet: all of it when it is new, else only what has just happened.
    private func firstOfInterest(_ log: EventLog) -> Int {
        var index = log.count - 1
        while index > 0, log[index - 1].time >= lastSent { index -= 1 }
        return max(index, 0)
    }

    func send() {
        if dropped > 0, out.count < Self.turnBytes {
            let count = dropped
            dropped = 0
            format.frame(seq: nil, type: "gap", to: &out) {
                $0.append(#"{"type":"gap","reason":"slow reader","dropped":"#)
                $0.append(integer: count)
                $0.append("}")
            }
        }
        guard !out.isEmpty else { return }
        exchange.send(StreamChunk(out))
        out.removeAll(keepingCapacity: out.capacity <= 65536)
    }
}
