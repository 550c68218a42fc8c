import EventLoop
import HTTP
import JSON
import Jobs

/// Answers requests: finds the route, checks the scope, and says what went wrong as a problem.
///
/// Confined to the engine's loop. The handlers stand in files of their own, by what they are about.
final class API {
    let engine: Engine
    let gate: Gate
    let pages: Pages
    /// What the HTTP sides of all loops count.
    var figures: ServerFigures?
    /// Of requests for which there is no route.
    private let elsewhere = RouteMeter("none", "none")
    let processFigures: ProcessFigureReader
    private(set) var router = Router(routes: [])

    init(_ engine: Engine, _ gate: Gate, _ pages: Pages) {
        self.engine = engine
        self.gate = gate
        self.pages = pages
        processFigures = ProcessFigureReader(on: engine.loop)
        router = Router(routes: routes)
    }

    var meters: [RouteMeter] { router.routes.map(\.meter) + [elsewhere] }

    func handle(_ exchange: Exchange) {
        do throws(Problem) {
            try route(exchange)
        } catch {
            exchange.respond(error.response)
        }
    }

    private func handle(_ exchange: Exchange, by route: Route, _ argument: String) {
        do throws(Problem) {
            try route.handle(exchange, argument)
        } catch {
            exchange.respond(error.response)
        }
    }

    private func route(_ exchange: Exchange) throws(Problem) {
        let head = exchange.head
        switch router.find(head) {
        case .route(let route, let argument):
            exchange.measure(by: route.meter)
            if let needed = route.scope, let scope = gate.scope(of: head), scope < needed {
                throw Problem(403, "forbidden", "this token may \(scope.name), but this needs \(needed.name)")
            }
            try checkContent(head, for: route)
            if head.hasBody, case .none = route.body { try checkUnasked(exchange, for: route) }
            if head.hasQuery { try checkQuery(head, for: route) }
            if !route.isOfJob, let preconditions = Preconditions(head) {
                try preconditions.check(nil)
            }
            let argument = head.isPathEscaped ? try decode(argument) : argument
            if route.needsJobs, let restoration = engine.restoration {
                return restoration.hold(exchange) { [unowned self] in handle(exchange, by: route, argument) }
            }
            try route.handle(exchange, argument)
        case .otherMethods(let methods):
            exchange.measure(by: elsewhere)
            let allow = Self.allow(methods)
            if head.method == .options { return exchange.respond(options(allow)) }
            if head.method == .unknown { throw Problem(501, "not-implemented", "unknown method") }
            var problem = Problem(405, "method-not-allowed", "this address allows \(allow)")
            problem.allow = allow
            throw problem
        case .nothing:
            exchange.measure(by: elsewhere)
            if head.method == .unknown { throw Problem(501, "not-implemented", "unknown method") }
            if head.method == .options, head.pathText == "*" {
                return exchange.respond(options(Self.allow(router.routes.map(\.method))))
            }
            throw .notFound("there is nothing at \(head.pathText)")
        }
    }

    private static let plainJSON: StaticString = "application/json"

    /// Ends what those read whose token holds no more, or who have signed out.
    func endRefusedStreams() {
        let isRefused: (Exchange) -> Bool = { [gate] in gate.scope(of: $0.head) == nil }
        engine.streams.end(where: isRefused)
        engine.monitor.end(where: isRefused)
    }

    /// The value of `Allow` for what routes take.
    private static func allow(_ methods: [Method]) -> String {
        var all: [Method] = []
        for method in methods + (methods.contains(.get) ? [.head] : []) + [.options] where !all.contains(method) {
            all.append(method)
        }
        return all.map(\.name).joined(separator: ", ")
    }

    private func options(_ allow: String) -> Response {
        var response = Response(204)
        response.set("Allow", allow)
        return response
    }

    /// Bodies are JSON, and say so: a form of a foreign page cannot.
    private func checkContent(_ head: RequestHead, for route: Route) throws(Problem) {
        guard head.hasBody else {
            guard route.body.isRequired, head.contentLength == nil else { return }
            throw Problem(411, "length-required", "send a body, with Content-Length or in chunks")
        }
        if let coding = head.values(of: "content-encoding"), coding.inLowerCase != "identity" {
            var problem = Problem(
                415, "unsupported-media-type", "bodies are taken as they are, without Content-Encoding")
            problem.accepted = ("Accept-Encoding", "identity")
            throw problem
        }
        let isJSON = head.withValue(of: "content-type") { value in
            if Self.plainJSON.isSame(as: value) { return true }
            let type = String(decoding: value.prefix { $0 != UInt8(ascii: ";") }, as: UTF8.self)
                .without(" ", "\t").inLowerCase
            // Forms and plain text are what a foreign page can send without asking; these are not.
            return type == "application/json" || type == "application/x-ndjson" || type == "application/octet-stream"
                || type.begins(with: "application/") && type.ends(with: "+json")
        }
        guard isJSON == true else {
            var problem = Problem(
                415, "unsupported-media-type", "send Content-Type: application/json (curl: --json, or -H)")
            problem.accepted = ("Accept", "application/json")
            throw problem
        }
    }

    /// Whoever asks for something is to know when nobody heard it: a parameter that the route does not take is refused. Pages
    /// and what is scraped take any, as files do.
    private func checkQuery(_ head: RequestHead, for route: Route) throws(Problem) {
        guard route.isVersioned, !head.withQuery({ route.takes(query: $0) }) else { return }
        try Query(head.queryText).allow(only: route.query.map(\.name), labels: route.takesLabels)
    }

    /// A body where none is asked for may be an object without members; whatever else it says nobody would hear.
    private func checkUnasked(_ exchange: Exchange, for route: Route) throws(Problem) {
        guard route.isVersioned else { return }
        let body = exchange.takeBody()
        guard !body.isEmpty else { return }
        _ = try Self.object(body, knowing: [])
    }

    /// A body that is an object with some of a few members.
    static func object(_ body: [UInt8], knowing known: [String]) throws(Problem) -> JSONValue {
        let value: JSONValue
        do throws(JSONError) {
            value = try JSONReader.value(of: body)
        } catch {
            throw .malformed(error)
        }
        guard case .object(let members) = value else { throw .invalid("", "expected object, got \(value.typeName)") }
        for member in members where !known.contains(member.key) {
            let near = nearest(to: member.key, among: known).map { "; did you mean \"\($0)\"?" } ?? ""
            throw .invalid("/\(escapedPointer(member.key))", "unknown member" + near)
        }
        return value
    }
}
