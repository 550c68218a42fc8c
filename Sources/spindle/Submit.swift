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
        if watch { try follow(.new(body), showsEvents: json, client) }
        let showsJob = json
        try runOnLoop(client) { client in
            let answer = try await Pursuit(client).submit(body)
            guard let id = try answer.json()["id"]?.string else { throw answer.notOurs("is no job") }
            emit(showsJob ? try answer.text() : id)
            return .success
        }
    }
}
