import EventLoop

/// Writes response heads. The line with the date is made once a second, not once a response.
///
/// Nothing may keep an answer that does not say so itself: most are about jobs, and out of date at once.
struct ResponseEncoder {
    /// How the end of the body is told.
    enum Framing {
        case length(Int), chunked, close, none
    }

    /// What the client is told about the connection.
    enum Persistence {
        /// HTTP/1.1 stays without a word.
        case stays
        /// HTTP/1.0 stays only when told so.
        case staysIfTold
        case closes
    }

    private var start: [UInt8] = []
    /// The same for a JSON body of a known length, up to that length.
    private var jsonStart: [UInt8] = []
    private var dateLine: [UInt8] = []
    private var second: Int64 = -1
    private static let noStore: StaticString = "Cache-Control: no-store\r\n"

    /// Appends the head of `response`, through the empty line.
    mutating func encode(
        _ response: Response, _ framing: Framing, _ persistence: Persistence, at wallSeconds: Int64,
        into out: inout [UInt8]
    ) {
        if wallSeconds != second { refresh(wallSeconds) }
        if response.status == 200, case .length(let count) = framing, persistence == .stays, response.isJSON,
            !response.isCacheable
        {
            out.append(contentsOf: jsonStart)
            out.append(decimal: count)
            out.append(text: "\r\n")
            out.append(contentsOf: response.fields)
            out.append(text: "\r\n")
            return
        }
        if response.status == 200, !response.isCacheable {
            out.append(contentsOf: start)
        } else {
            out.append(text: "HTTP/1.1 ")
            out.append(decimal: response.status)
            out.append(0x20)
            out.append(text: reason(response.status))
            out.append(contentsOf: dateLine)
            if !response.isCacheable { out.append(text: Self.noStore) }
        }
        if let type = response.contentType {
            out.append(text: "Content-Type: ")
            out.append(text: type)
            out.append(text: "\r\n")
        }
        switch framing {
        case .length(let count):
            out.append(text: "Content-Length: ")
            out.append(decimal: count)
            out.append(text: "\r\n")
        case .chunked: out.append(text: "Transfer-Encoding: chunked\r\n")
        case .close, .none: break
        }
        switch persistence {
        case .stays: break
        case .staysIfTold: out.append(text: "Connection: keep-alive\r\n")
        case .closes: out.append(text: "Connection: close\r\n")
        }
        out.append(contentsOf: response.fields)
        out.append(text: "\r\n")
    }

    private mutating func refresh(_ wallSeconds: Int64) {
        second = wallSeconds
        dateLine = Array("\r\nDate: \(httpDate(wallSeconds))\r\n".utf8)
        start = Array("HTTP/1.1 200 OK".utf8) + dateLine
        start.append(text: Self.noStore)
        jsonStart = start + Array("Content-Type: application/json\r\nContent-Length: ".utf8)
    }
}

/// IMF-fixdate (RFC 9110, 5.6.7): `Sun, 22 Nov 2026 15:00:00 GMT`.
func httpDate(_ seconds: Int64) -> String {
    // A clock that was never set is no reason to fail: what is before 1970 is shown as its first second.
    let seconds = max(seconds, 0)
    let days = Int(truncatingIfNeeded: seconds / 86400)
    let (year, month, day) = civilDate(days)
    let clock = Int(truncatingIfNeeded: seconds % 86400)
    let weekdays = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
    let time = "\(two(clock / 3600)):\(two(clock / 60 % 60)):\(two(clock % 60))"
    return "\(weekdays[days % 7]), \(two(day)) \(months[month - 1]) \(year) \(time) GMT"
}

/// Year, month and day from days since 1970-01-01, in the Gregorian calendar, for the years from 0 on.
///
/// Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
package func civilDate(_ days: Int) -> (year: Int, month: Int, day: Int) {
    let shifted = days + 719_468
    let era = shifted / 146_097
    let dayOfEra = shifted % 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
    let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
}

extension [UInt8] {
    @inline(__always)
    mutating func append(text: StaticString) {
        append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    mutating func append(decimal value: Int) {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digits in
            var (rest, start) = (value.magnitude, 20)
            repeat {
                start -= 1
                digits[start] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
                rest /= 10
            } while rest > 0
            append(contentsOf: UnsafeBufferPointer(rebasing: digits[start...]))
        }
    }
}
