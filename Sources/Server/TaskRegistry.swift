import JSON
import Jobs
import Pools

/// The tasks that can be named, and how long their attempts took.
///
/// Loop-confined.
package final class TaskRegistry {
    /// Mean run time under which an attempt may wait inside a pool, in nanoseconds: on threads all share one queue, a
    /// worker's pipe is its own.
    fileprivate static func quick(in pool: PoolName) -> Double? {
        switch pool {
        case .thread: 500_000
        case .process: 1_000_000
        case .loop, .gpu: nil
        }
    }
    /// Attempts seen before the mean is believed.
    private static let enoughSamples = 20
    /// Attempts seen before ``Entry/choosePool()`` goes by them.
    private static let enoughToChoose = 5
    /// Mean run time from which being killed for sure is worth a process.
    private static let longSeconds = 1.0

    package final class Entry {
        package fileprivate(set) var task: TaskDefinition
        private var mean = PoolName.Each(repeating: 0.0)
        private var samples = PoolName.Each(repeating: 0)
        /// CPU time and run time of attempts outside the loop, in nanoseconds, older ones fading.
        private var cpu = 0.0
        private var wall = 0.0
        private var weight = 0.0
        private var measured = 0
        private var crashes = 0

        /// Accepted jobs of this task that wait, and those whose attempt is in a pool's hands.
        var waiting = 0
        var running = 0
        /// See ``Mark``.
        let mark: UInt64

        /// Jobs of this task that ended so.
        private(set) var succeeded: UInt64 = 0
        private(set) var failed: UInt64 = 0
        private(set) var cancelled: UInt64 = 0

        init(_ task: TaskDefinition) {
            self.task = task
            mark = Mark.bits(ofTask: task.name)
        }

        func noteEnd(_ state: JobState) {
            switch state {
            case .succeeded: succeeded += 1
            case .failed: failed += 1
            case .cancelled, .scheduled, .blocked, .queued, .running, .suspended, .cancelling: cancelled += 1
            }
        }

        func note(_ usage: Usage, in pool: PoolName) {
            let index = pool.index
            let wallNanoseconds = usage.wallNanoseconds
            // The loop's time is everybody's: what one attempt took of it is not known.
            if pool != .loop {
                cpu = cpu * 0.9 + Double(usage.cpuNanoseconds)
                wall = wall * 0.9 + Double(wallNanoseconds)
                weight = weight * 0.9 + 1
                measured += 1
            }
            samples[index] += 1
            let weight = samples[index] < 20 ? 1 / Double(samples[index]) : 0.05
            mean[index] += (Double(wallNanoseconds) - mean[index]) * weight
        }

        func noteCrash() { crashes += 1 }

        /// Where a job runs that leaves the choice to us, and why.
        func choosePool() -> (pool: PoolName, reason: String) {
            let pools = task.pools
            func can(_ pool: PoolName) -> Bool { pools.contains(pool) }
            if pools.count == 1 { return (pools[0], "it runs nowhere else") }
            if crashes > 0, can(.process) { return (.process, "it has killed its worker \(crashes) times") }
            guard measured >= TaskRegistry.enoughToChoose, wall > 0 else {
                return (pools[0], "its default: \(measured) of \(TaskRegistry.enoughToChoose) attempts are measured")
            }
            let share = min(cpu / wall, 1)
            let percent = "\(Int(saturating: (share * 100).rounded())) % CPU"
            let mean = wall / weight / 1e9
            if share < 0.2, can(.loop) { return (.loop, "\(percent): it mostly waits") }
            if mean > TaskRegistry.longSeconds, can(.process) {
                return (.process, "\(percent), long: a process can be killed for sure")
            }
            if can(.thread) { return (.thread, "\(percent), short: a thread costs least") }
            return (pools[0], "\(percent)")
        }

        func isQuick(in pool: PoolName) -> Bool {
            guard task.mayWaitInside, let bound = TaskRegistry.quick(in: pool),
                samples[pool.index] >= TaskRegistry.enoughSamples
            else { return false }
            return mean[pool.index] < bound
        }
    }

    /// By bytes: a name that is asked for is anybody's.
    private var entries: [ExactText: Entry] = [:]
    /// Of names that have gone, while there are jobs of them: who brings the name back finds them.
    private var gone: [ExactText: Entry] = [:]

    package init(_ tasks: [TaskDefinition]) {
        for task in tasks { entries[ExactText(task.name)] = Entry(task) }
    }

    /// Makes these the tasks of one source (a fleet of workers, or the configuration's commands): new ones join, those of
    /// its tasks that are not among them go, and the rest change; jobs that wait run as the task is then.
    ///
    /// - Returns: Names that belong to somebody else, and stay so.
    package func set(_ tasks: [TaskDefinition], of isTheirs: (TaskDefinition) -> Bool) -> [String] {
        let names = Set(tasks.map { ExactText($0.name) })
        for (name, entry) in entries where isTheirs(entry.task) && !names.contains(name) {
            entries[name] = nil
            gone[name] = entry
        }
        gone = gone.filter { $0.value.waiting + $0.value.running > 0 }
        var taken: [String] = []
        for task in tasks {
            let name = ExactText(task.name)
            if let entry = entries[name] {
                if isTheirs(entry.task) { entry.task = task } else { taken.append(task.name) }
            } else {
                let entry = gone.removeValue(forKey: name) ?? Entry(task)
                entry.task = task
                entries[name] = entry
            }
        }
        return taken
    }

    package subscript(name: String) -> Entry? { entries[ExactText(name)] }

    package var names: [String] { all.map(\.task.name) }
    package var all: [Entry] { entries.values.sorted { $0.task.name < $1.task.name } }
}
