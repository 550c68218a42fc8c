import EventLoop
import HTTP
import JSON

/// The API as OpenAPI 3.1, made from the routes.
struct OpenAPI {
    let routes: [Route]
    let version: String
    /// Whether the server asks for one where a route has a scope.
    let asksForToken: Bool

    var document: [UInt8] {
        var paths: [(path: String, operations: [JSONValue.Member])] = []
        for route in routes where route.exists == nil {
            let member = JSONValue.Member(route.method.name.inLowerCase, operation(route))
            if let index = paths.firstIndex(where: { $0.path == route.pattern }) {
                paths[index].operations.append(member)
            } else {
                paths.append((route.pattern, [member]))
            }
        }
        var components: [JSONValue.Member] = [
            .init("schemas", .object(Schemas.named.map { JSONValue.Member($0.name, $0.schema) }))
        ]
        if asksForToken {
            components.append(.init("securitySchemes", ["bearer": ["type": "http", "scheme": "bearer"]]))
        }
        let document: JSONValue = [
            "openapi": "3.1.0",
            "info": ["title": "Spindle", "version": .string(version), "description": "Runs work behind HTTP."],
            "paths": .object(paths.map { JSONValue.Member($0.path, .object($0.operations)) }),
            "components": .object(components),
        ]
        return document.bytes + [0x0A]
    }

    private func operation(_ route: Route) -> JSONValue {
        var members: [JSONValue.Member] = [
            .init("summary", .string(route.summary)), .init("operationId", .string(route.operation)),
        ]
        if route.takesLabels {
            let text = "The query may also have `label.NAME=VALUE`, once for each label."
            members.append(.init("description", .string(text)))
        }
        let parameters = parameters(of: route)
        if !parameters.isEmpty { members.append(.init("parameters", .array(parameters))) }
        if let body = body(of: route) { members.append(.init("requestBody", body)) }
        members.append(.init("responses", responses(of: route)))
        if asksForToken, route.scope != nil { members.append(.init("security", [["bearer": []]])) }
        return .object(members)
    }

    private func parameters(of route: Route) -> [JSONValue] {
        var parameters: [JSONValue] = route.query.map { parameter in
            [
                "name": .string(parameter.name), "in": "query", "required": false,
                "description": .string(parameter.meaning), "schema": parameter.schema,
            ]
        }
        if let name = route.argument {
            parameters.append([
                "name": .string(name), "in": "path", "required": true,
                "schema": ["type": "string", "pattern": "^[^\\u0000]+$"],
            ])
        }
        return parameters
    }

    private func body(of route: Route) -> JSONValue? {
        let required = JSONValue.bool(route.body.isRequired)
        switch route.body {
        case .none: return nil
        case .optional(let schema), .required(let schema):
            return ["required": required, "content": ["application/json": ["schema": schema]]]
        case .bytes: return ["required": required, "content": ["application/octet-stream": ["schema": [:]]]]
        }
    }

    private func responses(of route: Route) -> JSONValue {
        var answers = route.answers
        for common in commonProblems(of: route) where !answers.contains(where: { $0.status == common.status }) {
            answers.append(common)
        }
        let members = answers.sorted { $0.status < $1.status }.map { answer in
            JSONValue.Member(String(answer.status), response(answer))
        }
        return .object(members + [.init("default", response(.problem(0, "What went wrong")))])
    }

    private func response(_ answer: Answer) -> JSONValue {
        var members: [JSONValue.Member] = [.init("description", .string(answer.meaning))]
        if !answer.contents.isEmpty {
            let contents = answer.contents.map { JSONValue.Member($0.mediaType, ["schema": $0.schema]) }
            members.append(.init("content", .object(contents)))
        }
        return .object(members)
    }

    /// What a route answers because of what it takes.
    private func commonProblems(of route: Route) -> [Answer] {
        var problems: [Answer] = [
            .problem(400, "The request is malformed"), .problem(412, "What If-Match asks for is not so"),
            .problem(421, "This server is not called so"),
        ]
        if asksForToken, route.scope != nil { problems.append(.problem(401, "There is no token, or a wrong one")) }
        problems.append(.problem(403, "A page elsewhere asks, or the token may not do that"))
        if route.argument != nil { problems.append(.problem(404, "There is no such thing")) }
        var takesValues = !route.query.isEmpty
        // A body where none is taken is looked at, too: it may say nothing.
        let isLookedAt =
            switch route.body {
            case .none: route.isVersioned
            case .bytes, .optional, .required: true
            }
        if isLookedAt {
            takesValues = true
            problems += [
                .problem(413, "The body is too long"), .problem(415, "The body is of another type, or coded"),
            ]
        }
        if route.body.isRequired { problems.append(.problem(411, "There is no body")) }
        if takesValues { problems.append(.problem(422, "What was sent does not fit; errors say where")) }
        if route.needsJobs {
            problems.append(
                .problem(503, "The server has just started, and the jobs are not there yet, or it is stopping"))
        }
        return problems
    }
}
