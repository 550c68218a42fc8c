import ArgumentParser
import JSON

struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs one job and prints its result.",
        discussion: """
            Example:  spindle run primes '{"limit":10000000}' --pool process
            The input is JSON, @FILE, or - for stdin. The result goes to stdout, a progress bar to stderr when that is a
            terminal. Ctrl-C cancels the job. Exit 1 when the job failed.
            """)

    @Argument(help: "The task; see spindle tasks.") var task: String
    @Argument(help: ArgumentHelp("The input.", valueName: "JSON")) var input: String?
    @OptionGroup var options: SubmitOptions
    @Flag(help: "Print each event as a line of JSON.") var json = false
    @OptionGroup var client: ClientOptions

    func run() throws {
        let body = options.body(task: task, input: try readInput(input))
        try follow(body, showsEvents: json, client)
    }
}

/// Submits a job, follows it to its end, and cancels it on Ctrl-C.
func follow(_ body: [UInt8], showsEvents: Bool, _ options: ClientOptions) throws -> Never {
    // Guard: both closures run on the client's loop, one after another.
    nonisolated(unsafe) let follower = JobFollower(showsEvents: showsEvents)
    try runOnLoop(
        options,
        interrupted: { client in
            // The process ends whatever the server says.
            if let job = follower.job { _ = try? await client.send("POST", "/v1/jobs/\(job)/cancel") }
        },
        { client in
            let answer = try await client.send(
                "POST", "/v1/jobs", body: body, headers: ["Accept: application/x-ndjson"], onLine: follower.take)
            _ = try answer.checked()
            return try follower.finish()
        })
}
