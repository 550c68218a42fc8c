import JSON
import Jobs

/// The worker protocol: JSON-RPC 2.0, one message a line, on descriptor 3.
///
/// ```
///   → initialize    ← result: worker, tasks
///   → run           ← progress, log, output (notifications), then result or error
///   → cancel        ← the run it names is still answered, with error -32800
///   → ping          ← result
///   → drain         the worker finishes what it has and exits; end of file: it exits, whatever it has
/// ```
///
/// Source of the framing: JSON-RPC 2.0 specification; one message a line as MCP's stdio transport has it.
package enum WorkerProtocol {
    package static let version = 1
    /// Bytes of one line, its line feed not counted.
    package static let maximumLine = 1024 * 1024

    enum ErrorCode {
        static let failed = -32000
        /// It was taken back before it began.
        static let withdrawn = -32001
        static let cancelled = -32800
    }

    // MARK: Server to worker

    static func initialize(id: Int) -> [UInt8] {
        line {
            $0.append(#"{"jsonrpc":"2.0","id":"#)
            $0.append(integer: id)
            $0.append(#","method":"initialize","params":{"protocol":1,"server":"spindle/0.1","max_line":"#)
            $0.append(integer: maximumLine)
            $0.append("}}")
        }
    }

    static func appendRun(id: Int, _ attempt: Attempt, directory: String, to out: inout [UInt8]) {
        out.append(#"{"jsonrpc":"2.0","id":"#)
        out.append(integer: id)
        out.append(#","method":"run","params":{"task":"#)
        out.append(jsonString: attempt.task.name)
        out.append(#","job":""#)
        attempt.id.job.write(to: &out)
        out.append(#"","attempt":"#)
        out.append(integer: attempt.number)
        out.append(#","input":"#)
        out.append(contentsOf: onOneLine(attempt.input.bytes))
        if let timeout = attempt.timeout {
            out.append(#","deadline_ms":"#)
            out.append(integer: Int(timeout.nanoseconds / 1_000_000))
        }
        out.append(#","dir":"#)
        out.append(jsonString: directory)
        out.append("}}\n")
    }

    static func cancel(id: Int, grace: Duration) -> [UInt8] {
        line {
            $0.append(#"{"jsonrpc":"2.0","method":"cancel","params":{"id":"#)
            $0.append(integer: id)
            $0.append(#","grace_ms":"#)
            $0.append(integer: Int(grace.nanoseconds / 1_000_000))
            $0.append("}}")
        }
    }

    static let drain: [UInt8] = line { $0.append(#"{"jsonrpc":"2.0","method":"drain"}"#) }

    // MARK: Worker to server

    /// What is nested deeper than that ends its worker; deeper than values may be, it fails its call alone.
    private static let deepest = 512
    private static var tooDeep: JobError {
        JobError(type: "InvalidOutput", message: "it is nested deeper than \(JSONReader.maximumDepth)")
    }

    /// One message from a worker.
    enum Message {
        /// - Parameter file: Where the value stands instead, when it is too long for a line.
        case result(id: Int, value: [UInt8], file: String?, usage: JSONValue?)
        case error(id: Int, code: Int, JobError, canRetry: Bool)
        case initialized(id: Int, JSONValue)
        case progress(id: Int, Progress)
        case output(id: Int, [UInt8])
        /// - Parameter stream: `stdout` and `stderr` for what a call has printed; else `log`.
        case log(id: Int?, stream: String, level: String?, text: String)
        /// Unknown notifications and the answers to pings.
        case ignored

        /// Whether it ends a call.
        var isAnswer: Bool {
            switch self {
            case .result, .error: true
            case .initialized, .progress, .output, .log, .ignored: false
            }
        }
    }

    /// - Parameter isReady: Before it is, a result answers `initialize`.
    /// - Throws: When the line is no JSON, or no message: the worker is to be ended, there is no resynchronising.
    static func decode(_ line: [UInt8], isReady: Bool) throws(JSONError) -> Message {
        var id: Int?
        var method: String?
        var params: JSONValue?
        var error: JSONValue?
        var value: (bytes: Range<Int>, depth: Int)?
        var file: String?
        var usage: JSONValue?
        var answer: JSONValue?
        try JSONReader.withReader(of: line, depth: deepest) { (reader) throws(JSONError) in
            try reader.readObject { (key, reader) throws(JSONError) in
                switch key {
                case "id": id = try reader.readValue().integer
                case "method": method = try reader.readValue().string
                case "params": params = try reader.readValue()
                case "error": error = try reader.readValue()
                case "result" where isReady:
                    guard reader.startsObject else { return answer = try reader.readValue() }
                    try reader.readObject { (key, reader) throws(JSONError) in
                        switch key {
                        case "value": value = try reader.readRange()
                        case "file": file = try reader.readValue().string
                        case "usage": usage = try reader.readValue()
                        default: _ = try reader.readValue()
                        }
                    }
                case "result": answer = try reader.readValue()
                default: _ = try reader.readValue()
                }
            }
        }
        if let method { return notification(method, params ?? .null) }
        guard let id else { return .ignored }
        if let error { return failure(id, error) }
        if let answer { return isReady ? .ignored : .initialized(id: id, answer) }
        if let value, value.depth > JSONReader.maximumDepth {
            return .error(id: id, code: ErrorCode.failed, tooDeep, canRetry: false)
        }
        return .result(
            id: id, value: value.map { Array(line[$0.bytes]) } ?? Array("null".utf8), file: file, usage: usage)
    }

    private static func notification(_ method: String, _ params: JSONValue) -> Message {
        switch (method, params["id"]?.integer) {
        case ("progress", let id?):
            let progress = Progress(
                params["done"]?.number ?? 0, of: params["total"]?.number, unit: params["unit"]?.string,
                message: params["message"]?.string)
            return .progress(id: id, progress)
        case ("output", let id?):
            let value = params["value"] ?? .null
            guard value.depth <= JSONReader.maximumDepth else {
                return .log(id: id, stream: "log", level: "warning", text: "an output is left out: \(tooDeep.message)")
            }
            return .output(id: id, value.bytes)
        case ("log", let id):
            let given = params["stream"]?.string ?? ""
            return .log(
                id: id, stream: ["stdout", "stderr"].contains(given) ? given : "log", level: params["level"]?.string,
                text: params["text"]?.string ?? "")
        default: return .ignored
        }
    }

    private static func failure(_ id: Int, _ error: JSONValue) -> Message {
        let data = error["data"]
        let isCancelled = error["code"]?.integer == ErrorCode.cancelled
        let failure = JobError(
            type: data?["type"]?.string ?? (isCancelled ? "Cancelled" : "Error"),
            message: error["message"]?.string ?? "",
            traceback: (data?["traceback"]?.elements ?? []).compactMap(\.string))
        return .error(
            id: id, code: error["code"]?.integer ?? ErrorCode.failed, failure,
            canRetry: data?["retry"]?.string != "never")
    }

    static func line(_ write: (inout [UInt8]) -> Void) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(256)
        write(&bytes)
        bytes.append(0x0A)
        return bytes
    }
}
