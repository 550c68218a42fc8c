/// How long to wait before a retry: twice as long after each failure, within bounds, and never two jobs in step.
package struct Backoff: Sendable, Equatable {
    package var base: Duration = .seconds(1)
    package var limit: Duration = .seconds(300)

    package init() {}

    /// - Parameters:
    ///   - attempt: The attempt that failed, from 1.
    ///   - random: A number in 0..<1; the delay is that far between half and all of the full step.
    package func delay(afterAttempt attempt: Int, random: Double) -> Duration {
        let doubled = base * (1 << min(max(attempt, 1) - 1, 30))
        let full = min(doubled, limit)
        return .nanoseconds(Int64(saturating: Double(full.nanoseconds) * (0.5 + random / 2)))
    }
}

/// A small, fast source of randomness that a seed repeats exactly (SplitMix64; Steele, Lea, Flood 2014).
package struct SeededRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// In 0..<1.
    package mutating func fraction() -> Double { Double(next() >> 11) * 0x1p-53 }
}
