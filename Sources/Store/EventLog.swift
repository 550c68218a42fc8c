import Jobs

/// The last events of a job, a ring in effect: older ones are dropped, and readers are told by a `gap`.
package struct EventLog: Sendable {
    /// At least this many of the last events are kept.
    package static let kept = 256
    /// Of the texts of `log` events, and of the values of `output` events, no more is kept than this, in bytes, but one.
    private static let keptText = 512 * 1024
    /// What an event has elsewhere, besides its text.
    private static let boxBytes = 96
    private static let keptOutput = 8 * 1024 * 1024
    /// Numbers that a new job may show to clients before the disk knows more of its events than that it was accepted.
    package static let firstReserve = 8

    private var events: [JobEvent] = []
    private var textBytes = 0
    private var outputBytes = 0
    /// What they hold, roughly.
    package var bytes: Int { textBytes + outputBytes + events.count * Self.eventBytes }
    private static let eventBytes = MemoryLayout<JobEvent>.stride
    package private(set) var lastSeq = 0
    /// Numbers up to here may be shown: a server that starts again gives none of them to another event.
    package var reserved = Int.max
    /// The last event that has been handed to the disk.
    package var lastStored = 0

    package init() { events.reserveCapacity(4) }

    /// Of a job that has ended, as the disk has it: all of it may be shown.
    package init(stored: [JobEvent]) {
        events = stored
        for event in stored { weigh(event.kind, 1) }
        lastSeq = stored.last?.seq ?? 0
        lastStored = lastSeq
    }

    /// Of a job that goes on, as the disk has it.
    ///
    /// What is added may not be shown before the disk has reserved its number anew: this server may end as suddenly as the
    /// last one, and the next will find the same.
    ///
    /// - Parameters:
    ///   - stored: In order.
    ///   - reserved: The greatest number that a client may have seen: a gap covers what is missing up to it.
    package init(stored: [JobEvent], reserved: Int, at now: Instant) {
        self.init(stored: stored)
        let reserved = reserved.asCount
        self.reserved = max(reserved, lastSeq)
        guard reserved > lastSeq else { return }
        let gap = JobEvent.Kind.gap(from: lastSeq + 1, reason: "server restarted")
        events.append(JobEvent(seq: reserved, time: now, attempt: stored.last?.attempt ?? 0, kind: gap))
        lastSeq = reserved
    }

    package var count: Int { events.count }

    /// The oldest event's number; one past the last when there is none.
    package var firstSeq: Int {
        guard let first = events.first else { return lastSeq + 1 }
        if case .gap(let from, _) = first.kind { return from }
        return first.seq
    }

    /// The last event that may be shown.
    package var lastShown: Int { min(lastSeq, reserved) }

    package mutating func append(_ kind: JobEvent.Kind, at time: Instant, attempt: Int) {
        lastSeq += 1
        events.append(JobEvent(seq: lastSeq, time: time, attempt: attempt, kind: kind))
        weigh(kind, 1)
        if events.count >= 2 * Self.kept { drop(Self.kept) }
        while textBytes > Self.keptText || outputBytes > Self.keptOutput, events.count > 1 {
            drop(events.count / 2)
        }
    }

    /// Adds the last event of all. Every number may be shown now.
    mutating func close(with end: JobEvent) {
        append(end.kind, at: end.time, attempt: end.attempt)
        reserved = Int.max
    }

    private mutating func drop(_ count: Int) {
        for event in events[..<count] { weigh(event.kind, -1) }
        events.removeFirst(count)
    }

    /// - Parameter sign: 1 for what comes, -1 for what goes.
    private mutating func weigh(_ kind: JobEvent.Kind, _ sign: Int) {
        switch kind {
        case .log(_, _, let text): textBytes += sign * (Self.boxBytes + text.utf8.count)
        case .output(let json): outputBytes += sign * (Self.boxBytes + json.count)
        case .progress(let progress, _): textBytes += sign * (Self.boxBytes + progress.textBytes)
        case .retrying(let error, _): textBytes += sign * (Self.boxBytes + (error?.bytes ?? 0))
        case .accepted, .queued, .started, .cancelling, .suspended, .resumed, .succeeded, .failed, .cancelled, .gap:
            break
        }
    }

    package subscript(index: Int) -> JobEvent { events[index] }

    /// Where the first event after `seq` stands; ``count`` when there is none.
    package func index(after seq: Int) -> Int {
        let seq = min(max(seq, 0), lastSeq)
        // Without a gap inside, places follow from numbers; with one, the guess names another event.
        let guess = events.count - (lastSeq - seq)
        if guess > 0, events[guess - 1].seq == seq { return guess }
        var low = 0
        var high = events.count
        while low < high {
            let middle = (low + high) / 2
            if events[middle].seq <= seq { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Events that the disk has not been handed. What was dropped before it could be is a gap.
    package var unstored: [JobEvent] {
        let new = events[index(after: lastStored)...]
        guard let first = new.first, first.seq > lastStored + 1 else { return Array(new) }
        if case .gap = first.kind { return Array(new) }
        let gap = JobEvent.Kind.gap(from: lastStored + 1, reason: "history dropped")
        return [JobEvent(seq: first.seq - 1, time: first.time, attempt: first.attempt, kind: gap)] + new
    }

    /// All of them.
    package var all: [JobEvent] { events }

    /// What of them deserves its place on a full disk: progress and lines of the log make way, for a gap.
    var brief: [JobEvent] {
        var kept: [JobEvent] = []
        for event in events {
            switch event.kind {
            case .progress, .log:
                var from = event.seq
                if case .gap(let earlier, _)? = kept.last?.kind {
                    from = earlier
                    kept.removeLast()
                }
                let gap = JobEvent.Kind.gap(from: from, reason: "the disk was full")
                kept.append(JobEvent(seq: event.seq, time: event.time, attempt: event.attempt, kind: gap))
            case .accepted, .queued, .started, .output, .retrying, .cancelling, .suspended, .resumed, .succeeded,
                .failed, .cancelled, .gap:
                kept.append(event)
            }
        }
        return kept
    }

    /// What the rest of them weighs, in bytes, roughly.
    var briefBytes: Int { outputBytes + 2 * Self.boxBytes }
}
