import CSpindle
import EventLoop
import Glibc
import JSON
import Jobs
import Pools

/// One worker under test, talked to line by line. Blocks; for the command line.
final class WorkerConversation {
    struct Failure: Error {
        let what: String
    }

    struct Check {
        let promise: String
        let body: (WorkerConversation) throws -> Void
    }

    /// How long a worker may think, in milliseconds; 30 s for its start, as the server gives it.
    private static let patience: CInt = 5_000
    private static let startPatience: CInt = 30_000

    private let pid: pid_t
    private let pidfd: Descriptor
    private var channel: Descriptor?
    private let traces: Bool
    /// All that has come, and how much of it was looked at.
    private var received: [UInt8] = []
    private var looked = 0
    private var hasEnded = false
    /// The first is `initialize`'s, as with a server.
    private var nextID = 0
    private let testimony: Testimony

    init(_ argv: [String], traces: Bool) throws {
        self.traces = traces
        guard let testimony = Testimony() else { throw Failure(what: "no memory to share") }
        self.testimony = testimony
        var ends: (CInt, CInt) = (-1, -1)
        let made = withUnsafeMutableBytes(of: &ends) { spindle_socketpair($0.bindMemory(to: CInt.self).baseAddress) }
        guard made == 0 else { throw Failure(what: "no descriptors left") }
        channel = Descriptor(owning: ends.0)
        let other = Descriptor(owning: ends.1)
        guard let null = Descriptor(opening: "/dev/null", O_RDONLY) else { throw Failure(what: "no /dev/null") }
        var child = spindle_child()
        child.descriptors = (null.number, STDERR_FILENO, STDERR_FILENO, other.number, testimony.descriptor.number)
        setenv("SPINDLE_FD", "3", 1)
        testimony.putIntoEnvironment()
        var descriptor: CInt = -1
        var arguments = argv.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        pid = arguments.withUnsafeMutableBufferPointer { pointers in
            child.path = UnsafePointer(pointers[0])
            child.argv = UnsafePointer(pointers.baseAddress)
            child.envp = UnsafePointer(environ)
            return spindle_spawn(&child, &descriptor)
        }
        guard pid > 0 else { throw Failure(what: "\(argv[0]): \(String(cString: strerror(-pid)))") }
        pidfd = Descriptor(owning: descriptor)
    }

    /// Ends the worker, whatever it does.
    func end() {
        channel = nil
        if !hasEnded {
            kill(-pid, SIGKILL)
            _ = exitStatus(within: Self.patience)
        }
    }

    // MARK: Lines

    private func send(_ value: JSONValue) throws {
        var bytes = value.bytes
        if traces { say("→ " + String(decoding: bytes, as: UTF8.self)) }
        bytes.append(0x0A)
        guard spindle_send(channel.number, bytes, bytes.count) == bytes.count else {
            throw Failure(what: "it has closed the channel")
        }
    }

    /// The next line; nil at the end of the channel.
    private func receive(within patience: CInt = patience) throws -> JSONValue? {
        while true {
            if let end = received[looked...].firstIndex(of: 0x0A) {
                let line = Array(received[looked..<end])
                looked = end + 1
                if traces { say("← " + String(decoding: line, as: UTF8.self)) }
                do throws(JSONError) { return try JSONReader.value(of: line, depth: JSONReader.envelopedDepth) } catch {
                    throw Failure(
                        what: "it sent a line that is no JSON (\(error)): \(String(decoding: line, as: UTF8.self))")
                }
            }
            guard received.count - looked <= WorkerProtocol.maximumLine else {
                throw Failure(what: "it sent a line over \(WorkerProtocol.maximumLine) bytes")
            }
            var wait = pollfd(fd: channel.number, events: Int16(POLLIN), revents: 0)
            guard poll(&wait, 1, patience) > 0 else {
                throw Failure(what: "it did not answer within \(patience / 1000) s")
            }
            guard takeIn() else { return nil }
        }
    }

    /// Takes some of what has come, without waiting; false when there is nothing.
    private func takeIn() -> Bool {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        let count = spindle_receive(channel.number, &buffer, buffer.count, 0)
        guard count > 0 else { return false }
        received += buffer[..<count]
        return true
    }

    /// Sends a request and returns its answer; notifications before it are passed to `notice`.
    private func ask(
        _ method: String, _ params: JSONValue, within patience: CInt = patience,
        notice: (JSONValue) throws -> Void = { _ in }
    ) throws -> JSONValue {
        let id = nextID
        nextID += 1
        try send(["jsonrpc": "2.0", "id": .integer(id), "method": .string(method), "params": params])
        return try answer(to: id, within: patience, notice: notice)
    }

    private func answer(
        to id: Int, within patience: CInt = patience, notice: (JSONValue) throws -> Void = { _ in }
    ) throws -> JSONValue {
        try answer(toOneOf: [id], within: patience, notice: notice).answer
    }

    private func answer(
        toOneOf calls: [Int], within patience: CInt, notice: (JSONValue) throws -> Void
    ) throws -> (id: Int, answer: JSONValue) {
        while let message = try receive(within: patience) {
            guard message["jsonrpc"]?.string == "2.0" else {
                throw Failure(what: "a message lacks \"jsonrpc\":\"2.0\"")
            }
            if message["method"] != nil {
                try notice(message)
            } else if let id = message["id"]?.integer, calls.contains(id) {
                guard (message["result"] == nil) != (message["error"] == nil) else {
                    throw Failure(what: "an answer has either a result or an error")
                }
                return (id, message)
            } else {
                throw Failure(what: "it answered call \(text(message["id"])), which nobody made")
            }
        }
        throw Failure(what: "it ended instead of answering")
    }

    private func exitStatus(within patience: CInt) -> CInt? {
        var wait = pollfd(fd: pidfd.number, events: Int16(POLLIN), revents: 0)
        guard poll(&wait, 1, patience) > 0 else { return nil }
        var status: CInt = 0
        var usage = rusage()
        guard spindle_reap(pidfd.number, &status, &usage) == 1 else { return nil }
        hasEnded = true
        return status
    }

    // MARK: What is said

    @discardableResult
    private func initialize() throws -> WorkerDescription {
        let answer = try ask(
            "initialize",
            [
                "protocol": 1, "server": .string("spindle/\(Version.text)"),
                "max_line": .integer(WorkerProtocol.maximumLine),
            ],
            within: Self.startPatience)
        guard let result = answer["result"] else { throw Failure(what: "it refused: \(text(answer["error"]))") }
        do throws(TaskFailure) {
            return try WorkerDescription(result, fleet: "check")
        } catch {
            throw Failure(what: error.message)
        }
    }

    private func runParameters(_ task: String, _ input: JSONValue) -> JSONValue {
        [
            "task": .string(task), "job": "0000000000000", "attempt": 1, "input": input, "deadline_ms": 60_000,
            "dir": "/tmp",
        ]
    }

    private func call(_ task: String, _ input: JSONValue) throws -> JSONValue {
        let id = nextID
        return try ask("run", runParameters(task, input), within: Self.startPatience) { message in
            let method = message["method"]?.string ?? ""
            let params = message["params"] ?? .null
            guard params["id"]?.integer == id || method == "log" else {
                throw Failure(what: "\(method) names call \(text(params["id"])), but \(id) runs")
            }
            if method == "progress", params["done"]?.number == nil {
                throw Failure(what: "progress without a number \"done\"")
            }
            if method == "output", params["value"] == nil { throw Failure(what: "output without a value") }
            if method == "log", params["text"]?.string == nil { throw Failure(what: "log without a text") }
        }
    }

    /// Hands over as many calls as a server would, and holds what the worker says in memory against what comes.
    private func testify(to task: TaskDefinition, _ input: JSONValue) throws {
        // Of a worker that says which has begun, the second waits in the channel.
        var calls = Array(nextID..<nextID + (testimony.speaks ? 2 : 1))
        for id in calls {
            testimony.handOver(id, isBeside: task.isConcurrent)
            try send([
                "jsonrpc": "2.0", "id": .integer(id), "method": "run", "params": runParameters(task.name, input),
            ])
        }
        nextID += calls.count
        while let first = calls.first {
            let (id, answer) = try answer(toOneOf: calls, within: Self.startPatience) { message in
                let about = message["params"]?["id"]?.integer
                try about.map { try testimony.holdBeginning(of: $0, heardBy: message["method"]?.string ?? "") }
            }
            guard id == first || task.isConcurrent else {
                throw Failure(what: "it answered call \(id) before call \(first), which it had been given first")
            }
            calls.removeAll { $0 == id }
            if answer["result"] != nil { try testimony.holdBeginning(of: id, heardBy: "the result") }
            try holdTestimony()
        }
    }

    private func holdTestimony() throws {
        try testimony.hold()
        try testimony.holdRing {
            while takeIn() {}
            return received
        }
    }

    private func expectTrueEnd() throws {
        try send(["jsonrpc": "2.0", "method": "drain"])
        try expectExit("drain")
        try holdTestimony()
        try testimony.holdAtEnd()
    }

    private func ping() throws {
        guard try ask("ping", .object([]))["result"] != nil else {
            throw Failure(what: "it answered ping with an error")
        }
    }

    private func expectExit(_ what: String) throws {
        guard let status = exitStatus(within: Self.patience) else { throw Failure(what: "it goes on after \(what)") }
        guard status == 0 else { throw Failure(what: "it ended with status \(status >> 8), signal \(status & 0x7F)") }
    }

    // MARK: Promises

    static func checks(_ calls: [(task: String, input: JSONValue)]) -> [Check] {
        let runs = calls.map { call in
            Check(promise: "\(call.task) succeeds") { worker in
                let description = try worker.initialize()
                guard let task = description.tasks.first(where: { $0.name == call.task }) else {
                    throw Failure(
                        what: "it has no such task, but: \(description.tasks.map(\.name).joined(separator: ", "))")
                }
                if let violation = task.input.violations(in: call.input).first {
                    throw Failure(what: "the input does not fit: \(violation.pointer) \(violation.detail)")
                }
                let answer = try worker.call(call.task, call.input)
                guard let result = answer["result"] else {
                    throw Failure(what: "it failed: \(text(answer["error"]))")
                }
                guard result["value"] != nil || result["file"] != nil else {
                    throw Failure(what: "the result has no value")
                }
            }
        }
        let cancels = calls.map { call in
            Check(promise: "\(call.task) is answered once when it is cancelled") { worker in
                try worker.initialize()
                let id = worker.nextID
                worker.nextID += 1
                try worker.send([
                    "jsonrpc": "2.0", "id": .integer(id), "method": "run",
                    "params": worker.runParameters(call.task, call.input),
                ])
                try worker.send([
                    "jsonrpc": "2.0", "method": "cancel", "params": ["id": .integer(id), "grace_ms": 1000],
                ])
                let answer = try worker.answer(to: id, within: startPatience)
                if let code = answer["error"]?["code"]?.integer, code != -32800 {
                    throw Failure(what: "a cancelled call ends with a result or with error -32800, not \(code)")
                }
                try worker.ping()
            }
        }
        return general + runs + cancels + testimonies(calls)
    }

    /// Of workers that say by memory which call has begun, and what was not sent yet.
    private static func testimonies(_ calls: [(task: String, input: JSONValue)]) -> [Check] {
        let start = Check(promise: "what it says at descriptor 4 is true from its start on, or it says nothing") {
            worker in
            try worker.initialize()
            try worker.testimony.holdAtStart()
            try worker.ping()
            try worker.expectTrueEnd()
        }
        return [start]
            + calls.map { call in
                Check(promise: "\(call.task) begins and ends as it says at descriptor 4") { worker in
                    let description = try worker.initialize()
                    try worker.testimony.holdAtStart()
                    guard let task = description.tasks.first(where: { $0.name == call.task }) else {
                        throw Failure(what: "it has no such task")
                    }
                    try worker.testify(to: task, call.input)
                    try worker.expectTrueEnd()
                }
            }
    }

    private static var general: [Check] {
        [
            Check(promise: "it initialises within 30 s, speaks protocol 1, and names its tasks") { worker in
                guard try !worker.initialize().tasks.isEmpty else { throw Failure(what: "it has no tasks") }
            },
            Check(promise: "it answers ping") { worker in
                try worker.initialize()
                try worker.ping()
            },
            Check(promise: "it refuses an unknown method with -32601, and goes on") { worker in
                try worker.initialize()
                let answer = try worker.ask("no-such-method", .object([]))
                guard answer["error"]?["code"]?.integer == -32601 else {
                    throw Failure(what: "it answered \(text(answer))")
                }
                try worker.ping()
            },
            Check(promise: "it ignores unknown notifications and members") { worker in
                try worker.initialize()
                try worker.send(["jsonrpc": "2.0", "method": "no-such-thing", "params": ["a": 1], "more": [1, 2]])
                try worker.ping()
            },
            Check(promise: "it ignores a cancel of what it does not run") { worker in
                try worker.initialize()
                try worker.send(["jsonrpc": "2.0", "method": "cancel", "params": ["id": 4711, "grace_ms": 1]])
                try worker.ping()
            },
            Check(promise: "it answers a task that it does not have with an error, and goes on") { worker in
                try worker.initialize()
                let answer = try worker.call("no-such-task", .object([]))
                guard answer["error"]?["message"]?.string != nil else {
                    throw Failure(what: "it answered \(text(answer))")
                }
                try worker.ping()
            },
            Check(promise: "it ends with status 0 when it is drained") { worker in
                try worker.initialize()
                try worker.send(["jsonrpc": "2.0", "method": "drain"])
                try worker.expectExit("drain")
            },
            Check(promise: "it ends when the channel does") { worker in
                try worker.initialize()
                shutdown(worker.channel.number, CInt(SHUT_WR))
                guard worker.exitStatus(within: patience) != nil else {
                    throw Failure(what: "it goes on without a server")
                }
            },
        ]
    }
}

private func text(_ value: JSONValue?) -> String { String(decoding: (value ?? .null).bytes, as: UTF8.self) }
