import JSON
import Jobs
import Pools

/// JSON Schemas of what the API takes and answers.
enum Schemas {
    static func reference(_ name: String) -> JSONValue { ["$ref": .string("#/components/schemas/\(name)")] }

    static let text: JSONValue = ["type": "string"]
    static let flag: JSONValue = ["type": "boolean"]
    static let count: JSONValue = ["type": "integer", "minimum": 0]
    static let number: JSONValue = ["type": "number"]
    static let time: JSONValue = ["type": "string", "format": "date-time"]
    static let jobID: JSONValue = ["type": "string", "pattern": "^[0-9a-f][0-9a-hjkmnp-tv-z]{12}$"]
    /// Any JSON.
    static let anything: JSONValue = [:]

    static func nullable(_ type: String) -> JSONValue { ["type": .array([.string(type), "null"])] }
    static func nullable(schema: JSONValue) -> JSONValue { ["anyOf": .array([schema, ["type": "null"]])] }
    static func list(_ item: JSONValue) -> JSONValue { ["type": "array", "items": item] }
    static func names<Names: Sequence>(_ names: Names) -> JSONValue where Names.Element == String {
        ["type": "string", "enum": .array(names.map { .string($0) })]
    }

    /// An object with these members, all of them always there but for the optional ones. Others may come in time.
    static func object(
        _ members: KeyValuePairs<String, JSONValue>, optional: KeyValuePairs<String, JSONValue> = [:]
    ) -> JSONValue {
        object(Array(members), Array(optional))
    }

    static func object(
        _ members: [(key: String, value: JSONValue)], _ optional: [(key: String, value: JSONValue)]
    ) -> JSONValue {
        let all = members + optional
        var schema: [JSONValue.Member] = [
            .init("type", "object"), .init("properties", .object(all.map { .init($0.key, $0.value) })),
        ]
        if !members.isEmpty { schema.append(.init("required", .array(members.map { .string($0.key) }))) }
        return .object(schema)
    }

    /// What a client sends: whatever else is there is refused.
    static func request(
        _ members: KeyValuePairs<String, JSONValue> = [:], optional: KeyValuePairs<String, JSONValue> = [:]
    ) -> JSONValue {
        .object(object(members, optional: optional).members + [.init("additionalProperties", false)])
    }

    // MARK: Values

    /// A query cannot say a zero.
    static let noZero: JSONValue = "^[^\\u0000]*$"
    /// A number and a unit.
    static let duration: JSONValue = [
        "type": "string", "examples": ["30s"],
        "pattern": "^((0\\.[0-9]{0,2}[1-9]|[1-9][0-9]{0,5}(\\.[0-9]{1,3})?)(us|ms|s|m|h)|[1-9][0-9]{0,3}d)$",
    ]
    static let runAt: JSONValue = [
        "type": "string", "format": "date-time", "pattern": "^(19[7-9][0-9]|20[0-9]{2}|21[0-9]{2})-",
    ]
    static let poolName = reference("PoolName")
    static let wantedPool = reference("WantedPool")
    static let priority: JSONValue = ["type": "integer", "minimum": -100, "maximum": 100]
    static let maxAttempts: JSONValue = ["type": "integer", "minimum": 1, "maximum": 1000]

    // MARK: By name

    /// All that have names, in the order of the description.
    static let named: [(name: String, schema: JSONValue)] =
        requests + jobs + events + inventory + monitoring + [
            ("Health", object(["status": names(["ok"])])),
            (
                "Problem",
                object(
                    ["type": text, "title": text, "status": ["type": "integer"], "detail": text],
                    optional: [
                        "errors": list(object(["pointer": text, "detail": text])), "job": jobID,
                        "error": reference("JobError"),
                    ])
            ),
        ]

    private static let requests: [(name: String, schema: JSONValue)] = [
        (
            "Submission",
            request(
                ["task": text],
                optional: [
                    "input": anything, "pool": wantedPool,
                    "queue": ["type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"], "priority": priority,
                    "timeout": duration, "max_attempts": maxAttempts, "delay": duration, "run_at": runAt,
                    "key": ["type": "string", "minLength": 1, "maxLength": 200, "pattern": noZero],
                    "labels": [
                        "type": "object", "maxProperties": 32,
                        "propertyNames": ["minLength": 1, "maxLength": 200, "pattern": noZero],
                        "additionalProperties": ["type": "string", "maxLength": 200, "pattern": noZero],
                    ],
                ])
        ),
        ("CancelRequest", request(optional: ["grace": duration])),
        ("SignalRequest", request(["signal": names(API.signalNames)])),
        (
            "QueueChange",
            request(optional: [
                "paused": flag, "limit": ["type": ["integer", "null"], "minimum": 0, "maximum": 10_000_000],
            ])
        ),
        ("PoolName", names(PoolName.allCases.map(\.rawValue))),
        ("WantedPool", names(PoolName.allCases.map(\.rawValue) + ["auto"])),
        ("PoolChange", request(["capacity": ["type": ["integer", "null"], "minimum": 1, "maximum": 100_000]])),
    ]

    // MARK: What there is

    private static let inventory: [(name: String, schema: JSONValue)] = [
        ("TaskList", object(["tasks": list(reference("Task"))])),
        (
            "Task",
            object([
                "name": text, "kind": names(["cpu", "io"]), "description": text, "pools": list(poolName),
                "input": anything, "output": anything,
                "defaults": object([
                    "pool": poolName, "queue": text, "priority": priority, "timeout": nullable("string"),
                    "max_attempts": maxAttempts,
                ]),
            ])
        ),
        ("QueueList", object(["queues": list(reference("Queue"))])),
        (
            "Queue",
            object([
                "name": text, "depth": count, "oldest_seconds": nullable("number"), "drain_rate": number,
                "paused": flag, "limit": count,
            ])
        ),
        ("PoolList", object(["pools": list(reference("Pool"))])),
        (
            "Pool",
            object([
                "name": poolName, "capacity": count, "busy": count, "waiting": count,
                "workers": list(reference("Worker")), "available": flag, "reason": nullable("string"),
            ])
        ),
        (
            "Worker",
            object([
                "id": text, "pid": nullable("integer"),
                "state": names(WorkerStatus.State.allCases.map(\.rawValue)), "job": nullable("string"),
            ])
        ),
    ]

    private static let monitoring: [(name: String, schema: JSONValue)] = [
        ("ErrorList", object(["errors": list(reference("ErrorGroup")), "forgotten": count])),
        (
            "ErrorGroup",
            object([
                "fingerprint": text, "task": text, "type": text, "message": text, "place": text, "count": count,
                "first_seen": time, "last_seen": time, "jobs": list(jobID),
            ])
        ),
        (
            "Timeline",
            object([
                "now": number, "from": number, "to": number, "joined": flag,
                "lanes": list(object(["pool": poolName, "number": count])), "task_names": list(text),
                "spans": list(list(anything)), "running": list(list(anything)),
            ])
        ),
        ("Trace", object(["displayTimeUnit": text, "traceEvents": list(["type": "object"])])),
    ]
}
