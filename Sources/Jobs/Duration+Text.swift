/// Durations as the API and the command line write them: `250ms`, `30s`, `5m`, `2h`.
extension Duration {
    /// - Parameter text: A decimal number and a unit: `us`, `ms`, `s`, `m`, `h`, `d`. Not negative, less than 285 years.
    package init?(text: String) {
        let units: [(suffix: String, nanoseconds: Int128)] = [
            ("us", 1000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000),
            ("d", 86_400_000_000_000),
        ]
        guard let unit = units.first(where: { text.utf8.suffix($0.suffix.utf8.count).elementsEqual($0.suffix.utf8) }),
            let number = Decimal(text.utf8.dropLast(unit.suffix.utf8.count))
        else { return nil }
        let rest = (number.fraction * unit.nanoseconds + number.scale / 2) / number.scale
        let nanoseconds = number.whole * unit.nanoseconds + rest
        guard nanoseconds < Self.bound else { return nil }
        self = .nanoseconds(Int64(clamping: nanoseconds))
    }

    private static let bound: Int128 = 9_000_000_000_000_000_000

    /// A number by its digits: what a duration says is kept to the nanosecond, however long it is.
    private struct Decimal {
        var whole: Int128 = 0
        /// Of `scale`.
        var fraction: Int128 = 0
        var scale: Int128 = 1

        /// nil for what has no digits, anything else but one point, or more than a duration can hold.
        init?(_ text: some Sequence<UInt8>) {
            var hasDigits = false
            var hasPoint = false
            for byte in text {
                if byte == UInt8(ascii: "."), !hasPoint {
                    hasPoint = true
                    continue
                }
                guard byte >= 0x30, byte <= 0x39, whole < Duration.bound else { return nil }
                hasDigits = true
                let digit = Int128(byte - 0x30)
                if !hasPoint {
                    whole = whole * 10 + digit
                } else if scale < Duration.bound {
                    // What stands behind is less than any part of a nanosecond that counts.
                    fraction = fraction * 10 + digit
                    scale *= 10
                }
            }
            guard hasDigits else { return nil }
        }
    }

    /// The shortest text that reads back as the same duration.
    package var text: String {
        for (suffix, unit) in [
            ("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1000),
        ] as [(String, Int64)] where nanoseconds >= unit && nanoseconds % unit == 0 {
            return "\(nanoseconds / unit)\(suffix)"
        }
        let parts = nanoseconds % 1000
        guard parts != 0 else { return "\(nanoseconds / 1000)us" }
        var digits = String(1000 + parts).dropFirst()
        while digits.utf8.last == UInt8(ascii: "0") { digits.removeLast() }
        return "\(nanoseconds / 1000).\(digits)us"
    }
}
