/// Numbers from outside, made ours.
///
/// Whatever a client, a worker, a program, a file or a row of the store says is turned into a bounded number here, or
/// refused: nothing that anybody writes may trap. Elsewhere no fraction becomes a whole number without a label, and nothing
/// is added to what was read; `Tests/check-house` looks.
///
/// Public and inlinable, because other modules would otherwise do this arithmetic through tables of witnesses: a hundred
/// instructions and more for one addition, some thousands for a fraction.
extension FixedWidthInteger {
    /// The nearest number that there is, towards zero; 0 for what is no number.
    @inlinable
    public init(saturating value: Double) {
        // As fractions the bounds are rounded outwards, if at all: what lies between them fits.
        if value.isNaN {
            self = 0
        } else if value >= Double(Self.max) {
            self = .max
        } else if value <= Double(Self.min) {
            self = .min
        } else {
            self = Self(value)
        }
    }

    @inlinable
    public func adding(saturating other: Self) -> Self {
        let (sum, overflow) = addingReportingOverflow(other)
        guard overflow else { return sum }
        return other < 0 ? .min : .max
    }

    @inlinable
    public func subtracting(saturating other: Self) -> Self {
        let (difference, overflow) = subtractingReportingOverflow(other)
        guard overflow else { return difference }
        return other < 0 ? .max : .min
    }

    /// Rounded down, below zero too.
    @inlinable
    public func divided(roundingDownBy divisor: Self) -> Self {
        let (quotient, rest) = quotientAndRemainder(dividingBy: divisor)
        return rest < 0 ? quotient - 1 : quotient
    }

    @inlinable
    public func multiplied(saturating other: Self) -> Self {
        let (product, overflow) = multipliedReportingOverflow(by: other)
        guard overflow else { return product }
        return (self < 0) == (other < 0) ? .max : .min
    }
}

extension Instant {
    /// What a client may name: from 1970 to the end of the year 2200.
    package static let sayable = Instant(nanoseconds: 0)...Instant(nanoseconds: 7_289_654_399_999_999_999)

    /// A time that somebody has named.
    ///
    /// - Parameter seconds: Since 1970.
    /// - Returns: nil for a time before 1970 or after 2200.
    package init?(named seconds: Int64, fraction nanoseconds: Int64) {
        let instant = Instant(
            nanoseconds: seconds.multiplied(saturating: 1_000_000_000).adding(saturating: nanoseconds))
        guard Self.sayable.contains(instant) else { return nil }
        self = instant
    }
}

extension Int {
    /// Numbers of events, of bytes, of anything that is counted one by one: every program that reads JSON can hold these.
    @inlinable
    public static var counts: ClosedRange<Int> { 0...(1 << 53) }

    /// The nearest of ``counts``.
    @inlinable
    public var asCount: Int { Swift.min(Swift.max(self, 0), Self.counts.upperBound) }
}

extension Duration {
    /// Seconds as a fraction, as somebody outside has said them: not negative, at most some 292 years.
    package init(seconds: Double) { self = .nanoseconds(Int64(saturating: Swift.max(seconds, 0) * 1e9)) }
}
