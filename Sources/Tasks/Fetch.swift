import EventLoop
import HTTPClient
import JSON
import Jobs
import Pools

/// `{"urls":["https://…"],"concurrency":16}` → `{"responses":[{"url":…,"status":200,"bytes":…,"seconds":…}]}`, in the
/// order of the URLs. One that cannot be fetched has `status` null and `error`.
func fetchTask(_ rules: AddressRules, on loop: EventLoop?) -> TaskDefinition {
    let client = loop.map { loop in LazyClient(loop) }
    return TaskDefinition(
        name: "fetch", kind: .io, description: "Fetches web addresses, many at once",
        input: schema([
            "type": "object", "required": ["urls"], "additionalProperties": false,
            "properties": [
                "urls": [
                    "type": "array", "minItems": 1, "maxItems": 1000, "items": ["type": "string", "maxLength": 4096],
                ],
                "concurrency": ["type": "integer", "minimum": 1, "maximum": 256, "default": 16],
            ],
        ]),
        output: schema(["type": "object", "properties": ["responses": ["type": "array"]]]),
        pools: [.loop], timeout: .seconds(300),
        body: .function(
            blocking: nil,
            async: { input, context in
                let urls = (input["urls"]?.elements ?? []).compactMap(\.string)
                let width = integer("concurrency", of: input, or: 16)
                guard let client else { throw TaskFailure(type: "Unavailable", message: "fetch needs a loop") }
                let responses = try await fetchAll(urls, width: width, rules, client, context)
                return object(["responses": .array(responses)])
            }),
        check: { input in
            (input["urls"]?.elements ?? []).enumerated().compactMap { index, url in
                let text = url.string?.inLowerCase ?? ""
                guard !text.begins(with: "http://"), !text.begins(with: "https://") else { return nil }
                return SchemaViolation(pointer: "/urls/\(index)", detail: "must begin with http:// or https://")
            }
        })
}

private func fetchAll(
    _ urls: [String], width: Int, _ rules: AddressRules, _ client: LazyClient, _ context: any LoopTaskContext
) async throws -> [JSONValue] {
    var responses = [JSONValue](repeating: .null, count: urls.count)
    try await withThrowingTaskGroup(of: (Int, JSONValue).self) { group in
        var next = 0
        var done = 0
        func addOne() {
            guard next < urls.count else { return }
            let index = next
            next += 1
            group.addTask { (index, try await client.fetch(urls[index], rules)) }
        }
        for _ in 0..<min(width, urls.count) { addOne() }
        while let (index, response) = try await group.next() {
            responses[index] = response
            done += 1
            context.report(Progress(Double(done), of: Double(urls.count), unit: "urls", message: urls[index]))
            addOne()
        }
    }
    return responses
}

/// The loop's HTTP client, made when it is first needed.
// Guard: `client` is touched on the loop only: tasks of the loop pool run there.
private final class LazyClient: @unchecked Sendable {
    private let loop: EventLoop
    private var client: HTTPClient?

    init(_ loop: EventLoop) { self.loop = loop }

    func fetch(_ url: String, _ rules: AddressRules) async throws -> JSONValue {
        precondition(loop.isOnLoop, "fetch runs on the loop")
        let client = try self.client ?? HTTPClient(on: loop)
        self.client = client
        var request = HTTPRequest(url)
        request.rules = rules
        request.redirects = 3
        request.timeout = .seconds(60)
        request.maximumBytes = 256 * 1024 * 1024
        do {
            let result = try await client.perform(request)
            return [
                "url": .string(url), "status": .integer(result.status), "bytes": .integer(result.bytes),
                "seconds": .number((result.seconds * 1e6).rounded() / 1e6),
            ]
        } catch let failure as HTTPFailure where failure.code != .cancelled {
            return ["url": .string(url), "status": .null, "error": .string(failure.description)]
        }
    }
}
