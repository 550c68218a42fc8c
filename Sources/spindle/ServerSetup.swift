import EventLoop
import Glibc
import HTTP
import HTTPClient
import JSON
import Jobs
import Pools
import Server
import Store
import Tasks

/// What the settings mean, checked: a server's options and its tasks.
struct ServerSetup {
    var options = ServerOptions()
    var tasks = TaskOptions()
    var commands: [TaskDefinition] = []
    var tokenFile: TokenFile?
    /// Whether nothing is to be made: neither directories nor a token.
    private let isTrial: Bool

    /// - Parameter isTrial: Only looks whether a server could start so.
    init(_ settings: Settings, isTrial: Bool = false) throws {
        self.isTrial = isTrial
        commands = settings.commands
        try setAddresses(settings)
        try setPools(settings)
        try setStore(settings)
        try setTasks(settings)
        try setSecurity(settings)
        options.version = Version.text
        options.allowedHosts = settings.list(.allowHost)
        options.publicDirectory = try settings.text(.publicDirectory).map { path in
            var status = stat()
            guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
                throw settings.wrong(.publicDirectory, "\(path) is no directory")
            }
            return path
        }
        options.fleets = try fleets(settings)
    }

    private mutating func setAddresses(_ settings: Settings) throws {
        do throws(ListenAddress.Failure) {
            options.inherited = try InheritedSocket.takeAll()
        } catch {
            throw CommandFailure(.usage, error.description)
        }
        // Who passes sockets on has decided where to listen, unless more is asked for.
        if !options.inherited.isEmpty, settings.isDefault(.listen) { return }
        options.addresses = try settings.list(.listen).map { text in
            do throws(ListenAddress.Failure) {
                return try ListenAddress(text)
            } catch {
                throw settings.wrong(.listen, error.description)
            }
        }
    }

    private mutating func setPools(_ settings: Settings) throws {
        options.loops = try settings.count(.loops, in: 1...64)
        options.threads = try settings.count(.threads, in: 1...1024)
        options.processes = try settings.count(.processes, in: 1...1024)
        options.childLimits.memoryBytes = try settings.bytes(.memoryLimit)
        options.childLimits.processes = try settings.count(.processLimit, in: 0...1_000_000)
        options.childLimits.files = UInt64(try settings.count(.fileLimit, in: 16...1_000_000))
        // Whole seconds are all that the kernel counts.
        let seconds = try settings.duration(.cpuLimit).seconds
        options.childLimits.cpuSeconds = UInt64(saturating: seconds.rounded(.up))
    }

    /// All workers: of the built-in tasks, of the file, and of each file of Python tasks.
    func fleets(_ settings: Settings) throws -> [WorkerFleet] {
        var recycling = Recycling()
        recycling.maxJobs = try settings.count(.workerMaxJobs, in: 0...1_000_000_000)
        recycling.maxAge = try settings.duration(.workerMaxAge).ifPositive
        recycling.idle = try settings.duration(.workerIdle).ifPositive
        recycling.memoryBytes = try settings.bytes(.workerMemory)
        var builtIn = WorkerFleet(name: WorkerFleet.builtIn, argv: WorkerCommand.arguments(tasks))
        builtIn.recycling = recycling
        let python = try pythonFleets(settings).map { fleet in
            var fleet = fleet
            fleet.recycling = recycling
            fleet.preloads = try settings.flag(.preload)
            return fleet
        }
        return [builtIn] + settings.workers.map { $0.fleet(recycling) } + python
    }

    /// One fleet for each file of Python tasks.
    private func pythonFleets(_ settings: Settings) throws -> [WorkerFleet] {
        let files = settings.list(.python)
        guard !files.isEmpty else { return [] }
        // Workers start elsewhere. Its own name is kept: a link to an interpreter says which environment it is of.
        let interpreter = try programPath(settings.text(.interpreter) ?? "python3", in: workingDirectory()) {
            settings.wrong(.interpreter, $0)
        }
        let sdk = isTrial ? "" : try PythonSDK.directory()
        let wanted = settings.list(.env)
        if let text = wanted.first(where: { !TaskEnvironment.isNamed($0) }) {
            throw settings.wrong(
                .env, "\"\(text)\" is no NAME or NAME=VALUE (in SPINDLE_ENV \\, stands for a comma in a value)")
        }
        var environment = TaskEnvironment.variables(wanted: wanted)
        // What is printed is to be seen when it is printed.
        environment["PYTHONUNBUFFERED"] = "1"
        return try files.map { file in
            guard let resolved = realpath(file, nil) else {
                throw settings.wrong(.python, "\(file): \(String(cString: strerror(errno)))")
            }
            defer { free(resolved) }
            return WorkerFleet(
                name: file, argv: [interpreter, "\(sdk)/spindle.py", String(cString: resolved)],
                environment: environment)
        }
    }

    private mutating func setStore(_ settings: Settings) throws {
        options.drainTime = try settings.duration(.drain)
        options.retention.jobs = try settings.count(.keepJobs, in: 1...1_000_000_000)
        options.retention.age = try settings.duration(.keepAge)
        // By its name it is bytes, without a unit too.
        let bytes = try settings.text(.liveBytes).flatMap { UInt64($0) } ?? settings.bytes(.liveBytes)
        options.liveBytes = bytes == 0 ? .max : Int(clamping: bytes)
        guard let store = settings.text(.store) else { throw StateDirectory.missing("--store and --token-file") }
        switch store {
        case "memory": options.store = .memory
        case let url where url.begins(with: "postgres:") || url.begins(with: "postgresql:"):
            throw settings.wrong(.store, "must be a file or memory: this build does not speak to PostgreSQL yet")
        case "": throw settings.wrong(.store, "must be a file or memory")
        case let path:
            if !isTrial { StateDirectory.make(for: path) }
            options.store = .file(path)
            // The server before us on the same sockets may still be finishing its jobs.
            if !options.inherited.isEmpty { options.storePatience = 60 }
        }
    }

    private mutating func setTasks(_ settings: Settings) throws {
        tasks.hasFaults = try settings.flag(.demoFaults)
        let root = settings.text(.filesRoot) ?? "."
        guard let resolved = realpath(root, nil) else {
            throw settings.wrong(.filesRoot, "\(root): \(String(cString: strerror(errno)))")
        }
        tasks.filesRoot = String(cString: resolved)
        free(resolved)
        tasks.fetchAllows = try settings.list(.allowFetch).map { text in
            guard let range = AddressRules.Range(text) else {
                throw settings.wrong(.allowFetch, "\"\(text)\" is no address range like 10.0.0.0/8")
            }
            return range
        }
    }

    private mutating func setSecurity(_ settings: Settings) throws {
        switch (settings.text(.tlsCert), settings.text(.tlsKey)) {
        case (nil, nil): break
        case (let certificate?, let key?):
            do throws(TLSIdentity.Failure) {
                options.tls = try TLSIdentity(certificate: certificate, key: key)
            } catch {
                throw settings.wrong(.tlsCert, error.description)
            }
        case (.some, nil): throw settings.wrong(.tlsCert, "needs --tls-key")
        case (nil, .some): throw settings.wrong(.tlsKey, "needs --tls-cert")
        }
        let open = (options.addresses + options.inherited.map(\.address)).first { !$0.isLocal }
        if try settings.flag(.noAuth) {
            guard open == nil else {
                throw settings.wrong(.noAuth, "works on loopback only, and \(open!) is not")
            }
        } else {
            guard let path = settings.text(.tokenFile) else { throw StateDirectory.missing("--token-file") }
            if !isTrial { StateDirectory.make(for: path) }
            let file = TokenFile(path)
            do throws(Tokens.Failure) {
                options.tokens = try isTrial ? file.read() : file.load()
            } catch {
                throw settings.wrong(.tokenFile, error.description)
            }
            tokenFile = file
        }
        if let open, options.tls == nil, try !settings.flag(.allowPlaintext) {
            throw settings.wrong(
                .listen, "\(open) is not on loopback: give --tls-cert and --tls-key, or --allow-plaintext-on-network")
        }
    }
}
