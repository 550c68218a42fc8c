import JSON

/// One way in which a route answers: its status, and what then comes.
struct Answer {
    /// A media type, and what is written in it.
    struct Content {
        let mediaType: String
        let schema: JSONValue

        static func json(_ schema: JSONValue) -> Content { Content(mediaType: "application/json", schema: schema) }
        static func json(_ name: String) -> Content { .json(Schemas.reference(name)) }
        static let text = Content(mediaType: "text/plain", schema: ["type": "string"])
        static let page = Content(mediaType: "text/html", schema: ["type": "string"])
        /// As they happen, until the last one.
        static let events = [
            Content(
                mediaType: "text/event-stream",
                schema: ["type": "string", "description": "The data of each event is an Event"]),
            Content(
                mediaType: "application/x-ndjson",
                schema: ["type": "string", "description": "Each line is an Event, or empty"]),
        ]
    }

    let status: Int
    let meaning: String
    let contents: [Content]

    init(_ status: Int, _ meaning: String, _ contents: [Content] = []) {
        self.status = status
        self.meaning = meaning
        self.contents = contents
    }

    /// 200 and what was asked for.
    static func found(_ name: String, _ meaning: String) -> Answer { Answer(200, meaning, [.json(name)]) }

    static func problem(_ status: Int, _ meaning: String) -> Answer {
        let content = Content(mediaType: "application/problem+json", schema: Schemas.reference("Problem"))
        return Answer(status, meaning, [content])
    }

    static let ended = problem(409, "The job has ended")
    static let notStored = problem(507, "The disk is full: nothing has changed")
    static let noProcess = problem(409, "The job has ended, or is no process that runs")

    /// Of whatever takes a job.
    static let submission = [
        Answer(202, "Accepted, and on disk", [.json("Job")]),
        problem(410, "The job of this Idempotency-Key is no longer kept"),
        problem(429, "Too much waits already; Retry-After says when to come again"),
        problem(503, "The server is stopping"), problem(507, "The disk is full: nothing was accepted"),
    ]

    /// Of a cancel.
    static let cancel = [
        Answer(200, "It has ended by the cancel", [.json("Job")]),
        Answer(202, "The wish is on disk, and it is about to end", [.json("Job")]), ended,
    ]
}
