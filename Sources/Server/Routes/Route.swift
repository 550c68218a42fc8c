import EventLoop
import HTTP
import JSON

/// One address of the API: what it is called, who may use it, what it takes and what it answers. Everything that is said about
/// it elsewhere is made from this.
final class Route {
    typealias Handler = (Exchange, _ argument: String) throws(Problem) -> Void

    /// What a request's body is for.
    enum Body {
        /// Nothing: of what programs say none is left unheard, so that one that says something is refused.
        case none
        /// JSON of this schema, or nothing.
        case optional(JSONValue)
        /// JSON of this schema.
        case required(JSONValue)
        /// Bytes, as they are.
        case bytes

        var isRequired: Bool { if case .required = self { true } else { false } }
    }

    let method: Method
    /// With at most one parameter in braces.
    let pattern: String
    /// Whether it is of the API that programs speak, where nothing is left unheard.
    let isVersioned: Bool
    /// Whether it is about one job: conditions then speak of that job's tag.
    let isOfJob: Bool
    /// Whether it can be answered only when the jobs of an earlier server are there.
    let needsJobs: Bool
    /// nil: no token is asked for.
    let scope: Scope?
    /// Its name in clients that are made from the description: never changed.
    let operation: String
    let summary: String
    let query: [QueryParameter]
    private let queryNames: [[UInt8]]
    /// Whether it takes `label.NAME` besides.
    let takesLabels: Bool
    let body: Body
    /// Where nothing else is said: problems that every route has.
    let answers: [Answer]
    /// Whether there is anything at an address that the pattern matches; nil: always.
    let exists: ((String) -> Bool)?
    let handle: Handler
    let meter: RouteMeter
    /// The parameter's name; nil when the pattern has none.
    let argument: String?
    private let before: [UInt8]
    /// nil when the pattern has no parameter.
    private let after: [UInt8]?

    init(
        _ method: Method, _ pattern: String, _ scope: Scope?, _ operation: String, _ summary: String,
        query: [QueryParameter] = [], takesLabels: Bool = false, body: Body = .none, answers: [Answer],
        exists: ((String) -> Bool)? = nil, _ handle: @escaping Handler
    ) {
        self.method = method
        self.pattern = pattern
        isVersioned = pattern.begins(with: "/v1/")
        isOfJob = pattern.begins(with: "/v1/jobs/{id}")
        needsJobs = isVersioned && pattern != "/v1/session"
        self.scope = scope
        self.operation = operation
        self.summary = summary
        self.query = query
        queryNames = query.map { Array($0.name.utf8) }
        self.takesLabels = takesLabels
        self.body = body
        self.answers = answers
        self.exists = exists
        self.handle = handle
        meter = RouteMeter(method.name, pattern)
        if let (first, rest) = pattern.cut(at: "{"), let (name, last) = rest.cut(at: "}") {
            argument = String(name)
            before = Array(first.utf8)
            after = Array(last.utf8)
        } else {
            argument = nil
            before = Array(pattern.utf8)
            after = nil
        }
    }

    /// The parameter's place in the path, empty for a pattern without one; nil when the path does not match.
    func match(_ path: UnsafeBufferPointer<UInt8>) -> Range<Int>? {
        guard path.count >= before.count, begins(path) else { return nil }
        guard let after else { return path.count == before.count ? 0..<0 : nil }
        let end = path.count - after.count
        guard end > before.count else { return nil }
        for index in 0..<after.count where path[end + index] != after[index] { return nil }
        for index in before.count..<end where path[index] == UInt8(ascii: "/") { return nil }
        return before.count..<end
    }

    /// Whether all names in a query, as they stand there, are known. A name with escapes in it may be all the same.
    func takes(query: UnsafeBufferPointer<UInt8>) -> Bool {
        var rest = query[...]
        while !rest.isEmpty {
            let pair = rest.prefix { $0 != UInt8(ascii: "&") }
            rest = rest[pair.endIndex...].dropFirst()
            let name = pair.prefix { $0 != UInt8(ascii: "=") }
            if queryNames.contains(where: { name.elementsEqual($0) }) { continue }
            guard takesLabels, name.count > Self.label.count, name.starts(with: Self.label) else { return false }
        }
        return true
    }

    private static let label = Array("label.".utf8)

    private func begins(_ path: UnsafeBufferPointer<UInt8>) -> Bool {
        // From the end: patterns differ there.
        var index = before.count
        while index > 0 {
            index -= 1
            if path[index] != before[index] { return false }
        }
        return true
    }
}
