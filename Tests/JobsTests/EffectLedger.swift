@testable import Jobs

/// What really happened to the code of the jobs, over all servers of one history: which attempts began, under which
/// number, and how they ended. The simulation asks it before it believes the scheduler.
struct EffectLedger {
    private struct Attempt: Hashable {
        let id: JobID
        let grant: Int
    }

    private var numbers: [JobID: [Int]] = [:]
    private var begun: [Attempt: Instant] = [:]
    private var ends: [Attempt: AttemptEnd] = [:]
    private var spared: [JobID: Int] = [:]

    /// How often the job's code has run.
    func runs(of id: JobID) -> Int { numbers[id]?.count ?? 0 }

    mutating func clockStepped(by step: Duration) { begun = begun.mapValues { $0 + step } }

    /// When the attempt began; nil: it never did.
    func beginning(of id: JobID, grant: Int) -> Instant? { begun[Attempt(id: id, grant: grant)] }

    func end(of id: JobID, grant: Int) -> AttemptEnd? { ends[Attempt(id: id, grant: grant)] }

    /// The code of an attempt runs.
    ///
    /// - Returns: What is wrong with that; nil when it may.
    mutating func begin(_ call: ModelPool.Call, of spec: JobSpec, at now: Instant) -> String? {
        let attempt = Attempt(id: call.id, grant: call.grant)
        guard begun.updateValue(now, forKey: attempt) == nil else {
            return "grant \(call.grant) of \(call.id) began twice"
        }
        guard numbers[call.id]?.contains(call.attempt) != true else {
            return "\(call.id) ran a second time as attempt \(call.attempt)"
        }
        numbers[call.id, default: []].append(call.attempt)
        let allowed = spec.maxAttempts + (spec.maxAttempts == 1 ? 0 : spared[call.id] ?? 0)
        guard runs(of: call.id) <= allowed else {
            return "\(call.id) ran \(runs(of: call.id)) times of \(spec.maxAttempts)"
        }
        return nil
    }

    mutating func end(_ call: ModelPool.Call, _ end: AttemptEnd) {
        ends[Attempt(id: call.id, grant: call.grant)] = end
        if end == .bystander { spared[call.id, default: 0] += 1 }
    }

    /// Whether a job whose last attempt had this grant may end so.
    func bears(out conclusion: Conclusion, of id: JobID, grant: Int) -> Bool {
        let end = ends[Attempt(id: id, grant: grant)]
        return switch conclusion {
        case .succeeded: end == .succeeded
        case .failed(.reported):
            switch end {
            case .failed, .bystander: true
            case .succeeded, .crashed, .stopped, .returned, nil: false
            }
        case .failed(.crashed): end == .crashed
        case .failed(.timeout):
            if case .stopped = end { beginning(of: id, grant: grant) != nil } else { false }
        // What waits ends so too, where nobody goes on with it.
        case .failed(.stopped): end != .succeeded
        // Of a server that is gone nobody can say more.
        case .failed(.lost), .cancelled: true
        }
    }
}
