import Jobs

/// Which submission was made under which `Idempotency-Key`, for a day.
///
/// Source: draft-ietf-httpapi-idempotency-key-header.
struct IdempotencyKeys {
    static let lifetime = Duration.seconds(24 * 3600)
    /// Keys kept; beyond it the oldest go early.
    static let maximum = 100_000
    static let keyBytes = 1...200

    private struct Use {
        let job: JobID
        /// SHA-256 of where the request went and what it said.
        let fingerprint: [UInt8]
    }

    enum Finding {
        case new
        case same(JobID)
        /// The key was used for something else.
        case other
    }

    private var uses: [String: Use] = [:]
    private var order: [(key: String, time: Instant)] = []
    private var head = 0

    func find(_ key: String, _ fingerprint: [UInt8]) -> Finding {
        guard let use = uses[key] else { return .new }
        return use.fingerprint == fingerprint ? .same(use.job) : .other
    }

    mutating func note(_ key: String, _ fingerprint: [UInt8], _ job: JobID, at now: Instant) {
        uses[key] = Use(job: job, fingerprint: fingerprint)
        order.append((key, now))
        while uses.count > Self.maximum { forgetOldest() }
    }

    mutating func expire(now: Instant) {
        while head < order.count, now - order[head].time > Self.lifetime { forgetOldest() }
    }

    private mutating func forgetOldest() {
        uses[order[head].key] = nil
        head += 1
        if head > 1024, head * 2 > order.count {
            order.removeFirst(head)
            head = 0
        }
    }
}
