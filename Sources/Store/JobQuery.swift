import JSON
import Jobs

/// Which jobs a list or a stream of all jobs is about.
package struct JobFilter: Sendable {
    /// Empty: all.
    package var states: Set<JobState> = []
    package var task: String?
    package var queue: String?
    package var pool: PoolName?
    /// Names and values that a job's labels have.
    package var labels: [(name: String, value: String)] = []

    package init() {}

    package func matches(_ record: JobRecord) -> Bool {
        (states.isEmpty || states.contains(record.state)) && matchesKind(of: record)
    }

    /// All but the state, which changes while a stream looks.
    package func matchesKind(of record: JobRecord) -> Bool {
        // By bytes, as in the store.
        (task?.isExactly(record.task) ?? true) && (queue?.isExactly(record.queue) ?? true)
            && (pool == nil || pool == record.pool)
            && labels.allSatisfy { wanted in
                record.labels.contains { $0.name.isExactly(wanted.name) && $0.value.isExactly(wanted.value) }
            }
    }

    var isEmpty: Bool { states.isEmpty && task == nil && queue == nil && pool == nil && labels.isEmpty }
    /// Whether a finished job can match at all.
    var wantsFinished: Bool { states.isEmpty || states.contains(where: \.isFinal) }
}

/// One page of a list of finished jobs, newest first.
package struct JobQuery: Sendable {
    package var filter: JobFilter
    /// Only jobs older than this one.
    package var before: JobID?
    package var limit: Int
    /// Whether inputs and results of any length are wanted; else none over ``briefBytes``.
    package var isWhole = false

    /// What a list has of an input or a result unless it was asked for more.
    package static let briefBytes = 1024
    /// After so many bytes a list with whole ones ends.
    package static let longestWhole = 8 << 20

    package init(_ filter: JobFilter = JobFilter(), before: JobID? = nil, limit: Int) {
        self.filter = filter
        self.before = before
        self.limit = limit
    }
}

package struct JobPage: Sendable {
    /// At most as many as asked for. Those that have ended and were read from a disk are without events and log.
    package var jobs: [JobRecord]
    /// Where the search goes on: all matching jobs that are not older are on this page. nil: there are no more.
    package var resume: JobID?

    package init(_ jobs: [JobRecord], resume: JobID?) {
        self.jobs = jobs
        self.resume = resume
    }
}
