import HTTP
import JSON
import Jobs

/// The API as OpenAPI 3.1, made from the table of routes.
enum OpenAPI {
    static func document(_ routes: [Route], version: String) -> [UInt8] {
        var paths: [(path: String, operations: [JSONValue.Member])] = []
        for route in routes where route.pattern != "/{file}" {
            let member = JSONValue.Member(route.method.name.lowercased(), operation(route))
            if let index = paths.firstIndex(where: { $0.path == route.pattern }) {
                paths[index].operations.append(member)
            } else {
                paths.append((route.pattern, [member]))
            }
        }
        let document: JSONValue = [
            "openapi": "3.1.0",
            "info": ["title": "Spindle", "version": .string(version), "description": "Runs work behind HTTP."],
            "paths": .object(paths.map { JSONValue.Member($0.path, .object($0.operations)) }),
            "components": ["schemas": schemas, "securitySchemes": ["bearer": ["type": "http", "scheme": "bearer"]]],
            "security": [["bearer": []]],
        ]
        return document.bytes + [0x0A]
    }

    private static func operation(_ route: Route) -> JSONValue {
        var members: [JSONValue.Member] = [
            .init("summary", .string(route.summary)),
            .init("operationId", .string(operationID(route))),
            .init("responses", responses(route)),
        ]
        var parameters: [JSONValue] = route.parameters.map { name in
            ["name": .string(name), "in": "query", "required": false, "schema": parameter(name, of: route)]
        }
        if let open = route.pattern.firstIndex(of: "{"), let close = route.pattern.firstIndex(of: "}") {
            let name = String(route.pattern[route.pattern.index(after: open)..<close])
            parameters.append([
                "name": .string(name), "in": "path", "required": true,
                "schema": ["type": "string", "pattern": "^[^\\u0000]+$"],
            ])
        }
        if !parameters.isEmpty { members.append(.init("parameters", .array(parameters))) }
        if route.scope == nil { members.append(.init("security", [])) }
        switch route.body {
        case .none: break
        case .optional, .required:
            members.append(
                .init(
                    "requestBody",
                    [
                        "required": .bool(route.body == .required),
                        "content": ["application/json": ["schema": body(route)]],
                    ]))
        }
        return .object(members)
    }

    private static func operationID(_ route: Route) -> String {
        let words = route.pattern.split { $0 == "/" || $0 == "{" || $0 == "}" || $0 == "." }.map(String.init)
        return ([route.method.name.lowercased()] + words).joined(separator: "_")
    }

    private static func body(_ route: Route) -> JSONValue {
        switch route.pattern {
        case "/v1/jobs": ["$ref": "#/components/schemas/Submission"]
        case "/v1/jobs/{id}/cancel", "/v1/jobs/{id}":
            ["type": "object", "properties": ["grace": duration], "additionalProperties": false]
        case "/v1/jobs/{id}/signal":
            [
                "type": "object", "properties": ["signal": ["enum": .array(API.signalNames.map { .string($0) })]],
                "required": ["signal"], "additionalProperties": false,
            ]
        case "/v1/queues/{queue}":
            [
                "type": "object", "additionalProperties": false,
                "properties": [
                    "paused": ["type": "boolean"],
                    "limit": ["type": ["integer", "null"], "minimum": 0, "maximum": 10_000_000],
                ],
            ]
        case "/v1/pools/{pool}":
            [
                "type": "object", "required": ["capacity"], "additionalProperties": false,
                "properties": ["capacity": ["type": ["integer", "null"], "minimum": 1, "maximum": 100_000]],
            ]
        default: true
        }
    }

    /// What a query parameter looks like.
    private static func parameter(_ name: String, of route: Route) -> JSONValue {
        switch name {
        case "state":
            let states = JobState.allCases.map(\.rawValue).joined(separator: "|")
            return ["type": "string", "pattern": .string("^((\(states))(,(\(states)))*)?$")]
        case "pool" where route.method == .post: return ["enum": ["loop", "thread", "process", "gpu", "auto"]]
        case "pool": return ["enum": ["loop", "thread", "process", "gpu"]]
        case "limit":
            let most = route.pattern == "/v1/timeline" ? 20_000 : route.pattern == "/v1/jobs" ? 500 : 1000
            return ["type": "integer", "minimum": 1, "maximum": .integer(most)]
        case "after": return ["type": "integer", "minimum": 0, "maximum": .integer(1 << 53)]
        case "from", "to":
            return ["type": "integer", "minimum": 0, "maximum": .integer(Int(Int64.max / 2_000_000))]
        case "cursor": return ["type": "string", "pattern": "^[0-9a-g][0-9a-hjkmnp-tv-z]{12}$"]
        case "priority": return ["type": "integer", "minimum": -100, "maximum": 100]
        case "max_attempts": return ["type": "integer", "minimum": 1, "maximum": 1000]
        case "timeout", "delay", "every": return duration
        case "run_at": return time
        case "key": return ["type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[^\\u0000]*$"]
        case "close": return ["enum": ["true", "false"]]
        case "format": return ["enum": ["json", "trace"]]
        default: return ["type": "string", "pattern": "^[^\\u0000]*$"]
        }
    }

    /// A number and a unit.
    private static let duration: JSONValue = [
        "type": "string", "examples": ["30s"],
        "pattern": "^((0\\.[0-9]{0,2}[1-9]|[1-9][0-9]{0,5}(\\.[0-9]{1,3})?)(us|ms|s|m|h)|[1-9][0-9]{0,3}d)$",
    ]

    private static let time: JSONValue = [
        "type": "string", "format": "date-time", "pattern": "^(19[7-9][0-9]|20[0-9]{2}|21[0-9]{2})-",
    ]

    private static let queue: JSONValue = ["type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"]

    private static func responses(_ route: Route) -> JSONValue {
        let job: JSONValue = ["application/json": ["schema": ["$ref": "#/components/schemas/Job"]]]
        let problem: JSONValue = [
            "description": "What went wrong",
            "content": ["application/problem+json": ["schema": ["$ref": "#/components/schemas/Problem"]]],
        ]
        var members: [JSONValue.Member] = []
        switch route.pattern {
        case "/v1/jobs" where route.method == .post:
            members = [
                .init("200", ["description": "The job has ended, or streams", "content": job]),
                .init("202", ["description": "Accepted", "content": job]),
            ]
        case "/v1/jobs/{id}" where route.method == .get:
            members = [
                .init("200", ["description": "The job", "content": job]), .init("304", ["description": "Unchanged"]),
            ]
        case "/v1/jobs/{id}", "/v1/jobs/{id}/cancel":
            members = [
                .init("200", ["description": "Cancelled", "content": job]),
                .init("202", ["description": "Cancelling", "content": job]),
            ]
        case "/v1/jobs/{id}/events":
            members = [
                .init("200", ["description": "Events"]), .init("204", ["description": "Nothing more will come"]),
            ]
        case "/v1/run/{task}":
            members = [
                .init("200", ["description": "The result alone"]),
                .init("202", ["description": "Accepted", "content": job]),
            ]
        case "/v1/session": members = [.init("204", ["description": "Signed out"])]
        case "/": members = [.init("200", ["description": "The page"]), .init("303", ["description": "Signed in"])]
        default: members = [.init("200", ["description": "Success"])]
        }
        members.append(.init("default", problem))
        return .object(members)
    }

    private static let schemas: JSONValue = [
        "Submission": [
            "type": "object", "required": ["task"], "additionalProperties": false,
            "properties": [
                "task": ["type": "string"], "input": true,
                "pool": ["enum": ["loop", "thread", "process", "gpu", "auto"]], "queue": queue,
                "priority": ["type": "integer", "minimum": -100, "maximum": 100],
                "timeout": duration,
                "max_attempts": ["type": "integer", "minimum": 1, "maximum": 1000],
                "delay": duration, "run_at": time,
                "key": ["type": "string", "minLength": 1, "maxLength": 200],
                "labels": [
                    "type": "object", "maxProperties": 32, "propertyNames": ["minLength": 1, "maxLength": 200],
                    "additionalProperties": ["type": "string", "maxLength": 200],
                ],
            ],
        ],
        "Job": [
            "type": "object", "required": ["id", "task", "state"],
            "properties": [
                "id": ["type": "string"], "task": ["type": "string"],
                "state": [
                    "enum": [
                        "scheduled", "blocked", "queued", "running", "suspended", "cancelling", "succeeded", "failed",
                        "cancelled",
                    ]
                ],
                "pool": ["type": "string"], "queue": ["type": "string"], "priority": ["type": "integer"],
                "attempt": ["type": "integer"], "max_attempts": ["type": "integer"],
                "progress": ["type": ["object", "null"]], "position": ["type": ["integer", "null"]], "input": true,
                "result": true, "error": ["type": ["object", "null"]], "labels": ["type": "object"],
                "created_at": ["type": "string", "format": "date-time"], "started_at": ["type": ["string", "null"]],
                "finished_at": ["type": ["string", "null"]], "usage": ["type": ["object", "null"]],
                "links": ["type": "object"],
            ],
        ],
        "Problem": [
            "type": "object", "required": ["type", "title", "status", "detail"],
            "properties": [
                "type": ["type": "string"], "title": ["type": "string"], "status": ["type": "integer"],
                "detail": ["type": "string"], "errors": ["type": "array"],
            ],
        ],
    ]
}
