import ArgumentParser
import EventLoop
import Glibc
import HTTPClient
import JSON
import Server

/// How the commands find their server.
struct ClientOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The server (default: SPINDLE_URL, else http://127.0.0.1:8080).", valueName: "URL"))
    var url: String?

    @Option(help: ArgumentHelp("Where the token is, when SPINDLE_TOKEN is not set.", valueName: "FILE"))
    var tokenFile: String?

    @Option(
        name: .customLong("cacert"),
        help: ArgumentHelp(
            "Certificates to trust, PEM (default: SSL_CERT_FILE, else the system's).", valueName: "FILE"))
    var trusted: String?

    /// The file of certificates to trust; nil: the system's.
    func trust() throws -> String? {
        guard let file = trusted ?? environment("SSL_CERT_FILE") else { return nil }
        guard access(file, R_OK) == 0 else {
            throw CommandFailure(.usage, "cannot read \(file): \(String(cString: strerror(errno)))")
        }
        return file
    }

    /// The token to present: what the environment says, else what stands in the file that was named, else the one of this
    /// machine's own server, which nobody else is to see.
    func token(for url: String) throws -> String? {
        if let token = environment("SPINDLE_TOKEN") { return token }
        do {
            if let tokenFile {
                guard let token = try TokenFile(tokenFile).forClients() else {
                    throw CommandFailure(.usage, "there is no token in \(tokenFile)")
                }
                return token
            }
            guard let state = StateDirectory.path, isOnThisMachine(url) else { return nil }
            return try TokenFile("\(state)/token").forClients()
        } catch let failure as Tokens.Failure {
            throw CommandFailure(.usage, failure.description)
        }
    }

    private func isOnThisMachine(_ url: String) -> Bool {
        if url.begins(with: "unix:") { return true }
        guard let host = HTTPClient.host(of: url) else { return false }
        return AddressRules.isLoopback(host)
    }
}

/// What a server answered.
struct Answer {
    let status: Int
    let body: [UInt8]
    /// Where it came from.
    let source: String

    /// The body as JSON.
    ///
    /// - Throws: When it is none: then what answers is no Spindle, and nothing that it says may pass for success.
    func json() throws -> JSONValue {
        do throws(JSONError) {
            return try JSONReader.value(of: body, depth: JSONReader.envelopedDepth)
        } catch {
            throw notOurs("is no JSON: \(error)")
        }
    }

    /// The body as it came, without the line feed at its end; checked to be JSON.
    func text() throws -> String {
        _ = try json()
        return String(decoding: body.last == 0x0A ? body.dropLast() : body[...], as: UTF8.self)
    }

    func notOurs(_ why: String) -> CommandFailure {
        CommandFailure(.noServer, "what \(source) answered \(why); is that a Spindle?")
    }

    /// The answer, or the failure that a problem stands for.
    func checked() throws -> Answer {
        guard !(200..<300).contains(status) else { return self }
        let problem = try? JSONReader.value(of: body)  // another server's error page is shown as it is
        let detail = visible(problem?["detail"]?.string ?? String(decoding: body.prefix(500), as: UTF8.self))
        let code: ExitStatus =
            switch status {
            case 401, 403, 429, 503, 507: .refused
            case 400..<500: .usage
            default: .noServer
            }
        throw CommandFailure(code, "the server answered \(status): \(detail)")
    }
}

/// A connection that broke after it was there: the server may have got the request.
struct LostConnection: Error, CustomStringConvertible {
    let description: String
}

/// One server, as the commands talk to it. Lives on its loop.
final class Client {
    let loop: EventLoop
    private let http: HTTPClient
    private let base: String
    private let socketPath: String?
    private let token: String?
    private let trust: String?
    /// Whether a server was there: from then on it may come back.
    private(set) var hasAnswered = false

    convenience init(_ options: ClientOptions, on loop: EventLoop) throws {
        let url = options.url ?? environment("SPINDLE_URL") ?? "http://127.0.0.1:8080"
        try self.init(url: url, token: try options.token(for: url), trust: try options.trust(), on: loop)
    }

    init(url: String, token: String?, trust: String? = nil, on loop: EventLoop) throws {
        self.loop = loop
        self.token = token
        self.trust = trust
        http = try HTTPClient(on: loop)
        if let path = url.rest(after: "unix:") {
            socketPath = String(path)
            base = "http://localhost"
        } else {
            guard url.begins(with: "http://") || url.begins(with: "https://") else {
                throw CommandFailure(.usage, "\"\(url)\" is no address like http://127.0.0.1:8080 or unix:/path")
            }
            socketPath = nil
            base = String(url.rest(before: "/") ?? url[...])
        }
    }

    var name: String { socketPath.map { "unix:\($0)" } ?? base }

    /// - Parameters:
    ///   - limit: How long it may take; nil: as long as it takes.
    ///   - onLine: Called with each event of a streamed body; the body is then not collected.
    /// - Throws: ``LostConnection``, or a ``CommandFailure`` when there is no server.
    func send(
        _ method: String, _ path: String, body: [UInt8]? = nil, headers: [String] = [], limit: Duration? = nil,
        onLine: ((JSONValue) -> Void)? = nil
    ) async throws -> Answer {
        var request = HTTPRequest(base + path)
        request.method = method
        request.body = body
        request.socketPath = socketPath
        request.timeout = limit
        request.trust = trust
        request.headers = headers + (body == nil ? [] : ["Content-Type: application/json", "Expect:"])
        if let token { request.headers.append("Authorization: Bearer \(token)") }
        var lines = EventLines(onLine)
        do {
            let result = try await http.perform(request) { [self] bytes, status in
                hasAnswered = true
                lines.take(bytes, status)
            }
            hasAnswered = true
            let answer = Answer(status: result.status, body: lines.rest, source: name)
            if let why = lines.broken ?? lines.nonsense(result.status) { throw answer.notOurs(why) }
            return answer
        } catch let failure as HTTPFailure {
            switch failure.code {
            case .lost:
                hasAnswered = true
                throw LostConnection(description: failure.description)
            case .cannotConnect where hasAnswered: throw LostConnection(description: failure.description)
            case .cannotConnect:
                throw CommandFailure(.noServer, "no server answers at \(name); start one: spindle serve")
            case .untrusted:
                throw CommandFailure(.noServer, "\(failure.description); see --cacert and SSL_CERT_FILE")
            case .refusedAddress, .timedOut, .tooLarge, .badURL, .cancelled, .other:
                throw CommandFailure(.noServer, failure.description)
            }
        }
    }
}

/// The events of a streamed body, line by line; any other body as it is.
private struct EventLines {
    private let onLine: ((JSONValue) -> Void)?
    /// What is not handed on: the body of an answer that is no stream.
    private(set) var rest: [UInt8] = []
    /// What is wrong with the stream.
    private(set) var broken: String?
    private var hasEvents = false

    init(_ onLine: ((JSONValue) -> Void)?) { self.onLine = onLine }

    mutating func take(_ bytes: [UInt8], _ status: Int) {
        // What was left before has no line feed: a long line is not to be looked through again with each piece of it.
        var unseen = rest.count
        rest += bytes
        guard let onLine, status == 200, broken == nil else { return }
        var start = 0
        while let end = rest[unseen...].firstIndex(of: 0x0A) {
            let line = Array(rest[start..<end])
            start = end + 1
            unseen = start
            // A server that has nothing to say sends an empty line now and then.
            if line.isEmpty { continue }
            guard let event = try? JSONReader.value(of: line, depth: JSONReader.envelopedDepth),
                event["type"]?.string != nil
            else {  // said below
                broken = "is no event: \(visible(String(decoding: line.prefix(100), as: UTF8.self)))"
                break
            }
            hasEvents = true
            onLine(event)
        }
        rest.removeSubrange(..<start)
    }

    /// What is wrong with a stream that is complete, and of which no line ever was.
    func nonsense(_ status: Int) -> String? {
        guard onLine != nil, status == 200, !hasEvents, !rest.isEmpty else { return nil }
        return "is no event: \(visible(String(decoding: rest.prefix(100), as: UTF8.self)))"
    }
}

/// JSON from an argument, `@file`, or `-` for stdin; checked, and as it came.
func readInput(_ argument: String?) throws -> [UInt8] {
    guard let argument else { return Array("{}".utf8) }
    let bytes: [UInt8]
    if argument == "-" {
        guard let read = readAll(STDIN_FILENO) else {
            throw CommandFailure(.usage, "cannot read standard input: \(String(cString: strerror(errno)))")
        }
        bytes = read
    } else if let path = argument.rest(after: "@").map(String.init) {
        guard let read = wholeFile(path) else {
            throw CommandFailure(.usage, "cannot read \(path): \(String(cString: strerror(errno)))")
        }
        bytes = read
    } else {
        bytes = Array(argument.utf8)
    }
    do throws(JSONError) {
        _ = try JSONReader.value(of: bytes)
        return bytes
    } catch {
        throw CommandFailure(.usage, "the input is no JSON: \(error)")
    }
}
