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
        if url.hasPrefix("unix:") { return true }
        guard let host = HTTPClient.host(of: url) else { return false }
        return AddressRules.isLoopback(host)
    }
}

/// What a server answered.
struct Answer {
    let status: Int
    let body: [UInt8]

    /// The body as JSON; null when it is none.
    // What is no JSON has nothing to show.
    var json: JSONValue { (try? JSONReader.value(of: body, depth: JSONReader.envelopedDepth)) ?? .null }

    /// The answer, or the failure that a problem stands for.
    func checked() throws -> Answer {
        guard status >= 400 else { return self }
        let detail = json["detail"]?.string ?? String(decoding: body, as: UTF8.self)
        let isRefusal = [401, 403, 429, 503].contains(status)
        throw CommandFailure(isRefusal ? .refused : .usage, "the server answered \(status): \(detail)")
    }
}

/// One server, as the commands talk to it. Lives on its loop.
final class Client {
    let loop: EventLoop
    private let http: HTTPClient
    private let base: String
    private let socketPath: String?
    private let token: String?

    convenience init(_ options: ClientOptions, on loop: EventLoop) throws {
        let url = options.url ?? environment("SPINDLE_URL") ?? "http://127.0.0.1:8080"
        try self.init(url: url, token: try options.token(for: url), on: loop)
    }

    init(url: String, token: String?, on loop: EventLoop) throws {
        self.loop = loop
        self.token = token
        http = try HTTPClient(on: loop)
        if url.hasPrefix("unix:") {
            socketPath = String(url.dropFirst(5))
            base = "http://localhost"
        } else {
            guard url.hasPrefix("http://") || url.hasPrefix("https://") else {
                throw CommandFailure(.usage, "\"\(url)\" is no address like http://127.0.0.1:8080 or unix:/path")
            }
            socketPath = nil
            base = url.hasSuffix("/") ? String(url.dropLast()) : url
        }
    }

    /// - Parameter onLine: Called with each line of a streamed body; the body is then not collected.
    func send(
        _ method: String, _ path: String, body: [UInt8]? = nil, headers: [String] = [],
        onLine: ((JSONValue) -> Void)? = nil
    ) async throws -> Answer {
        var request = HTTPRequest(base + path)
        request.method = method
        request.body = body
        request.socketPath = socketPath
        request.headers = headers + (body == nil ? [] : ["Content-Type: application/json", "Expect:"])
        if let token { request.headers.append("Authorization: Bearer \(token)") }
        var collected: [UInt8] = []
        do {
            let result = try await http.perform(request) { bytes in
                collected += bytes
                guard let onLine else { return }
                while let end = collected.firstIndex(of: 0x0A) {
                    // A server that has nothing to say sends an empty line now and then.
                    if end == 0 {
                        collected.removeFirst()
                        continue
                    }
                    // A line that is no JSON belongs to an answer that is a problem, and is shown as such.
                    if let value = try? JSONReader.value(
                        of: Array(collected[..<end]), depth: JSONReader.envelopedDepth), value["type"] != nil,
                        value["seq"] != nil
                    {
                        onLine(value)
                        collected.removeSubrange(...end)
                    } else {
                        return
                    }
                }
            }
            return Answer(status: result.status, body: collected)
        } catch let failure as HTTPFailure {
            guard failure.code == .cannotConnect else { throw CommandFailure(.noServer, failure.description) }
            throw CommandFailure(
                .noServer, "no server answers at \(socketPath.map { "unix:\($0)" } ?? base); start one: spindle serve")
        }
    }
}

/// Runs an async command on a loop of its own, which is this thread, and ends the process with its status.
///
/// - Parameter interrupted: Called on the first Ctrl-C, before the process ends with 130.
func runOnLoop(
    _ options: ClientOptions, interrupted: @escaping @Sendable (Client) async -> Void = { _ in },
    _ body: @escaping @Sendable (Client) async throws -> ExitStatus
) throws -> Never {
    let loop = try EventLoop()
    loop.adopt()
    let client = LoopBound(try Client(options, on: loop), on: loop)
    let interrupt = try SignalWatch(SIGINT, on: loop) {
        // Ends with the process: nothing outlives it.
        Task(executorPreference: loop) {
            await interrupted(client.value)
            Glibc.exit(ExitStatus.interrupted.rawValue)
        }
    }
    // Ends with the process, as above.
    Task(executorPreference: loop) {
        do {
            let status = try await body(client.value)
            fflush(nil)
            Glibc.exit(status.rawValue)
        } catch let failure as CommandFailure {
            fflush(nil)
            say("spindle: \(failure.message)")
            Glibc.exit(failure.code.rawValue)
        } catch {
            say("spindle: \(error)")
            Glibc.exit(ExitStatus.jobFailed.rawValue)
        }
    }
    loop.run()
    _ = consume interrupt
    Glibc.exit(0)
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
    } else if argument.hasPrefix("@") {
        let path = String(argument.dropFirst())
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
