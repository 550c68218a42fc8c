import ArgumentParser
import JSON

struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs one job and prints its result.",
        discussion: """
            Example:  spindle run primes '{"limit":10000000}' --pool process
            The input is JSON, @FILE, or - for stdin. The result goes to stdout, a progress bar to stderr when that is a
            terminal. A connection that is lost is taken up again, over a restart of the server too. Ctrl-C cancels the job, a
            second one does not wait for that. Exit 1 when the job failed.
            """)

    @Argument(help: "The task; see spindle tasks.") var task: String
    @Argument(help: ArgumentHelp("The input.", valueName: "JSON")) var input: String?
    @OptionGroup var options: SubmitOptions
    @Flag(help: "Print each event as a line of JSON.") var json = false
    @OptionGroup var client: ClientOptions

    func run() throws {
        let body = options.body(task: task, input: try readInput(input))
        try follow(.new(body), showsEvents: json, client)
    }
}
