import DequeModule
import Jobs

/// Finished jobs, in memory: the last ones, within bounds. Nothing survives a restart, and nothing is promised.
///
/// Every receipt is immediate.
package final class MemoryStore: JobStore {
    /// Finished jobs kept, by count and by weight in bytes.
    package static let keptJobs = 10_000
    package static let keptBytes = 128 * 1024 * 1024

    private let retention: Retention
    private var finished: FinishedJobs
    private var keys: IdempotencyKeys
    /// Ids of finished jobs, and of some that were forgotten, in their own order but for the last few.
    private var order: [JobID] = []
    private var isSorted = true

    package init(_ retention: Retention = Retention()) {
        self.retention = retention
        finished = FinishedJobs(maximum: min(retention.jobs, Self.keptJobs), bytes: Self.keptBytes)
        keys = IdempotencyKeys(lifetime: retention.keys)
    }

    package var durability: Durability { .none }
    package var refusesJobs: String? { nil }
    package var receive: ([(number: Int, receipt: Receipt)]) -> Void = { _ in }

    package func write(_ change: Change) -> Receipt? {
        if case .submitted(_, _, let identity?) = change, let earlier = keys.find(identity) { return earlier }
        return .stored
    }

    package func keep(_ record: JobRecord) {
        finished.keep(record)
        if let last = order.last, last > record.id { isSorted = false }
        order.append(record.id)
        guard order.count > 4 * finished.maximum else { return }
        order.removeAll { !finished.contains($0) }
    }

    package func note(_ identity: Identity, _ job: JobID, at now: Instant) { keys.note(identity, job, at: now) }

    package func flush() {}
    package func earlier(_ identity: Identity) -> Receipt? { keys.find(identity) }
    package subscript(id: JobID) -> JobRecord? { finished[id] }

    package func find(_ id: JobID, _ then: @escaping (Result<JobRecord?, StoreFailure>) -> Void) {
        then(.success(finished[id]))
    }

    package func list(_ query: JobQuery, _ then: @escaping (Result<JobPage, StoreFailure>) -> Void) {
        sort()
        var jobs: [JobRecord] = []
        var index = query.before.map { cursor in firstIndex(notBelow: cursor) } ?? order.count
        while index > 0 {
            index -= 1
            guard let record = finished[order[index]], query.filter.matches(record) else { continue }
            guard jobs.count < query.limit else { return then(.success(JobPage(jobs, resume: jobs.last?.id))) }
            jobs.append(record)
        }
        then(.success(JobPage(jobs, resume: nil)))
    }

    package func tick(at now: Instant) {
        keys.expire(now: now)
        finished.forget(endedBefore: now - retention.age)
    }

    package func close(inOrder: Bool, _ done: @escaping () -> Void) { done() }

    // MARK: Order

    private func sort() {
        guard !isSorted else { return }
        order.sort()
        isSorted = true
    }

    private func firstIndex(notBelow cursor: JobID) -> Int {
        var low = 0
        var high = order.count
        while low < high {
            let middle = (low + high) / 2
            if order[middle] < cursor { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
