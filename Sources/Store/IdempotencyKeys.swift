import DequeModule
import JSON
import Jobs

/// Which submission was made under which `Idempotency-Key`, the last ones, in memory.
struct IdempotencyKeys {
    /// Keys kept; beyond it the oldest go early.
    static let maximum = 100_000

    private struct Use {
        let job: JobID
        let fingerprint: [UInt8]
    }

    private let lifetime: Duration
    private var uses: [ExactText: Use] = [:]
    private var order = Deque<(key: ExactText, time: Instant)>()

    init(lifetime: Duration) { self.lifetime = lifetime }

    /// nil: the key is new.
    func find(_ identity: Identity) -> Receipt? {
        guard let use = uses[ExactText(identity.key)] else { return nil }
        return .duplicate(of: use.job, isSame: use.fingerprint == identity.fingerprint)
    }

    mutating func note(_ identity: Identity, _ job: JobID, at now: Instant) {
        let key = ExactText(identity.key)
        guard uses[key] == nil else { return }
        uses[key] = Use(job: job, fingerprint: identity.fingerprint)
        order.append((key, now))
        while uses.count > Self.maximum { forgetOldest() }
    }

    mutating func expire(now: Instant) {
        while let first = order.first, now - first.time > lifetime { forgetOldest() }
    }

    private mutating func forgetOldest() {
        guard let first = order.popFirst() else { return }
        uses[first.key] = nil
    }
}
