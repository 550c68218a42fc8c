import ArgumentParser

struct WatchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch", abstract: "Follows a job to its end.",
        discussion: """
            Example:  spindle watch 06f3k9q2v8x4g
            Shows progress and log as they come, over a restart of the server too, and prints the result. Exit 1 when the job failed or was cancelled.
            """)

    @Argument(help: "The job's id.") var id: String
    @Flag(help: "Print each event as a line of JSON.") var json = false
    @OptionGroup var client: ClientOptions

    func run() throws {
        try follow(.known(id), showsEvents: json, client)
    }
}
