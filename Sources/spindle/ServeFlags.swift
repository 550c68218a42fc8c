import ArgumentParser

/// The flags of `serve`, as ``Setting`` knows them.
struct ServeFlags: ParsableArguments {
    @Option(
        help: ArgumentHelp("Where to listen; port 0 takes any free one. Repeatable.", valueName: "ADDR:PORT|unix:PATH"))
    var listen: [String] = []

    @Option(help: ArgumentHelp("A TOML file with the same keys, and commands.", valueName: "FILE"))
    var config: String?

    @Option(
        help: ArgumentHelp(
            "Where jobs are kept: a file, made if it is not there (default: spindle.db in the state directory), or memory, from which nothing survives.",
            valueName: "PATH|memory"))
    var store: String?

    @Option(
        help: ArgumentHelp("How long running jobs may go on after the first SIGTERM (default 10s).", valueName: "TIME"))
    var drain: String?

    @Option(help: ArgumentHelp("Finished jobs that are kept (default 1000000).", valueName: "N"))
    var keepJobs: String?

    @Option(help: ArgumentHelp("How long finished jobs are kept (default 7d).", valueName: "TIME"))
    var keepAge: String?

    @Option(
        help: ArgumentHelp(
            "What jobs that have not ended may hold together; over it new ones are refused with 429 (default: a quarter of the memory that we may use; 0: no bound).",
            valueName: "SIZE"))
    var liveBytes: String?

    @Option(help: ArgumentHelp("Event loops, each with a listener of its own (default 1).", valueName: "N"))
    var loops: String?

    @Option(help: ArgumentHelp("Threads of the thread pool (default: cores).", valueName: "N"))
    var threads: String?

    @Option(help: ArgumentHelp("Slots of the process pool (default: cores).", valueName: "N"))
    var processes: String?

    @Option(help: ArgumentHelp("A file of Python tasks. Repeatable.", valueName: "FILE"))
    var python: [String] = []

    @Option(
        help: ArgumentHelp("What runs the files of --python: a name or a path (default python3).", valueName: "PROGRAM")
    )
    var interpreter: String?

    @Option(
        help: ArgumentHelp(
            "A variable that the tasks of --python see. Repeatable; without it they see all that the server sees, but for SPINDLE_….",
            valueName: "NAME[=VALUE]"))
    var env: [String] = []

    @Flag(help: "Fork the workers of --python from one process that has imported the file.")
    var preload = false

    @Option(help: ArgumentHelp("Replace a worker after so many jobs (default 0: never).", valueName: "N"))
    var workerMaxJobs: String?

    @Option(help: ArgumentHelp("Replace a worker after this time (default 0s: never).", valueName: "TIME"))
    var workerMaxAge: String?

    @Option(help: ArgumentHelp("Let a worker go that was idle for so long (default 0s: never).", valueName: "TIME"))
    var workerIdle: String?

    @Option(
        help: ArgumentHelp(
            "Replace a worker, after its job, that holds more memory than this (default 0: never).", valueName: "SIZE"))
    var workerMemory: String?

    @Option(
        help: ArgumentHelp(
            "End a child that holds more memory, with all that it started (default 2GiB).", valueName: "SIZE"))
    var memoryLimit: String?

    @Option(help: ArgumentHelp("End a child that has more processes below it (default 512).", valueName: "N"))
    var processLimit: String?

    @Option(help: ArgumentHelp("CPU time of each process below us (default 0s: no limit).", valueName: "TIME"))
    var cpuLimit: String?

    @Option(help: ArgumentHelp("Descriptors of each process below us (default 1024).", valueName: "N"))
    var fileLimit: String?

    @Option(help: ArgumentHelp("Where the token is, or is to be made.", valueName: "FILE"))
    var tokenFile: String?

    @Flag(help: "Ask for no token; on loopback only.")
    var noAuth = false

    @Option(name: .customLong("public"), help: ArgumentHelp("Serve the dashboard from there.", valueName: "DIR"))
    var publicDirectory: String?

    @Option(help: ArgumentHelp("What hash may read (default: the working directory).", valueName: "DIR"))
    var filesRoot: String?

    @Option(
        help: ArgumentHelp("Addresses that fetch may reach beyond the public internet. Repeatable.", valueName: "CIDR"))
    var allowFetch: [String] = []

    @Flag(help: "Add the task fault, which fails in every way.")
    var demoFaults = false

    @Option(help: ArgumentHelp("A further name that a Host may have. Repeatable.", valueName: "NAME"))
    var allowHost: [String] = []

    @Option(help: ArgumentHelp("Certificate chain for TLS, PEM.", valueName: "FILE"))
    var tlsCert: String?

    @Option(help: ArgumentHelp("The certificate's key, PEM.", valueName: "FILE"))
    var tlsKey: String?

    @Flag(help: "Listen beyond loopback without TLS: tokens and data can be read on the way.")
    var allowPlaintextOnNetwork = false

    var given: [Setting: [String]] {
        func one(_ text: String?) -> [String] { text.map { [$0] } ?? [] }
        func flag(_ isSet: Bool) -> [String] { isSet ? ["true"] : [] }
        return [
            .listen: listen, .store: one(store), .drain: one(drain), .keepJobs: one(keepJobs), .keepAge: one(keepAge),
            .liveBytes: one(liveBytes), .loops: one(loops), .threads: one(threads), .processes: one(processes),
            .python: python, .interpreter: one(interpreter), .env: env, .preload: flag(preload),
            .workerMaxJobs: one(workerMaxJobs), .workerMaxAge: one(workerMaxAge), .workerIdle: one(workerIdle),
            .workerMemory: one(workerMemory), .memoryLimit: one(memoryLimit), .processLimit: one(processLimit),
            .cpuLimit: one(cpuLimit), .fileLimit: one(fileLimit), .tokenFile: one(tokenFile), .noAuth: flag(noAuth),
            .publicDirectory: one(publicDirectory),
            .filesRoot: one(filesRoot), .allowFetch: allowFetch, .demoFaults: flag(demoFaults), .allowHost: allowHost,
            .tlsCert: one(tlsCert), .tlsKey: one(tlsKey), .allowPlaintext: flag(allowPlaintextOnNetwork),
        ]
    }
}
