import EventLoop
import Glibc
import JSON
import Jobs
import Server

/// A job that is to be followed.
enum Followed: Sendable {
    /// To be submitted first.
    case new([UInt8])
    case known(String)
}

/// Follows a job to its end, prints it, and cancels it on Ctrl-C if it was submitted here.
func follow(_ what: Followed, showsEvents: Bool, _ options: ClientOptions) throws -> Never {
    // Guard: both closures run on the client's loop, one after another.
    nonisolated(unsafe) let follower = JobFollower(showsEvents: showsEvents)
    try runOnLoop(
        options,
        interrupted: { client in
            guard case .new = what, let job = follower.job else { return }
            // The process ends whatever the server says.
            _ = try? await client.send("POST", "/v1/jobs/\(percentEncoded(job))/cancel", limit: .seconds(5))
        },
        { client in
            let pursuit = Pursuit(client)
            switch what {
            case .new(let body): try await pursuit.run(body, follower)
            case .known(let id): try await pursuit.follow(id, follower)
            }
            return try follower.finish()
        })
}

/// Gets at the end of a job, over connections that are lost and servers that start anew.
///
/// A submission carries an `Idempotency-Key`: sent again, it is the same job. Events go on behind the last one that came
/// (`Last-Event-ID`): none is missed, none comes twice.
final class Pursuit {
    /// How long a server may be away.
    private static let patience = Duration.seconds(60)
    private static let firstPause = Duration.milliseconds(50)
    private static let longestPause = Duration.seconds(1)
    private static let stream = "Accept: application/x-ndjson"

    private let client: Client
    private var pause = firstPause
    private var lostSince: Int64?

    init(_ client: Client) { self.client = client }

    /// Submits a job and follows it to its end.
    func run(_ body: [UInt8], _ follower: JobFollower) async throws {
        let key = Self.freshKey
        while true {
            do {
                let answer = try await client.send(
                    "POST", "/v1/jobs", body: body, headers: [Self.stream, key], onLine: { self.take($0, follower) })
                if try isFinal(answer, follower) { return }
                try await wait(LostConnection(description: "it ends its streams before the job has ended"))
            } catch let lost as LostConnection {
                try await wait(lost)
            }
            if let id = follower.job { return try await follow(id, follower) }
        }
    }

    /// Submits a job; the answer that says which it is.
    func submit(_ body: [UInt8]) async throws -> Answer {
        let key = Self.freshKey
        while true {
            do {
                let answer = try await client.send("POST", "/v1/jobs", body: body, headers: [key])
                if lostSince == nil || answer.status != 503 { return try answer.checked() }
                try await wait(LostConnection(description: "the server is not ready"))
            } catch let lost as LostConnection {
                try await wait(lost)
            }
        }
    }

    /// Follows a job to its end.
    func follow(_ id: String, _ follower: JobFollower) async throws {
        while true {
            let resume = follower.lastSeq > 0 ? ["Last-Event-ID: \(follower.lastSeq)"] : []
            do {
                let answer = try await client.send(
                    "GET", "/v1/jobs/\(percentEncoded(id))/events", headers: [Self.stream] + resume,
                    onLine: { self.take($0, follower) })
                if answer.status == 204 { return try await settle(id, follower) }
                if try isFinal(answer, follower) { return }
                try await wait(LostConnection(description: "it ends its streams before the job has ended"))
            } catch let lost as LostConnection {
                try await wait(lost)
            }
        }
    }

    private func take(_ event: JSONValue, _ follower: JobFollower) {
        lostSince = nil
        pause = Self.firstPause
        follower.take(event)
    }

    /// Whether there is nothing more to come. A stream that ends before its job does was a server's that stopped.
    private func isFinal(_ answer: Answer, _ follower: JobFollower) throws -> Bool {
        if follower.outcome != nil { return true }
        // A server that starts says 503 to whom it knows already.
        if answer.status == 503, client.hasAnswered, follower.job != nil || lostSince != nil { return false }
        if answer.status == 404, follower.lastSeq > 0 {
            throw CommandFailure(.jobFailed, "the server does not know the job any more")
        }
        _ = try answer.checked()
        return false
    }

    /// The end of a job all of whose events have been seen, or are gone.
    private func settle(_ id: String, _ follower: JobFollower) async throws {
        let answer = try await client.send("GET", "/v1/jobs/\(percentEncoded(id))").checked()
        follower.end(with: try answer.json())
    }

    /// Waits a little longer each time.
    private func wait(_ lost: LostConnection) async throws {
        let now = monotonicNanoseconds()
        let since = lostSince ?? now
        lostSince = since
        guard now - since < Int64(saturating: Self.patience / .nanoseconds(1)) else {
            throw CommandFailure(.noServer, "the server has gone: \(lost)")
        }
        try await Task.sleep(for: pause)
        pause = min(pause * 2, Self.longestPause)
    }

    private static var freshKey: String {
        let random = (0..<2).map { _ in String(UInt64.random(in: 0...UInt64.max), radix: 16) }.joined()
        return "Idempotency-Key: \"spindle-\(random)\""
    }
}
