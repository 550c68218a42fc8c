import HTTP
import Store

/// The whole API, one line for each address. The router, the documentation and the OpenAPI description are made from it.
extension API {
    var routes: [Route] {
        [
            Route(.get, "/healthz", nil, "Is the server alive", health),
            Route(
                .post, "/v1/run/{task}", .submit, "Run a task and answer with its result",
                parameters: Submission.optionNames, body: .optional, run),
            Route(.post, "/v1/jobs", .submit, "Submit a job", body: .required, submit),
            Route(
                .get, "/v1/jobs", .read, "Jobs, newest first", parameters: JobFilter.parameters + ["limit", "cursor"],
                listJobs),
            Route(.get, "/v1/jobs/{id}", .read, "One job; with Prefer: wait=N a long poll", showJob),
            Route(
                .get, "/v1/jobs/{id}/events", .read, "A job's events: a stream or a list, by Accept",
                parameters: ["after", "limit"], jobEvents),
            Route(.get, "/v1/jobs/{id}/result", .read, "A job's result alone", jobResult),
            Route(.get, "/v1/jobs/{id}/log", .read, "A job's stdout and stderr, followed while it runs", jobLog),
            Route(.post, "/v1/jobs/{id}/cancel", .submit, "Cancel a job", body: .optional, cancelJob),
            Route(.delete, "/v1/jobs/{id}", .submit, "Cancel a job", body: .optional, cancelJob),
            Route(
                .post, "/v1/jobs/{id}/stdin", .submit, "Write to a program's standard input", parameters: ["close"],
                body: .optional, writeInput),
            Route(
                .post, "/v1/jobs/{id}/signal", .submit, "Send a signal to a job's processes", body: .required,
                signalJob),
            Route(.post, "/v1/jobs/{id}/suspend", .submit, "Let a job's processes stand still", suspendJob),
            Route(.post, "/v1/jobs/{id}/resume", .submit, "Let a job's processes go on", resumeJob),
            Route(.post, "/v1/jobs/{id}/retry", .submit, "Submit a job's task and input again, as a new job", retryJob),
            Route(
                .get, "/v1/events", .read, "Events of all jobs, from now on; with every=250ms the state of everything",
                parameters: JobFilter.parameters + ["every"], allEvents),
            Route(
                .get, "/v1/timeline", .read, "What ran where in the last hour",
                parameters: ["from", "to", "limit", "format"],
                timeline),
            Route(.get, "/v1/errors", .read, "Failures that look alike, in groups", listErrors),
            Route(.get, "/v1/tasks", .read, "Tasks that can be run", listTasks),
            Route(.get, "/v1/tasks/{task}", .read, "One task with its schemas", showTask),
            Route(.get, "/v1/queues", .read, "Queues: depth, age, rate", listQueues),
            Route(.get, "/v1/queues/{queue}", .read, "One queue", showQueue),
            Route(.patch, "/v1/queues/{queue}", .admin, "Pause, resume or bound a queue", body: .required, changeQueue),
            Route(.get, "/v1/pools", .read, "Pools and their workers", listPools),
            Route(.get, "/v1/pools/{pool}", .read, "One pool", showPool),
            Route(.patch, "/v1/pools/{pool}", .admin, "Resize a pool", body: .required, changePool),
            Route(.delete, "/v1/session", .read, "Sign a browser out", signOut),
            Route(.get, "/metrics", .read, "Metrics as Prometheus text", showMetrics),
            Route(.get, "/readyz", nil, "Does the server take jobs", ready),
            Route(.get, "/openapi.json", .read, "This API as OpenAPI 3.1", openAPI),
            Route(.get, "/", nil, "The dashboard; ?token= signs a browser in", parameters: ["token"], dashboard),
            Route(
                .get, "/{file}", nil, "The dashboard's files", exists: { [pages] in pages.paths.contains("/" + $0) },
                dashboard),
        ]
    }
}
