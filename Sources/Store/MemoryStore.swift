import Jobs

/// Finished jobs, in memory: the newest ones, within bounds. Nothing survives a restart, and nothing is promised.
///
/// Loop-confined. Every answer is immediate, so the engine need not wait between asking and hearing.
package final class MemoryStore {
    /// Finished jobs kept, by count and by weight in bytes; the oldest go first.
    package static let keptJobs = 10_000
    package static let keptBytes = 128 * 1024 * 1024

    private var records = JobTable<JobRecord>()
    /// In the order of their end.
    private var ended: [JobRecord] = []
    private var head = 0
    private var weight = 0
    /// Ids in the order of submission, and so in their own.
    private var order: [JobID] = []
    private var lastCompacted = 0
    private let isLive: (JobID) -> Bool

    /// - Parameter isLive: Whether a job has not ended: only others are forgotten.
    package init(isLive: @escaping (JobID) -> Bool) { self.isLive = isLive }

    package subscript(id: JobID) -> JobRecord? { records[id] }

    /// Notes a job that has just been submitted, so that lists find it.
    package func register(_ id: JobID) {
        order.append(id)
        guard order.count > 4 * Self.keptJobs, order.count > 2 * lastCompacted else { return }
        order.removeAll { records[$0] == nil && !isLive($0) }
        lastCompacted = order.count
    }

    /// Jobs in the order of submission, newest first, beginning before `cursor`.
    ///
    /// - Parameter visit: Returns false to stop. Ids of jobs that were forgotten are among them.
    package func visitNewestFirst(before cursor: JobID?, _ visit: (JobID) -> Bool) {
        var index = order.count
        if let cursor {
            // Ids only grow: binary search.
            var low = 0
            while low < index {
                let middle = (low + index) / 2
                if order[middle] < cursor { low = middle + 1 } else { index = middle }
            }
        }
        while index > 0 {
            index -= 1
            if !visit(order[index]) { return }
        }
    }

    /// Keeps a finished job, and forgets the oldest ones beyond the bounds.
    package func keep(_ record: JobRecord) {
        records[record.id] = record
        ended.append(record)
        weight += record.weight
        while records.count > Self.keptJobs || weight > Self.keptBytes, head < ended.count {
            let oldest = ended[head]
            head += 1
            weight -= oldest.weight
            records[oldest.id] = nil
        }
        if head > Self.keptJobs {
            ended.removeFirst(head)
            head = 0
        }
    }
}
