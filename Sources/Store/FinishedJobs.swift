import DequeModule
import Jobs

/// Finished jobs in memory, within bounds: those that ended first go first.
struct FinishedJobs: ~Copyable {
    let maximum: Int
    let maximumBytes: Int

    private var records = JobTable<JobRecord>()
    /// In the order of their end.
    private var ended = Deque<JobRecord>()
    private var weight = 0

    init(maximum: Int, bytes: Int) {
        self.maximum = maximum
        maximumBytes = bytes
    }

    subscript(id: JobID) -> JobRecord? { records[id] }
    func contains(_ id: JobID) -> Bool { records.contains(id) }
    var count: Int { records.count }

    mutating func keep(_ record: JobRecord) {
        records[record.id] = record
        ended.append(record)
        weight += record.weight
        while records.count > maximum || weight > maximumBytes { forgetFirst() }
    }

    mutating func forget(endedBefore time: Instant) {
        while let first = ended.first, let end = first.finishedAt, end < time { forgetFirst() }
    }

    private mutating func forgetFirst() {
        guard let oldest = ended.popFirst() else { return }
        weight -= oldest.weight
        records[oldest.id] = nil
    }
}
