import Jobs

/// Whatever number or duration stands in a flag, a file, a request: it is bounded or refused, and reckoning with it ends.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzNumbers(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let buffer = UnsafeRawBufferPointer(start: bytes, count: count)
    let text = String(decoding: buffer, as: UTF8.self)
    if let duration = Duration(text: text) {
        precondition(duration >= .zero && duration < .seconds(9_000_000_001), "a duration without bounds")
        precondition(Duration(text: duration.text) == duration, "a duration that reads back as another one")
    }
    _ = JobID(text).map { precondition(JobID($0.description) == $0) }
    guard count >= 24 else { return 0 }
    let (a, b, c) = (
        buffer.loadUnaligned(as: Int64.self), buffer.loadUnaligned(fromByteOffset: 8, as: Int64.self),
        buffer.loadUnaligned(fromByteOffset: 16, as: Double.self)
    )
    let (left, right) = (Instant(nanoseconds: a), Instant(nanoseconds: b))
    let span = right - left
    _ = (left + span, left - span, left.nanoseconds(since: right), span.nanoseconds, span.seconds, span.text)
    _ = (
        Int64(saturating: c), Int32(saturating: c), UInt64(saturating: c), Duration(seconds: c).nanoseconds,
        Int(a).asCount
    )
    _ = (a.adding(saturating: b), a.subtracting(saturating: b), a.multiplied(saturating: b))
    precondition(b == 0 || b == -1 || a.divided(roundingDownBy: abs(max(b, -.max))) <= max(a, 0))
    if let named = Instant(named: a, fraction: b) { precondition(Instant.sayable.contains(named)) }
    var ids = JobIDSource(after: JobID(rawValue: UInt64(bitPattern: a)))
    _ = ids.next(at: right)
    let progress = Progress(c, of: Double(bitPattern: UInt64(bitPattern: a)))
    precondition((0...1).contains(progress.fraction ?? 0))
    precondition(Backoff().delay(afterAttempt: Int(b), random: 0.5) > .zero)
    return 0
}
