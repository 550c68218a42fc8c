import Jobs
import Pools

/// The tasks that can be named, and how long their attempts took.
///
/// Loop-confined.
package final class TaskRegistry {
    /// Mean run time under which an attempt may wait inside a pool, in nanoseconds: on threads all share one queue, a
    /// worker's pipe is its own.
    private static let quick: [PoolName: Double] = [.thread: 500_000, .process: 1_000_000]
    /// Attempts seen before the mean is believed.
    private static let enoughSamples = 20

    package final class Entry {
        package let task: TaskDefinition
        private var mean = [Double](repeating: 0, count: PoolName.allCases.count)
        private var samples = [Int](repeating: 0, count: PoolName.allCases.count)

        /// Jobs of this task that ended so.
        private(set) var succeeded: UInt64 = 0
        private(set) var failed: UInt64 = 0
        private(set) var cancelled: UInt64 = 0

        init(_ task: TaskDefinition) { self.task = task }

        func noteEnd(_ state: JobState) {
            switch state {
            case .succeeded: succeeded += 1
            case .failed: failed += 1
            case .cancelled, .scheduled, .blocked, .queued, .running, .suspended, .cancelling: cancelled += 1
            }
        }

        func note(wallNanoseconds: Int64, in pool: PoolName) {
            let index = pool.index
            samples[index] += 1
            let weight = samples[index] < 20 ? 1 / Double(samples[index]) : 0.05
            mean[index] += (Double(wallNanoseconds) - mean[index]) * weight
        }

        func isQuick(in pool: PoolName) -> Bool {
            guard let bound = TaskRegistry.quick[pool], samples[pool.index] >= TaskRegistry.enoughSamples else {
                return false
            }
            return mean[pool.index] < bound
        }
    }

    private var entries: [String: Entry] = [:]

    package init(_ tasks: [TaskDefinition]) {
        for task in tasks { entries[task.name] = Entry(task) }
    }

    /// Adds a task, or puts it in the place of the one with its name.
    package func add(_ task: TaskDefinition) { entries[task.name] = Entry(task) }

    package subscript(name: String) -> Entry? { entries[name] }

    package var names: [String] { entries.keys.sorted() }
    package var all: [Entry] { names.map { entries[$0]! } }
}
