import CSpindle
import Glibc
import Jobs

/// What children of a server that died have left behind: found by what they carry in their environment, or by number and
/// start time, and killed before anything runs again.
///
/// Direct children die with their server; what they started does not, in sessions of its own least of all.
/// Beyond reach is only what has both left its parent and changed its environment.
package enum Orphans {
    package struct Outcome {
        package var killed = 0
        /// What could not be killed in time.
        package var alive = 0
    }

    /// How far a start time may be from the one that was noted, in nanoseconds: the note comes a moment later.
    private static let tolerance: Int64 = 2_000_000_000

    /// Kills all of them, and waits until they are gone.
    ///
    /// - Parameters:
    ///   - variable: `NAME=value`, as it stands in the environment of each child and of what descends from it.
    ///   - marks: Processes by number and by nanoseconds since the machine started.
    ///   - seconds: How long to wait.
    package static func kill(
        carrying variable: String, orMarked marks: [(pid: Int32, startedAt: Int64)], within seconds: Double
    ) -> Outcome {
        var outcome = Outcome()
        var left = Int(saturating: seconds * 100)
        // What is found may be starting something else at this moment: look until nothing is found.
        while true {
            func isOrphan(_ pid: pid_t) -> Bool {
                ProcessTree.carries(pid, variable) || marks.contains { $0.pid == pid && started(pid, at: $0.startedAt) }
            }
            let found = ProcessTree.allProcesses().filter { $0 != getpid() && isOrphan($0) }
            outcome.alive = found.count
            guard !found.isEmpty, left > 0 else { return outcome }
            // Held, so that no other can take the number between the look and the kill.
            for process in found.compactMap(HeldProcess.init) where isOrphan(process.pid) {
                process.kill()
                outcome.killed += 1
            }
            usleep(10_000)
            left -= 1
        }
    }

    private static func started(_ pid: pid_t, at time: Int64) -> Bool {
        guard let fields = ProcessTree.status(of: pid), fields.count > 19, fields[0] != "Z",
            let ticks = Int64(fields[19])
        else { return false }
        let start = ticks.multiplied(saturating: 1_000_000_000 / Int64(sysconf(CInt(_SC_CLK_TCK))))
        return start.subtracting(saturating: time).magnitude < tolerance
    }
}
