import Glibc
import JSON
import Jobs

/// Follows one job's events: a progress bar while stderr is a terminal, the outcome at the end.
final class JobFollower {
    private let bar: ProgressBar?
    private(set) var job: String?
    /// The number of the last event that came; 0 for none.
    private(set) var lastSeq = 0
    private(set) var outcome: JSONValue?
    private let showsEvents: Bool

    /// - Parameter showsEvents: Each event as a line of JSON on stdout.
    init(showsEvents: Bool = false) {
        self.showsEvents = showsEvents
        bar = isatty(STDERR_FILENO) == 1 && !showsEvents ? ProgressBar() : nil
    }

    func take(_ event: JSONValue) {
        job = event["job"]?.string ?? job
        lastSeq = max(lastSeq, event["seq"]?.integer ?? 0)
        if showsEvents { emit(String(decoding: event.bytes, as: UTF8.self)) }
        switch event["type"]?.string {
        case "progress": bar?.show(event)
        case "log":
            bar?.clear()
            if !showsEvents { say(event["text"]?.string ?? "") }
        case "retrying":
            bar?.clear()
            if !showsEvents { say("attempt failed: \(event["error"]?["message"]?.string ?? ""); trying again") }
        case "succeeded", "failed", "cancelled":
            bar?.clear()
            outcome = event
        default: break
        }
    }

    /// The outcome, from the job itself.
    func end(with job: JSONValue) {
        guard outcome == nil, case .object(let members) = job, let state = job["state"]?.string,
            ["succeeded", "failed", "cancelled"].contains(state)
        else { return }
        let how = job["cancel"]?["how"].map { [JSONValue.Member("how", $0)] } ?? []
        outcome = .object([JSONValue.Member("type", .string(state))] + how + members.filter { $0.key != "type" })
    }

    /// Prints the outcome and says how the command ends.
    func finish() throws -> ExitStatus {
        guard let outcome else { throw CommandFailure(.jobFailed, "the stream ended before the job did") }
        if showsEvents { return outcome["type"]?.string == "succeeded" ? .success : .jobFailed }
        switch outcome["type"]?.string {
        case "succeeded":
            emit(String(decoding: (outcome["result"] ?? .null).bytes, as: UTF8.self))
            return .success
        case "cancelled": throw CommandFailure(.jobFailed, "the job was cancelled (\(outcome["how"]?.string ?? "?"))")
        default:
            let error = outcome["error"]
            throw CommandFailure(.jobFailed, "\(error?["type"]?.string ?? "Error"): \(error?["message"]?.string ?? "")")
        }
    }
}

/// One line on a terminal: `primes ████████░░░░░░░░  42 %  sieving  eta 1.3 s`.
final class ProgressBar {
    private static let width = 30
    private var isShown = false

    func show(_ event: JSONValue) {
        var line = "\r\u{1B}[2K"
        if let fraction = event["fraction"]?.number {
            line += Self.bar(fraction) + " " + Self.percent(fraction)
        } else {
            line += "\(Int(saturating: event["done"]?.number ?? 0)) \(event["unit"]?.string ?? "")"
        }
        if let message = event["message"]?.string { line += "  " + visible(String(message.prefix(40))) }
        if let eta = event["eta"]?.number { line += "  eta \((eta * 10).rounded() / 10) s" }
        isShown = true
        write(line)
    }

    func clear() {
        if isShown { write("\r\u{1B}[2K") }
        isShown = false
    }

    static func bar(_ fraction: Double) -> String {
        let full = Int(saturating: (min(max(fraction, 0), 1) * Double(width)).rounded())
        return String(repeating: "█", count: full) + String(repeating: "░", count: width - full)
    }

    static func percent(_ fraction: Double) -> String {
        let text = String(Int(saturating: (fraction * 100).rounded()))
        return String(repeating: " ", count: max(3 - text.count, 0)) + text + " %"
    }

    private func write(_ text: String) {
        _ = text.withCString { Glibc.write(STDERR_FILENO, $0, strlen($0)) }
    }
}
