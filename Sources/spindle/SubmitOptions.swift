import ArgumentParser
import JSON

/// How a job is to run, as `run` and `submit` take it.
struct SubmitOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Where to run: loop, thread, process, gpu or auto.", valueName: "POOL"))
    var pool: String?

    @Option(help: ArgumentHelp("Where to wait.", valueName: "NAME"))
    var queue: String?

    @Option(help: ArgumentHelp("Higher first, -100 to 100.", valueName: "N"))
    var priority: Int?

    @Option(help: ArgumentHelp("Longest time for one attempt: 250ms, 30s, 5m.", valueName: "TIME"))
    var timeout: String?

    @Option(help: ArgumentHelp("How often to try.", valueName: "N"))
    var maxAttempts: Int?

    @Option(help: ArgumentHelp("Start after this time: 10s.", valueName: "TIME"))
    var delay: String?

    @Option(help: ArgumentHelp("Of the jobs with one key, one runs at a time.", valueName: "KEY"))
    var key: String?

    /// The body of `POST /v1/jobs`.
    func body(task: String, input: [UInt8]) -> [UInt8] {
        var body: [UInt8] = []
        body.append(#"{"task":"#)
        body.append(jsonString: task)
        body.append(#","input":"#)
        body.append(contentsOf: input)
        let texts = [("pool", pool), ("queue", queue), ("timeout", timeout), ("delay", delay), ("key", key)]
        for (name, value) in texts {
            guard let value else { continue }
            body.append(",")
            body.append(jsonString: name)
            body.append(":")
            body.append(jsonString: value)
        }
        for (name, value) in [("priority", priority), ("max_attempts", maxAttempts)] {
            guard let value else { continue }
            body.append(",")
            body.append(jsonString: name)
            body.append(":")
            body.append(integer: value)
        }
        body.append("}")
        return body
    }
}
