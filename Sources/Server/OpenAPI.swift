import HTTP
import JSON

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
            ["name": .string(name), "in": "query", "required": false, "schema": ["type": "string"]]
        }
        if let open = route.pattern.firstIndex(of: "{"), let close = route.pattern.firstIndex(of: "}") {
            let name = String(route.pattern[route.pattern.index(after: open)..<close])
            parameters.append(["name": .string(name), "in": "path", "required": true, "schema": ["type": "string"]])
        }
        if !parameters.isEmpty { members.append(.init("parameters", .array(parameters))) }
        if route.scope == nil { members.append(.init("security", [])) }
        if let body = body(route) {
            members.append(.init("requestBody", ["content": ["application/json": ["schema": body]]]))
        }
        return .object(members)
    }

    private static func operationID(_ route: Route) -> String {
        let words = route.pattern.split { $0 == "/" || $0 == "{" || $0 == "}" || $0 == "." }.map(String.init)
        return ([route.method.name.lowercased()] + words).joined(separator: "_")
    }

    private static func body(_ route: Route) -> JSONValue? {
        switch route.pattern {
        case "/v1/jobs" where route.method == .post: ["$ref": "#/components/schemas/Submission"]
        case "/v1/run/{task}": true
        case "/v1/jobs/{id}/cancel": ["type": "object", "properties": ["grace": ["type": "string"]]]
        default: nil
        }
    }

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
                "pool": ["enum": ["loop", "thread", "process", "gpu", "auto"]], "queue": ["type": "string"],
                "priority": ["type": "integer", "minimum": -100, "maximum": 100],
                "timeout": ["type": "string", "examples": ["30s"]],
                "max_attempts": ["type": "integer", "minimum": 1, "maximum": 1000],
                "delay": ["type": "string", "examples": ["10s"]], "run_at": ["type": "string", "format": "date-time"],
                "key": ["type": "string"],
                "labels": ["type": "object", "additionalProperties": ["type": "string"]],
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
