import EventLoop
import Jobs

/// Saves a task of ours the way to the loop for progress that nobody would see: the server tells no more of it anyway.
///
/// The latest progress waits here; it goes out with the task's next look at whether it should go on, or with its end.
struct ProgressGate {
    /// A task may ask in its innermost loop: what is more often than this stays here, in nanoseconds.
    private static let pause: Int64 = 45_000_000

    private var last: Int64 = 0
    private var held: Progress?

    /// - Returns: What is to be told now.
    mutating func pass(_ progress: Progress) -> Progress? {
        let now = monotonicNanoseconds()
        guard now - last >= Self.pause || progress.fraction == 1 else {
            held = progress
            return nil
        }
        last = now
        held = nil
        return progress
    }

    var holds: Bool { held != nil }

    /// What has waited long enough.
    mutating func due() -> Progress? {
        guard held != nil, monotonicNanoseconds() - last >= Self.pause else { return nil }
        return rest()
    }

    /// What has waited, because nothing will come for a while.
    mutating func rest() -> Progress? {
        guard let progress = held else { return nil }
        held = nil
        last = monotonicNanoseconds()
        return progress
    }
}
