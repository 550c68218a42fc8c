import ArgumentParser
import JSON

struct Cancel: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Cancels a job and says what worked.",
        discussion: """
            Example:  spindle cancel 06f3k9q2v8x4g --grace 500ms
            Asks first (a command by SIGTERM); after the grace a process gets SIGTERM, two seconds later SIGKILL. Waits for the end.
            """)

    @Argument(help: "The job's id.") var id: String
    @Option(help: ArgumentHelp("How long it is only asked.", valueName: "TIME")) var grace = "5s"
    @Flag(help: "Print the job as JSON.") var json = false
    @OptionGroup var client: ClientOptions

    func run() throws {
        let path = "/v1/jobs/\(id)/cancel"
        let body = JSONValue.object([.init("grace", .string(grace))]).bytes
        let showsJob = json
        try runOnLoop(client) { client in
            let answer = try await client.send("POST", path, body: body, headers: ["Prefer: wait=60"]).checked()
            let job = try answer.json()
            guard let state = job["state"]?.string else { throw answer.notOurs("is no job") }
            if showsJob {
                emit(try answer.text())
            } else {
                let how = job["cancel"]?["how"]?.string ?? "still running"
                emit("\(state)  \(how)  \(job["cancel"]?["seconds"]?.number ?? 0) s")
            }
            return .success
        }
    }
}
