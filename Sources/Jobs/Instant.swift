/// A moment, as nanoseconds since 1970-01-01 UTC by the server's own clock.
///
/// The wall clock at start plus monotonic time since; when somebody sets the wall clock, the server's follows in one step.
package struct Instant: Comparable, Hashable, Sendable {
    package let nanoseconds: Int64

    package init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    package static func < (left: Instant, right: Instant) -> Bool { left.nanoseconds < right.nanoseconds }

    package static func + (instant: Instant, delay: Duration) -> Instant {
        Instant(nanoseconds: instant.nanoseconds.adding(saturating: delay.nanoseconds))
    }

    package static func - (instant: Instant, delay: Duration) -> Instant {
        Instant(nanoseconds: instant.nanoseconds.subtracting(saturating: delay.nanoseconds))
    }

    /// How long after another this moment is, without the 128 bits of a `Duration`.
    package func nanoseconds(since earlier: Instant) -> Int64 {
        nanoseconds.subtracting(saturating: earlier.nanoseconds)
    }

    package static func - (left: Instant, right: Instant) -> Duration {
        .nanoseconds(left.nanoseconds(since: right))
    }
}

extension Duration {
    /// Whole nanoseconds, at most about 292 years.
    package var nanoseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds.multiplied(saturating: 1_000_000_000).adding(saturating: attoseconds / 1_000_000_000)
    }

    /// Seconds, for people and JSON.
    package var seconds: Double { Double(nanoseconds) / 1e9 }
}
