import JSON
import Jobs

/// A job, its parts and its events.
extension Schemas {
    static let jobs: [(name: String, schema: JSONValue)] = [
        ("JobList", object(["jobs": list(reference("Job")), "next": nullable("string")])),
        ("Job", job), ("JobState", names(JobState.allCases.map(\.rawValue))),
        ("StopMethod", names(StopMethod.allCases.map(\.rawValue))),
        ("Progress", object(progress)),
        (
            "JobError",
            object([
                "type": text, "message": text, "traceback": list(text), "exit_code": nullable("integer"),
                "signal": nullable("integer"),
            ])
        ),
        (
            "Usage",
            object([
                "cpu_seconds": number, "wall_seconds": number, "max_rss_bytes": nullable("integer"),
                "voluntary_switches": count, "involuntary_switches": count,
            ])
        ),
    ]

    private static let job = object(
        [
            "id": jobID, "task": text, "state": reference("JobState"), "pool": poolName,
            "queue": text, "priority": priority, "attempt": count, "max_attempts": maxAttempts,
            "timeout": nullable("string"), "key": nullable("string"),
            "progress": nullable(schema: reference("Progress")), "position": nullable("integer"), "input": anything,
            "result": anything, "error": nullable(schema: reference("JobError")),
            "labels": ["type": "object", "additionalProperties": text], "created_at": time,
            "due_at": nullable(schema: time), "started_at": nullable(schema: time),
            "finished_at": nullable(schema: time), "usage": nullable(schema: reference("Usage")),
            "links": object(["self": text, "events": text, "result": text, "log": text]),
        ],
        optional: [
            "pool_reason": text, "cancel": object(["how": stopMethod, "seconds": number]),
            "left_out": list(names(JobField.names)),
        ])

    private static let stopMethod = reference("StopMethod")

    private static let progress: KeyValuePairs<String, JSONValue> = [
        "fraction": nullable("number"), "done": number, "total": nullable("number"), "unit": nullable("string"),
        "message": nullable("string"), "eta": nullable("number"),
    ]

    // MARK: Events

    static let events: [(name: String, schema: JSONValue)] = {
        let all = kinds.map { kind in
            // Characters: our own names.
            (type: kind.type, name: kind.type.prefix(1).uppercased() + kind.type.dropFirst() + "Event", kind.schema)
        }
        let event: JSONValue = [
            "oneOf": .array(all.map { reference($0.name) }),
            "discriminator": [
                "propertyName": "type",
                "mapping": .object(all.map { .init($0.type, .string("#/components/schemas/\($0.name)")) }),
            ],
        ]
        return [("EventList", object(["events": list(reference("Event"))])), ("Event", event)]
            + all.map { ($0.name, $0.2) }
    }()

    private static let kinds: [(type: String, schema: JSONValue)] = [
        kind("accepted"), kind("queued", ["position": count]),
        kind("started", ["pool": poolName, "worker": nullable("string")]), kind("progress", progress),
        kind("log", ["stream": text, "text": text], optional: ["level": text]), kind("output", ["value": anything]),
        kind("retrying", ["error": nullable(schema: reference("JobError")), "due": nullable(schema: time)]),
        kind("cancelling"), kind("suspended"), kind("resumed"),
        kind("succeeded", ["result": anything, "usage": usage]),
        kind("failed", ["error": nullable(schema: reference("JobError")), "usage": usage]),
        kind("cancelled", ["how": nullable(schema: stopMethod)], optional: ["seconds": number]),
        kind("gap", ["from": count, "to": count, "reason": text]),
    ]

    private static let usage = nullable(schema: reference("Usage"))

    private static func kind(
        _ type: String, _ own: KeyValuePairs<String, JSONValue> = [:],
        optional: KeyValuePairs<String, JSONValue> = [:]
    ) -> (type: String, schema: JSONValue) {
        let common: KeyValuePairs<String, JSONValue> = [
            "seq": ["type": "integer", "minimum": 1], "type": ["type": "string", "const": .string(type)],
            "job": jobID, "time": time, "attempt": count,
        ]
        return (type, object(Array(common) + Array(own), Array(optional)))
    }
}
