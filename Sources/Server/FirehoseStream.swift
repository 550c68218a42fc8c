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

    /// Gathers what is new of a job.
    func take(_ record: JobRecord, now: Instant, limits: Limits) {
        let log = record.events
        let first = max((seen[record.id] ?? firstOfInterest(log, now)), log.firstSeq)
        seen[record.id] = record.state.isFinal ? nil : log.lastSeq + 1
        guard first <= log.lastSeq, filter.matchesKind(of: record) else { return }
        for seq in first...log.lastSeq {
            guard out.count < Self.turnBytes, exchange.unsent < limits.streamHighWater else {
                dropped += log.lastSeq - seq + 1
                return
            }
            format.frame(seq: nil, type: log[seq].type, to: &out) { $0.append(event: log[seq], of: record) }
        }
        lastSent = now
    }

    /// A job not seen yet: all of it when it is new, else only what has just happened.
    private func firstOfInterest(_ log: EventLog, _ now: Instant) -> Int {
        var seq = log.lastSeq
        while seq > log.firstSeq, log[seq - 1].time >= lastSent { seq -= 1 }
        return seq
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
