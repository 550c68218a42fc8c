import HTTP

/// One address of the API: what it is called, who may use it, and what answers.
final class Route {
    typealias Handler = (Exchange, _ argument: String) throws(Problem) -> Void

    /// What a request's body is for.
    enum Body {
        /// Nothing: one that comes is not looked at.
        case none
        case optional, required
    }

    let method: Method
    /// With at most one parameter in braces.
    let pattern: String
    /// Whether it is about one job: conditions then speak of that job's tag.
    let isOfJob: Bool
    /// nil: no token is asked for.
    let scope: Scope?
    let summary: String
    /// Query parameters, for the OpenAPI description.
    let parameters: [String]
    let body: Body
    /// Whether there is anything at an address that the pattern matches; nil: always.
    let exists: ((String) -> Bool)?
    let handle: Handler
    let meter: RouteMeter
    private let before: [UInt8]
    /// nil when the pattern has no parameter.
    private let after: [UInt8]?

    init(
        _ method: Method, _ pattern: String, _ scope: Scope?, _ summary: String, parameters: [String] = [],
        body: Body = .none, exists: ((String) -> Bool)? = nil, _ handle: @escaping Handler
    ) {
        self.method = method
        self.pattern = pattern
        isOfJob = pattern.hasPrefix("/v1/jobs/{id}")
        self.scope = scope
        self.summary = summary
        self.parameters = parameters
        self.body = body
        self.exists = exists
        self.handle = handle
        meter = RouteMeter(method.name, pattern)
        if let open = pattern.firstIndex(of: "{"), let close = pattern.firstIndex(of: "}") {
            before = Array(pattern[..<open].utf8)
            after = Array(pattern[pattern.index(after: close)...].utf8)
        } else {
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

/// Finds who answers a request.
struct Router {
    let routes: [Route]

    enum Finding {
        case route(Route, argument: String)
        /// The address exists, but not for this method.
        case otherMethods([Method])
        case nothing
    }

    func find(_ head: RequestHead) -> Finding {
        let method = head.method == .head ? .get : head.method
        return head.withPath { path in
            var others: [Method] = []
            for route in routes {
                guard let range = route.match(path) else { continue }
                if route.method == method {
                    return .route(route, argument: String(decoding: path[range], as: UTF8.self))
                }
                if others.contains(route.method) { continue }
                if let exists = route.exists, !exists(String(decoding: path[range], as: UTF8.self)) { continue }
                others.append(route.method)
            }
            return others.isEmpty ? .nothing : .otherMethods(others)
        }
    }
}
