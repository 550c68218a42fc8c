import CSpindle
import EventLoop
import Glibc
import Jobs

/// Who descends from whom, as /proc has it at one moment.
struct ProcessTree {
    /// One process of it.
    struct Member {
        let pid: pid_t
        let parent: pid_t
        let session: pid_t
        let hasTerminal: Bool
        /// Since the machine started.
        let startTicks: Int64
        let residentBytes: UInt64

        /// In nanoseconds since the machine started.
        var startedAt: Int64 { startTicks.multiplied(saturating: ProcessTree.tick) }

        /// Ends it, unless it has ended and another has taken its number since the reading.
        func kill() {
            guard let process = HeldProcess(pid), let now = ProcessTree.status(of: pid), now.count > 19,
                Int64(now[19]) == startTicks
            else { return }
            process.kill()
        }
    }

    private static let tick = 1_000_000_000 / Int64(sysconf(CInt(_SC_CLK_TCK)))

    private var children: [pid_t: [Member]] = [:]

    /// Reads all processes; those that have ended and wait for their parents' attention are left out.
    ///
    /// Takes some microseconds for each process of the machine.
    init() {
        let page = UInt64(sysconf(CInt(_SC_PAGESIZE)))
        for pid in Self.allProcesses() {
            guard let fields = Self.status(of: pid), fields.count > 21, let parent = Int32(fields[1]),
                let session = Int32(fields[3]), let startTicks = Int64(fields[19])
            else { continue }
            // One whose first thread has ended looks the same, and goes on in the others.
            if fields[0] == "X" || fields[0] == "Z" && (Int(fields[17]) ?? 0) <= 1 { continue }
            let member = Member(
                pid: pid, parent: parent, session: session, hasTerminal: fields[4] != "0", startTicks: startTicks,
                residentBytes: (UInt64(fields[21]) ?? 0).multiplied(saturating: page))
            children[parent, default: []].append(member)
        }
    }

    /// All of this machine, or of this container.
    var members: [Member] { children.values.flatMap { $0 } }

    /// All below `pid`, without what is below an `owned` one of them.
    func descendants(of pid: pid_t, notBelow owned: Set<pid_t> = []) -> [Member] {
        var found: [Member] = []
        var next = children[pid] ?? []
        while let member = next.popLast() {
            // Our own number can stand there when its owner before us has ended while we read.
            if member.pid == pid || owned.contains(member.pid) { continue }
            found.append(member)
            next += children[member.pid] ?? []
        }
        return found
    }

    /// Resident memory of a process, where what several share counts for each in part; nil where that cannot be read.
    ///
    /// Far dearer than ``Member/residentBytes``. Source: proc(5), `smaps_rollup`.
    static func proportionalBytes(of pid: pid_t) -> UInt64? {
        guard let text = contents(of: "/proc/\(pid)/smaps_rollup") else { return nil }
        guard let line = text.parts(at: "\n").first(where: { $0.begins(with: "Pss:") }) else { return nil }
        return line.parts(at: " ").dropFirst().first.flatMap { UInt64($0) }.map {
            $0.multiplied(saturating: 1024)
        }
    }

    /// The fields of `/proc/PID/stat` from the third, the state, on; the second, a name in parentheses, may hold anything.
    /// Source: proc(5).
    static func status(of pid: pid_t) -> [Substring]? {
        guard let parts = contents(of: "/proc/\(pid)/stat")?.cut(atLast: ")") else { return nil }
        return parts.after.parts(at: " ")
    }

    /// All processes, at this moment.
    static func allProcesses() -> [pid_t] {
        guard let directory = opendir("/proc") else { return [] }
        defer { closedir(directory) }
        var processes: [pid_t] = []
        while let entry = readdir(directory) {
            let pid = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { Int32(String(cString: $0)) }
            }
            if let pid { processes.append(pid) }
        }
        return processes
    }

    /// What stands in RLIMIT_LOCKS of a process, unless that is no limit; see ``Mark``.
    static func brand(of pid: pid_t) -> UInt64? {
        let line = contents(of: "/proc/\(pid)/limits")?.parts(at: "\n").first { $0.begins(with: "Max file locks") }
        guard let words = line?.parts(at: " "), words.count > 4 else { return nil }
        return UInt64(words[4])
    }

    /// Whether a process was started with `variable`, `NAME=value`, or descends from one that was.
    ///
    /// Of another user's process, or of one that has ended, nothing can be read.
    static func carries(_ pid: pid_t, _ variable: String) -> Bool {
        environment(of: pid).contains { $0.utf8.elementsEqual(variable.utf8) }
    }

    /// What `name` is for a process, by its environment as above.
    static func variable(_ name: String, of pid: pid_t) -> String? {
        environment(of: pid).first { $0.begins(with: name + "=") }
            .flatMap { $0.cut(at: "=") }.map { String($0.after) }
    }

    private static func environment(of pid: pid_t) -> [Substring] {
        contents(of: "/proc/\(pid)/environ", limit: 256 << 10)?.parts(at: "\0") ?? []
    }

    /// - Parameter limit: Bytes read at most.
    static func contents(of path: String, limit: Int = 4096) -> String? {
        guard let file = Descriptor(opening: path, O_RDONLY) else { return nil }
        return withUnsafeTemporaryAllocation(byteCount: limit, alignment: 1) { buffer in
            var filled = 0
            while filled < limit {
                let count = read(file.number, buffer.baseAddress! + filled, limit - filled)
                guard count > 0 else { break }
                filled += count
            }
            return filled > 0 ? String(decoding: buffer[..<filled], as: UTF8.self) : nil
        }
    }
}

/// A process held by a pidfd, so that no other can take its number.
final class HeldProcess {
    let pid: pid_t
    private let pidfd: Descriptor

    init?(_ pid: pid_t) {
        guard let pidfd = Descriptor(ifOpen: spindle_pidfd_open(pid)) else { return nil }
        self.pid = pid
        self.pidfd = consume pidfd
    }

    func kill() { spindle_pidfd_signal(pidfd.number, SIGKILL) }
}
