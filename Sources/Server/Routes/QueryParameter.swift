import JSON
import Jobs

/// A parameter that a route takes in its query: what it is called, and what it looks like.
struct QueryParameter {
    let name: String
    let schema: JSONValue
    let meaning: String
    /// Of a whole number.
    let bounds: ClosedRange<Int>?

    init(_ name: String, _ schema: JSONValue, _ meaning: String) {
        self.name = name
        self.schema = schema
        self.meaning = meaning
        bounds = nil
    }

    /// A whole number.
    init(_ name: String, _ bounds: ClosedRange<Int>, _ meaning: String) {
        self.name = name
        self.meaning = meaning
        self.bounds = bounds
        schema = [
            "type": "integer", "minimum": .integer(bounds.lowerBound), "maximum": .integer(bounds.upperBound),
        ]
    }

    private static let anyText: JSONValue = ["type": "string", "pattern": Schemas.noZero]

    static let jobLimit = QueryParameter("limit", 1...500, "How many at most; 50 unless said otherwise")
    static let eventLimit = QueryParameter("limit", 1...1000, "How many at most")
    static let cursor = QueryParameter("cursor", Schemas.jobID, "The `next` of the page before")
    static let fields = QueryParameter(
        "fields", ["type": "string", "pattern": "^(input|result)(,(input|result))*$"],
        "`input`, `result`: whole; else a page has them up to 1 KiB each, and says in `left_out` which are not there")
    static let after = QueryParameter("after", Int.counts, "The last event that is known")
    static let every = QueryParameter("every", Schemas.duration, "The state of everything, no more often than that")
    static let close = QueryParameter("close", ["enum": ["true", "false"]], "Whether this is the last of the input")
    static let token = QueryParameter("token", anyText, "Traded for a cookie")

    /// Which jobs a list, a stream or a count is about; `label.NAME` may be asked for too.
    static let filter = [
        QueryParameter("state", states, "States, with commas between"),
        QueryParameter("task", anyText, "The task's name"),
        QueryParameter("queue", anyText, "The queue's name"),
        QueryParameter("pool", Schemas.poolName, "The pool's name"),
    ]

    private static let states: JSONValue = {
        let names = JobState.allCases.map(\.rawValue).joined(separator: "|")
        return ["type": "string", "pattern": .string("^((\(names))(,(\(names)))*)?$")]
    }()

    /// How a job is to run, where the body is its input; `label.NAME` is a label.
    static let submission = [
        QueryParameter("pool", Schemas.wantedPool, "Where it runs"),
        QueryParameter("queue", anyText, "Where it waits"),
        QueryParameter("priority", Schemas.priority, "Higher ones go first"),
        QueryParameter("timeout", Schemas.duration, "Of one attempt"),
        QueryParameter("max_attempts", Schemas.maxAttempts, "How often it may start"),
        QueryParameter("delay", Schemas.duration, "Not before so long"),
        QueryParameter("run_at", Schemas.runAt, "Not before"),
        QueryParameter(
            "key", ["type": "string", "minLength": 1, "maxLength": 200, "pattern": Schemas.noZero],
            "Of jobs with one key one runs at a time"),
    ]

    static let from = QueryParameter("from", milliseconds, "In milliseconds since 1970")
    static let to = QueryParameter("to", milliseconds, "In milliseconds since 1970")
    static let spanLimit = QueryParameter("limit", 1...20_000, "How many at most; 4,000 unless said otherwise")
    /// What ran where.
    static let timeline = [
        from, to, spanLimit, QueryParameter("format", ["enum": ["json", "trace"]], "trace: for Perfetto"),
    ]

    private static let milliseconds = 0...Int(Int64.max / 2_000_000)
}
