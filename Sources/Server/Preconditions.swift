import HTTP

/// What a request says about the present state that it may act on.
///
/// Source: RFC 9110, 13.1. Only jobs have tags; dates of change are not kept, so that conditions on them hold.
struct Preconditions {
    private let match: EntityTags?
    private let noneMatch: EntityTags?
    private let isRead: Bool

    /// nil without any: nearly always.
    init?(_ head: RequestHead) {
        guard head.has("if-match") || head.has("if-none-match") else { return nil }
        match = EntityTags(head.values(of: "if-match"))
        noneMatch = EntityTags(head.values(of: "if-none-match"))
        isRead = head.method == .get || head.method == .head
    }

    /// - Parameter tag: Of what is there; nil when that has none.
    /// - Throws: ``Problem`` 412 before anything has happened. That a reader has it already is not said here.
    func check(_ tag: String?) throws(Problem) {
        if let match, !match.stronglyMatch(tag) {
            throw Problem(412, "precondition-failed", "If-Match: this is not, or is no longer, what is here")
        }
        if !isRead, let noneMatch, noneMatch.weaklyMatch(tag) {
            throw Problem(412, "precondition-failed", "If-None-Match: this is what is here")
        }
    }
}

/// The value of `If-Match` or `If-None-Match`: any, or some entity tags.
///
/// Source: RFC 9110, 8.8.3 and 13.1.
struct EntityTags {
    private var isAny = false
    private var strong: [Substring.UTF8View] = []
    private var weak: [Substring.UTF8View] = []

    init?(_ text: String?) {
        guard let text else { return nil }
        var rest = text[...].utf8
        while !rest.isEmpty {
            rest = rest.drop { $0 == UInt8(ascii: " ") || $0 == 0x09 || $0 == UInt8(ascii: ",") }
            if rest.first == UInt8(ascii: "*") {
                isAny = true
                rest = rest.dropFirst()
                continue
            }
            let isWeak = rest.starts(with: "W/".utf8)
            if isWeak { rest = rest.dropFirst(2) }
            // What is no tag matches nothing, and neither does what follows it.
            guard rest.first == UInt8(ascii: "\""), let end = rest.dropFirst().firstIndex(of: UInt8(ascii: "\"")) else {
                return
            }
            let tag = rest[...end]
            if isWeak { weak.append(Substring(tag).utf8) } else { strong.append(Substring(tag).utf8) }
            rest = rest[end...].dropFirst()
        }
    }

    func stronglyMatch(_ tag: String?) -> Bool {
        isAny || tag.map { tag in strong.contains { $0.elementsEqual(tag.utf8) } } ?? false
    }

    func weaklyMatch(_ tag: String?) -> Bool {
        stronglyMatch(tag) || tag.map { tag in weak.contains { $0.elementsEqual(tag.utf8) } } ?? false
    }
}
