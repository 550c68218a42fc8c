/// Durations as the API and the command line write them: `250ms`, `30s`, `5m`, `2h`.
extension Duration {
    /// - Parameter text: A decimal number and a unit: `us`, `ms`, `s`, `m`, `h`, `d`. Not negative, less than 285 years.
    package init?(text: String) {
        let units: [(suffix: String, nanoseconds: Double)] = [
            ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9), ("d", 86400e9),
        ]
        guard let unit = units.first(where: { text.utf8.suffix($0.suffix.utf8.count).elementsEqual($0.suffix.utf8) })
        else { return nil }
        let digits = text.utf8.dropLast(unit.suffix.utf8.count)
        guard !digits.isEmpty, digits.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 || $0 == UInt8(ascii: ".") }),
            let number = Double(String(decoding: digits, as: UTF8.self)), number * unit.nanoseconds < 9e18
        else { return nil }
        self = .nanoseconds(Int64(saturating: (number * unit.nanoseconds).rounded()))
    }

    /// The shortest text that reads back as the same duration, if that is below 104 days or has no odd nanoseconds.
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
