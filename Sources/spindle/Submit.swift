import ArgumentParser
import JSON

struct Submit: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Submits a job and prints its id.",
        discussion: """
            Example:  spindle submit hash '{"path":"Sources"}' --queue nightly
            With --watch it follows the job as spindle run does.
            """)

    @Argument(help: "The task; see spindle tasks.") var task: String
    @Argument(help: ArgumentHelp("The input: JSON, @FILE, or - for stdin.", valueName: "JSON")) var input: String?
    @OptionGroup var options: SubmitOptions
    @Flag(help: "Follow the job to its end.") var watch = false
    @Flag(help: "Print the whole job, or each event, as JSON.") var json = false
    @OptionGroup var client: ClientOptions

    func run() throws {
        let body = options.body(task: task, input: try readInput(input))
        if watch { try follow(body, showsEvents: json, client) }
        let showsJob = json
        try runOnLoop(client) { client in
            let answer = try await client.send("POST", "/v1/jobs", body: body).checked()
            print(showsJob ? answer.text : answer.json["id"]?.string ?? "")
            return .success
        }
    }
}

extension Answer {
    /// The body as it came, without the line feed at its end.
    var text: String { String(decoding: body.last == 0x0A ? body.dropLast() : body[...], as: UTF8.self) }
}
