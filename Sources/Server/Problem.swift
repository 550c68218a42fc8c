import EventLoop
import HTTP
import JSON
import Jobs
import Store

/// An error as clients see it: `application/problem+json`.
///
/// Source: RFC 9457.
package struct Problem: Error {
    let status: Int
    /// The last part of `type`, and in words the title.
    let code: String
    let detail: String
    var errors: [SchemaViolation] = []
    var retryAfter: Int?
    /// Of what there is too much, and how much there may be: for `RateLimit` (draft-ietf-httpapi-ratelimit-headers).
    var limit: (name: String, quota: Int)?
    var allow: String?
    /// What would have been taken instead: a field and its value.
    var accepted: (name: StaticString, value: StaticString)?
    var job: JobID?
    var error: JobError?

    init(_ status: Int, _ code: String, _ detail: String, retryAfter: Int? = nil) {
        self.status = status
        self.code = code
        self.detail = detail
        self.retryAfter = retryAfter
    }

    static let draining = Problem(503, "draining", "the server is stopping and takes no new jobs", retryAfter: 5)
    /// What an earlier server has left is still being read.
    static func starting(for seconds: Int) -> Problem {
        Problem(
            503, "starting", "the server has started and still reads the jobs that it goes on with",
            retryAfter: seconds)
    }
    static let notStored = Problem(
        507, "not-stored", "the disk is full: the job could not be stored, and nothing was accepted", retryAfter: 5)

    /// The client waits for a job that goes on after the server has ended.
    static func stopping(_ job: JobID) -> Problem {
        var problem = Problem(
            503, "stopping", "the server stopped before the job ended; the job is kept", retryAfter: 5)
        problem.job = job
        return problem
    }

    static func alreadyEnded(_ record: JobRecord) -> Problem {
        var problem = Problem(
            409, "already-ended",
            "the job \(record.state == .cancelled ? "was" : "had") \(record.state.rawValue) before")
        problem.job = record.id
        return problem
    }

    static func unreadable(_ failure: StoreFailure) -> Problem {
        Problem(500, "store-unreadable", failure.description)
    }

    static func notFound(_ what: String) -> Problem { Problem(404, "not-found", what) }

    /// Input that is JSON but does not fit.
    static func invalid(_ violations: [SchemaViolation]) -> Problem {
        let first =
            violations.first.map { $0.pointer.isEmpty ? $0.detail : "\($0.pointer): \($0.detail)" }
            ?? "the input does not fit"
        var problem = Problem(
            422, "invalid-input", violations.count > 1 ? "\(first) (and \(violations.count - 1) more)" : first)
        problem.errors = violations
        return problem
    }

    static func invalid(_ pointer: String, _ detail: String) -> Problem {
        invalid([SchemaViolation(pointer: pointer, detail: detail)])
    }

    static func malformed(_ error: JSONError) -> Problem {
        Problem(
            400, "malformed-json", "the body is no JSON: \(error.reason) at line \(error.line), column \(error.column)")
    }

    var response: Response {
        var body: [UInt8] = []
        body.append(#"{"type":"/problems/"#)
        body.append(utf8: code)
        body.append(#"","title":"#)
        body.append(jsonString: title)
        body.append(#","status":"#)
        body.append(integer: status)
        body.append(#","detail":"#)
        body.append(jsonString: detail)
        if !errors.isEmpty { appendErrors(to: &body) }
        if let job {
            body.append(#","job":""#)
            job.write(to: &body)
            body.append("\"")
        }
        if let error {
            body.append(#","error":"#)
            body.append(error: error)
        }
        body.append("}\n")
        var response = Response(status, "application/problem+json", body)
        if let retryAfter { response.set("Retry-After", String(retryAfter)) }
        if let limit {
            response.set("RateLimit", "\"\(limit.name)\";r=0;t=\(retryAfter ?? 1)")
            response.set("RateLimit-Policy", "\"\(limit.name)\";q=\(limit.quota)")
        }
        if let accepted { response.set(accepted.name, accepted.value) }
        if let allow { response.set("Allow", allow) }
        if let job { response.set("Spindle-Job", job.description) }
        if status == 401 { response.set("WWW-Authenticate", "Bearer realm=\"spindle\"") }
        return response
    }

    private var title: String {
        let words = code.parts(at: "-").joined(separator: " ")
        // Characters: our own codes.
        return words.prefix(1).uppercased() + words.dropFirst()
    }

    private func appendErrors(to body: inout [UInt8]) {
        body.append(#","errors":["#)
        for (index, violation) in errors.enumerated() {
            if index > 0 { body.append(",") }
            body.append(#"{"pointer":"#)
            body.append(jsonString: violation.pointer)
            body.append(#","detail":"#)
            body.append(jsonString: violation.detail)
            body.append("}")
        }
        body.append("]")
    }
}
