import Glibc
import HTTP
import JSON
import Jobs
import Pools
import Store

/// Acting on what runs as a process: its input, signals, standing still.
extension API {
    /// Signals that can be sent, by name; what stops or goes on has routes of its own.
    private static let signals: [(name: String, number: CInt)] = [
        ("HUP", SIGHUP), ("INT", SIGINT), ("QUIT", SIGQUIT), ("KILL", SIGKILL), ("USR1", SIGUSR1), ("USR2", SIGUSR2),
        ("ALRM", SIGALRM), ("TERM", SIGTERM), ("WINCH", SIGWINCH),
    ]

    static var signalNames: [String] { signals.map(\.name) }

    /// Calls `body` with a job whose attempt is in the process pool's hands.
    private func withProcess(
        _ exchange: Exchange, _ id: String,
        _ body: @escaping (JobRecord, AttemptID, any Pool) throws(Problem) -> Void
    ) throws(Problem) {
        try withRecord(exchange, id) { [unowned self] record throws(Problem) in
            guard !record.state.isFinal else { throw .alreadyEnded(record) }
            guard record.pool == .process, let pool = engine.pool(.process) else {
                throw Problem(409, "no-process", "the job runs in the \(record.pool.rawValue) pool, not as a process")
            }
            guard record.state == .running || record.state == .suspended || record.state == .cancelling else {
                throw Problem(409, "not-running", "the job is \(record.state.rawValue) and has no process")
            }
            try body(record, AttemptID(job: record.id, grant: engine.scheduler.grant(of: record.id)), pool)
        }
    }

    func suspendJob(_ exchange: Exchange, _ id: String) throws(Problem) {
        try withProcess(exchange, id) { [unowned self] record, _, _ in
            engine.feed(.suspendRequested(record.id))
            exchange.respond(jobResponse(record))
        }
    }

    func resumeJob(_ exchange: Exchange, _ id: String) throws(Problem) {
        try withProcess(exchange, id) { [unowned self] record, _, _ in
            engine.feed(.resumeRequested(record.id))
            exchange.respond(jobResponse(record))
        }
    }

    func signalJob(_ exchange: Exchange, _ id: String) throws(Problem) {
        let (name, number) = try Self.signal(exchange.takeBody())
        try withProcess(exchange, id) { [unowned self] record, attempt, pool throws(Problem) in
            guard pool.signal(attempt, number) else {
                throw Problem(409, "not-running", "the job's process has not started, or has just ended")
            }
            engine.remark("signal SIG\(name)", on: record)
            exchange.respond(jobResponse(record))
        }
    }

    /// `{"signal":"USR1"}`, with or without SIG, or its number.
    private static func signal(_ body: [UInt8]) throws(Problem) -> (name: String, number: CInt) {
        let value = try object(body, knowing: ["signal"])
        guard let wanted = value["signal"] else { throw .invalid("/signal", "is required") }
        // In other scripts there are letters whose capital is one of ours.
        // Characters: ASCII alone.
        let text = wanted.string.flatMap { $0.utf8.allSatisfy { $0 < 0x80 } ? $0.uppercased() : nil }
        let found = signals.first { signal in
            text == signal.name || text == "SIG" + signal.name || wanted.integer == Int(exactly: signal.number)
        }
        guard let found else {
            let names = signals.map(\.name).joined(separator: ", ")
            throw .invalid("/signal", "must be one of \(names); to stop and go on there are /suspend and /resume")
        }
        return found
    }

    /// The body goes to the program's standard input; with `?close=true` it is the last.
    func writeInput(_ exchange: Exchange, _ id: String) throws(Problem) {
        let query = try Query(exchange.head.queryText)
        let close = query["close"] ?? "false"
        guard close == "true" || close == "false" else { throw .invalid("/close", "must be true or false") }
        let bytes = exchange.takeBody()
        try withProcess(exchange, id) { [unowned self] record, attempt, pool throws(Problem) in
            switch pool.write(bytes, closing: close == "true", to: attempt) {
            case .taken:
                engine.remark("stdin \(bytes.count) bytes\(close == "true" ? ", closed" : "")", on: record)
                exchange.respond(Response(204))
            case .full:
                throw Problem(429, "input-full", "the program has not read what came before", retryAfter: 1)
            case .closed:
                throw Problem(
                    409, "no-input", "the program takes no input (stdin = true in its configuration), or has closed it")
            }
        }
    }
}
