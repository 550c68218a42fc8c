import HTTP
import JSON

/// The whole API, one value for each address. The router, `Allow`, scopes, the documentation and the OpenAPI description are made
/// from it.
extension API {
    var routes: [Route] { running + jobs + watching + inventory + service }

    private var running: [Route] {
        [
            // First: the address that is asked for most often.
            Route(
                .get, "/healthz", nil, "isAlive", "Is the server alive", answers: [.found("Health", "It is")], health),
            Route(
                .post, "/v1/run/{task}", .submit, "runTask", "Run a task and answer with its result",
                query: QueryParameter.submission, takesLabels: true, body: .optional(Schemas.anything),
                answers: [
                    Answer(
                        200, "The result alone, or the job's events", [.json(Schemas.anything)] + Answer.Content.events)
                ]
                    + Answer.submission + [
                        .problem(409, "The job was cancelled"), .problem(500, "The task failed"),
                        .problem(504, "The task's time was over"),
                    ],
                run),
            Route(
                .post, "/v1/jobs", .submit, "submitJob", "Submit a job",
                body: .required(Schemas.reference("Submission")),
                answers: [Answer(200, "The job has ended, or streams", [.json("Job")] + Answer.Content.events)]
                    + Answer.submission,
                submit),
            Route(
                .post, "/v1/jobs/{id}/retry", .submit, "retryJob", "Submit a job's task and input again, as a new job",
                answers: [Answer(200, "The new job has ended, or streams", [.json("Job")] + Answer.Content.events)]
                    + Answer.submission + [.problem(422, "The task is gone, or takes another input now")],
                retryJob),
        ]
    }

    private var jobs: [Route] {
        [
            Route(
                .get, "/v1/jobs", .read, "listJobs", "Jobs, newest first",
                query: QueryParameter.filter + [.jobLimit, .cursor, .fields], takesLabels: true,
                answers: [.found("JobList", "A page, and where the next one begins")], listJobs),
            Route(
                .get, "/v1/jobs/{id}", .read, "getJob", "One job; with Prefer: wait=N a long poll",
                answers: [.found("Job", "The job"), Answer(304, "It is as the client has it")], showJob),
            Route(
                .get, "/v1/jobs/{id}/events", .read, "getEvents", "A job's events: a stream or a list, by Accept",
                query: [.after, .eventLimit],
                answers: [
                    Answer(
                        200, "The events so far, or as they happen",
                        [.json("EventList")] + Answer.Content.events + [.text]),
                    Answer(204, "Nothing more will come"), .problem(406, "Events do not come in such a form"),
                ], jobEvents),
            Route(
                .get, "/v1/jobs/{id}/result", .read, "getResult", "A job's result alone",
                answers: [Answer(200, "The result", [.json(Schemas.anything)]), .problem(409, "There is none")],
                jobResult),
            Route(
                .get, "/v1/jobs/{id}/log", .read, "getLog", "A job's stdout and stderr, followed while it runs",
                answers: [Answer(200, "The text", [.text])], jobLog),
            Route(
                .post, "/v1/jobs/{id}/cancel", .submit, "cancelJob", "Cancel a job",
                body: .optional(Schemas.reference("CancelRequest")), answers: Answer.cancel, cancelJob),
            Route(
                .delete, "/v1/jobs/{id}", .submit, "deleteJob", "Cancel a job",
                body: .optional(Schemas.reference("CancelRequest")), answers: Answer.cancel, cancelJob),
            Route(
                .post, "/v1/jobs/{id}/stdin", .submit, "writeInput", "Write to a program's standard input",
                query: [.close], body: .bytes,
                answers: [
                    Answer(204, "Taken"), .problem(409, "It is no program that takes input"),
                    .problem(429, "It has not read what came before"),
                ], writeInput),
            Route(
                .post, "/v1/jobs/{id}/signal", .submit, "signalJob", "Send a signal to a job's processes",
                body: .required(Schemas.reference("SignalRequest")),
                answers: [.found("Job", "The job"), .noProcess], signalJob),
            Route(
                .post, "/v1/jobs/{id}/suspend", .submit, "suspendJob", "Let a job's processes stand still",
                answers: [.found("Job", "The job"), .noProcess], suspendJob),
            Route(
                .post, "/v1/jobs/{id}/resume", .submit, "resumeJob", "Let a job's processes go on",
                answers: [.found("Job", "The job"), .noProcess], resumeJob),
        ]
    }

    private var watching: [Route] {
        [
            Route(
                .get, "/v1/events", .read, "followEvents",
                "Events of all jobs, from now on; with every=250ms the state of everything",
                query: QueryParameter.filter + [.every], takesLabels: true,
                answers: [
                    Answer(200, "As they happen", Answer.Content.events),
                    .problem(406, "Events do not come in such a form"),
                ], allEvents),
            Route(
                .get, "/v1/timeline", .read, "getTimeline", "What ran where in the last hour",
                query: QueryParameter.timeline,
                answers: [
                    Answer(
                        200, "Rows and bars",
                        [.json(["anyOf": [Schemas.reference("Timeline"), Schemas.reference("Trace")]])])
                ], timeline),
            Route(
                .get, "/v1/errors", .read, "listErrors", "Failures that look alike, in groups",
                answers: [.found("ErrorList", "The groups")], listErrors),
            Route(
                .get, "/metrics", .read, "getMetrics", "Metrics as Prometheus text",
                answers: [Answer(200, "The metrics", [.text])], showMetrics),
        ]
    }

    private var inventory: [Route] {
        [
            Route(
                .get, "/v1/tasks", .read, "listTasks", "Tasks that can be run",
                answers: [.found("TaskList", "The tasks")], listTasks),
            Route(
                .get, "/v1/tasks/{task}", .read, "getTask", "One task with its schemas",
                answers: [.found("Task", "The task")], showTask),
            Route(
                .get, "/v1/queues", .read, "listQueues", "Queues: depth, age, rate",
                answers: [.found("QueueList", "The queues")], listQueues),
            Route(
                .get, "/v1/queues/{queue}", .read, "getQueue", "One queue", answers: [.found("Queue", "The queue")],
                showQueue),
            Route(
                .patch, "/v1/queues/{queue}", .admin, "changeQueue", "Pause, resume or bound a queue",
                body: .required(Schemas.reference("QueueChange")),
                answers: [.found("Queue", "The queue"), .problem(429, "There are too many queues"), .notStored],
                changeQueue),
            Route(
                .get, "/v1/pools", .read, "listPools", "Pools and their workers",
                answers: [.found("PoolList", "The pools")], listPools),
            Route(
                .get, "/v1/pools/{pool}", .read, "getPool", "One pool", answers: [.found("Pool", "The pool")],
                showPool),
            Route(
                .patch, "/v1/pools/{pool}", .admin, "changePool", "Resize a pool",
                body: .required(Schemas.reference("PoolChange")),
                answers: [.found("Pool", "The pool"), .notStored], changePool),
        ]
    }

    private var service: [Route] {
        [
            Route(
                .get, "/readyz", nil, "isReady", "Does the server take jobs",
                answers: [
                    .found("Health", "It does"),
                    .problem(503, "It is stopping, or still reads the jobs that it goes on with"),
                ], ready),
            Route(
                .get, "/openapi.json", .read, "getDescription", "This API as OpenAPI 3.1",
                answers: [Answer(200, "The description", [.json(["type": "object"])])], openAPI),
            Route(
                .delete, "/v1/session", .read, "signOut", "Sign a browser out",
                answers: [Answer(204, "Signed out"), .problem(409, "There is no session")], signOut),
            Route(
                .get, "/", nil, "getDashboard", "The dashboard; ?token= signs a browser in", query: [.token],
                answers: [
                    Answer(200, "The page", [.page]), Answer(303, "Signed in"), .problem(401, "That is no token"),
                ], dashboard),
            Route(
                .get, "/{file}", nil, "getPageFile", "The dashboard's files", answers: [Answer(200, "The file")],
                exists: { [pages] in pages.paths.contains("/" + $0) }, dashboard),
        ]
    }
}
