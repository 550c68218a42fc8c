import HTTP
import JSON
import Jobs

/// Times as the API writes them (RFC 3339, UTC, milliseconds): `2026-11-22T14:00:00.123Z`.
extension [UInt8] {
    package mutating func append(timestamp instant: Instant) {
        // 64 bits of nanoseconds reach from 1677 to 2262.
        let milliseconds = instant.nanoseconds.divided(roundingDownBy: 1_000_000)
        let days = milliseconds.divided(roundingDownBy: 86_400_000)
        let (year, month, day) = civilDate(Int(days))
        let clock = Int(milliseconds - days * 86_400_000)
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 26) { text in
            let template: StaticString = #""0000-00-00T00:00:00.000Z""#
            _ = text.initialize(from: UnsafeBufferPointer(start: template.utf8Start, count: 26))
            func put(_ value: Int, _ width: Int, at place: Int) {
                var rest = value
                for index in (place..<place + width).reversed() {
                    text[index] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
                    rest /= 10
                }
            }
            put(year, 4, at: 1)
            put(month, 2, at: 6)
            put(day, 2, at: 9)
            put(clock / 3_600_000, 2, at: 12)
            put(clock / 60_000 % 60, 2, at: 15)
            put(clock / 1000 % 60, 2, at: 18)
            put(clock % 1000, 3, at: 21)
            append(contentsOf: UnsafeBufferPointer(text))
        }
    }

    package mutating func append(timestamp instant: Instant?) {
        if let instant { append(timestamp: instant) } else { append("null") }
    }
}

/// Reads RFC 3339: date, `T`, time, optional fraction, `Z` or an offset.
///
/// - Returns: nil for what is none, and for a time that is not in ``Instant/sayable``.
package func instant(fromTimestamp text: String) -> Instant? {
    let bytes = Array(text.utf8)
    func number(_ start: Int, _ count: Int) -> Int? {
        guard start + count <= bytes.count else { return nil }
        var value = 0
        for byte in bytes[start..<start + count] {
            guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { return nil }
            value = value * 10 + Int(byte - UInt8(ascii: "0"))
        }
        return value
    }
    func has(_ letter: Character, at index: Int) -> Bool { index < bytes.count && bytes[index] == letter.asciiValue }
    guard let year = number(0, 4), has("-", at: 4), let month = number(5, 2), has("-", at: 7), let day = number(8, 2),
        has("T", at: 10) || has("t", at: 10) || has(" ", at: 10), let hour = number(11, 2), has(":", at: 13),
        let minute = number(14, 2), has(":", at: 16), let second = number(17, 2),
        year >= 1970, (1...12).contains(month), (1...daysIn(month, of: year)).contains(day), hour < 24, minute < 60,
        second <= 60
    else { return nil }
    var index = 19
    var fraction: Int64 = 0
    if has(".", at: index) {
        var scale: Int64 = 100_000_000
        index += 1
        guard number(index, 1) != nil else { return nil }
        while let digit = number(index, 1) {
            fraction += Int64(digit) * scale
            scale /= 10
            index += 1
        }
    }
    var offset = 0
    if has("+", at: index) || has("-", at: index) {
        guard let hours = number(index + 1, 2), has(":", at: index + 3), let minutes = number(index + 4, 2),
            hours < 24, minutes < 60, index + 6 == bytes.count
        else { return nil }
        offset = (hours * 60 + minutes) * 60 * (has("+", at: index) ? 1 : -1)
    } else {
        guard has("Z", at: index) || has("z", at: index), index + 1 == bytes.count else { return nil }
    }
    let seconds = daysSinceEpoch(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset
    return Instant(named: Int64(clamping: seconds), fraction: fraction)
}

private func daysIn(_ month: Int, of year: Int) -> Int {
    let isLeap = year % 4 == 0 && year % 100 != 0 || year % 400 == 0
    return month == 2 ? (isLeap ? 29 : 28) : [4, 6, 9, 11].contains(month) ? 30 : 31
}

/// Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
private func daysSinceEpoch(_ year: Int, _ month: Int, _ day: Int) -> Int {
    let shiftedYear = month <= 2 ? year - 1 : year
    let era = shiftedYear / 400
    let yearOfEra = shiftedYear - era * 400
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    return era * 146_097 + dayOfEra - 719_468
}

extension Instant {
    /// As the API writes it, for people.
    package var text: String {
        var bytes: [UInt8] = []
        bytes.append(timestamp: self)
        return String(decoding: bytes.dropFirst().dropLast(), as: UTF8.self)
    }
}
