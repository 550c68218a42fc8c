import JSON
import Jobs

/// Whatever stands in a row of the store: it is read or refused, and what was read can be asked everything.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzFacts(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let text = String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
    let record = JobRecord(
        id: JobID(rawValue: 1), task: "t", pool: .thread, queue: "q", priority: 0, maxAttempts: 1, timeout: nil,
        key: nil,
        labels: Facts.readLabels(text) ?? [], input: [], createdAt: Instant(nanoseconds: 0))
    if Facts.read(text, into: record) {
        let outcome = Outcome(
            .failed, of: record, at: Instant(nanoseconds: .max), error: record.error, usage: record.usage,
            cancel: record.cancel)
        precondition(Facts.read(Facts.text(Facts.write(outcome)), into: record), "what was written cannot be read")
    }
    guard let events = Facts.readEvents(text) else { return 0 }
    precondition(Facts.readEvents(Facts.text(Facts.write(events))) == events, "events come back as others")
    var log = EventLog(stored: events, reserved: .max, at: Instant(nanoseconds: .min))
    log.append(.cancelling, at: Instant(nanoseconds: 0), attempt: 1)
    for seq in [Int.min, -1, 0, 1, count, log.lastSeq, .max] {
        precondition((0...log.count).contains(log.index(after: seq)))
    }
    _ = (log.firstSeq, log.lastShown, log.unstored.count)
    return 0
}
