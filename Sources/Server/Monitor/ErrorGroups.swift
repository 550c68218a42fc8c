import EventLoop
import Jobs
import Store

/// Failures that look alike, together: how often, since when, and which jobs.
///
/// What looks alike has the same task, the same type, the same message but for numbers, and was raised at the same place.
struct ErrorGroups {
    static let most = 500
    /// Jobs that are remembered of each.
    static let jobsKept = 500
    /// What is shown of a message, and of a place, in bytes.
    private static let shownBytes = 4096

    struct Group {
        let fingerprint: String
        let task: String
        let type: String
        /// Of the last one.
        var message: String
        /// The last line of the traceback that names a place in a file; empty without one.
        let place: String
        var count = 0
        var firstSeen: Instant
        var lastSeen: Instant
        /// Newest last.
        var jobs: [JobID] = []
    }

    private var groups: [String: Group] = [:]
    /// Groups that had to go.
    private(set) var forgotten = 0

    /// All of them, the one that was seen last first.
    var all: [Group] { groups.values.sorted { $0.lastSeen > $1.lastSeen } }

    mutating func note(_ record: JobRecord) {
        guard record.state == .failed, let error = record.error, let time = record.finishedAt else { return }
        let place = Self.shown(error.traceback.last(where: Self.isPlace)?.trimmed ?? "")
        let fingerprint = Self.hash("\(record.task)\n\(error.type)\n\(Self.pattern(error.message))\n\(place)")
        var group =
            groups.removeValue(forKey: fingerprint)
            ?? Group(
                fingerprint: fingerprint, task: record.task, type: error.type, message: "", place: place,
                firstSeen: time, lastSeen: time)
        group.count += 1
        if time >= group.lastSeen { group.message = Self.shown(error.message) }
        group.firstSeen = min(group.firstSeen, time)
        group.lastSeen = max(group.lastSeen, time)
        group.jobs.append(record.id)
        if group.jobs.count >= 2 * Self.jobsKept { group.jobs = Array(group.jobs.sorted().suffix(Self.jobsKept)) }
        groups[fingerprint] = group
        if groups.count > Self.most, let oldest = groups.values.min(by: { $0.lastSeen < $1.lastSeen }) {
            groups[oldest.fingerprint] = nil
            forgotten += 1
        }
    }

    private static func shown(_ text: String) -> String {
        text.utf8.count <= shownBytes ? text : String(decoding: text.utf8.prefix(shownBytes), as: UTF8.self) + "…"
    }

    /// `  File "x.py", line 3, in f` of Python, `    at f (x.js:3:1)` of JavaScript, and what looks like them.
    private static func isPlace(_ line: String) -> Bool {
        // Characters: as somebody reads it.
        guard line.first?.isWhitespace == true else { return false }
        let words = line.trimmed
        return words.begins(with: "at ") || words.begins(with: "from ") || words.contains(", line ")
    }

    /// The message without what differs from one time to the next: numbers, and what stands in quotes.
    private static func pattern(_ message: String) -> String {
        var pattern = ""
        var quote: Character?
        for character in message.prefix(500) {
            if let open = quote {
                if character == open { quote = nil }
            } else if character == "\"" || character == "'" {
                quote = character
                pattern.append("…")
            } else if character.isNumber {  // Characters: as it is read
                if pattern.last != "#" { pattern.append("#") }
            } else {
                pattern.append(character)
            }
        }
        return pattern
    }

    /// FNV-1a, 64 bits. Source: draft-eastlake-fnv.
    private static func hash(_ text: String) -> String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        let digits = String(hash, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

extension String {
    // Characters: as somebody reads it.
    fileprivate var trimmed: String { String(drop(while: \.isWhitespace)) }
}
