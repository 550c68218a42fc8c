/// How far an attempt is.
package struct Progress: Sendable, Equatable {
    package var done: Double
    /// nil: nobody knows.
    package var total: Double?
    package var unit: String?
    package var message: String?

    package init(_ done: Double, of total: Double? = nil, unit: String? = nil, message: String? = nil) {
        self.done = done
        self.total = total
        self.unit = unit
        self.message = message
    }

    /// Bytes of its texts.
    package var textBytes: Int { (unit?.utf8.count ?? 0) + (message?.utf8.count ?? 0) }

    /// In 0...1.
    package var fraction: Double? {
        guard let total, total > 0 else { return nil }
        return min(max(done / total, 0), 1)
    }
}
