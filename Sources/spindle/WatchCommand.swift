import ArgumentParser
import JSON

struct WatchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch", abstract: "Follows a job to its end.",
        discussion: """
            Example:  spindle watch 06f3k9q2v8x4g
            Shows progress and log as they come and prints the result. Exit 1 when the job failed or was cancelled.
            """)

    @Argument(help: "The job's id.") var id: String
    @Flag(help: "Print each event as a line of JSON.") var json = false
    @OptionGroup var client: ClientOptions

    func run() throws {
        let id = self.id
        let showsEvents = json
        try runOnLoop(client) { client in
            let follower = JobFollower(showsEvents: showsEvents)
            let answer = try await client.send(
                "GET", "/v1/jobs/\(id)/events", headers: ["Accept: application/x-ndjson"], onLine: follower.take)
            _ = try answer.checked()
            return try follower.finish()
        }
    }
}
