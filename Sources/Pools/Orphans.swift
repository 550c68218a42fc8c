import CSpindle
import Glibc
import Jobs

/// What children of a server that died have left behind: found and killed before anything runs again.
///
/// Direct children die with their server; what they started does not. It is known by its ``Brand``, by what it carries in its
/// environment, by the session that it has from its child, or by what it descends from.
package enum Orphans {
    /// In the environment of each child, with the server's name.
    package static let variable = "SPINDLE_OWNER"

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
    ///   - owner: The name of the server that died.
    ///   - marks: Children by number and by nanoseconds since the machine started; each leads a session.
    ///   - seconds: How long to wait.
    package static func kill(
        of owner: String, orMarked marks: [(pid: Int32, startedAt: Int64)], within seconds: Double
    ) -> Outcome {
        let childStarts = Dictionary(marks.map { ($0.pid, $0.startedAt) }) { max($0, $1) }
        var outcome = Outcome()
        var left = Int(saturating: seconds * 100)
        // What is found may be starting something else at this moment: look until nothing is found.
        while true {
            let found = orphans(in: ProcessTree(), of: owner, orIn: childStarts)
            outcome.alive = found.count
            guard !found.isEmpty, left > 0 else { return outcome }
            for process in found { process.kill() }
            outcome.killed += found.count
            usleep(10_000)
            left -= 1
        }
    }

    private static func orphans(
        in tree: ProcessTree, of owner: String, orIn childStarts: [pid_t: Int64]
    ) -> [ProcessTree.Member] {
        let brand = Brand(of: owner)
        let all = Dictionary(tree.members.map { ($0.pid, $0) }) { first, _ in first }
        let roots = all.values.filter {
            $0.pid != getpid()
                && (isIn(childStarts, $0, among: all) || brand.isOn($0.pid)
                    || ProcessTree.carries($0.pid, "\(variable)=\(owner)"))
        }
        var found = Dictionary(roots.map { ($0.pid, $0) }) { first, _ in first }
        for root in roots {
            for member in tree.descendants(of: root.pid, notBelow: [getpid()]) { found[member.pid] = member }
        }
        return Array(found.values)
    }

    /// Whether a process is one of the children, or has its session from one.
    private static func isIn(
        _ childStarts: [pid_t: Int64], _ process: ProcessTree.Member, among all: [pid_t: ProcessTree.Member]
    ) -> Bool {
        func isChild(_ member: ProcessTree.Member) -> Bool {
            childStarts[member.pid].map { member.startedAt.subtracting(saturating: $0).magnitude < tolerance } ?? false
        }
        if isChild(process) { return true }
        guard let start = childStarts[process.session] else { return false }
        if let leader = all[process.session] { return isChild(leader) }
        // No other process takes the number of a session that has members. After the last one it may be taken: by somebody at
        // a terminal, or in a container that was started again and counts anew.
        return !process.hasTerminal && process.startedAt > start.subtracting(saturating: tolerance)
            && (all[1].map { $0.startedAt < start } ?? true)
    }
}
