/// How far an attempt is.
package struct Progress: Sendable, Equatable {
    /// Finite, not negative.
    package let done: Double
    /// More than 0 and finite; nil: nobody knows.
    package let total: Double?
    package var unit: String?
    package var message: String?

    /// What is no number, or less than nothing, is 0 done, or no total.
    package init(_ done: Double, of total: Double? = nil, unit: String? = nil, message: String? = nil) {
        self.done = done.isFinite ? max(done, 0) : 0
        self.total = total.flatMap { $0.isFinite && $0 > 0 ? $0 : nil }
        self.unit = unit
        self.message = message
    }

    /// Bytes of its texts.
    package var textBytes: Int { (unit?.utf8.count ?? 0) + (message?.utf8.count ?? 0) }

    /// How long the rest takes if it goes on like this, in nanoseconds; nil: nobody can say.
    ///
    /// - Parameter elapsed: Since the attempt began, in nanoseconds.
    package func left(after elapsed: Int64) -> Int64? {
        guard let fraction, fraction > 0 else { return nil }
        return Int64(saturating: Double(max(elapsed, 0)) * (1 - fraction) / fraction)
    }

    /// In 0...1.
    package var fraction: Double? {
        guard let total else { return nil }
        return min(done / total, 1)
    }
}
