import CSpindle
import Glibc

/// Who descends from whom, as /proc has it.
enum ProcessTree {
    /// One process, held by a pidfd so that no other can take its number.
    struct Process: ~Copyable {
        let pid: pid_t
        private let pidfd: CInt

        init?(_ pid: pid_t) {
            let pidfd = spindle_pidfd_open(pid)
            guard pidfd >= 0 else { return nil }
            self.pid = pid
            self.pidfd = pidfd
        }

        deinit { close(pidfd) }

        borrowing func kill() { spindle_pidfd_signal(pidfd, SIGKILL) }
    }

    /// A box, because arrays hold no noncopyable values.
    final class Held {
        private let process: Process
        init?(_ pid: pid_t) {
            guard let process = Process(pid) else { return nil }
            self.process = process
        }
        func kill() { process.kill() }
    }

    /// All processes below `pid`, at this moment.
    static func descendants(of pid: pid_t) -> [Held] {
        var children: [pid_t: [pid_t]] = [:]
        for process in allProcesses() {
            if let parent = parent(of: process) { children[parent, default: []].append(process) }
        }
        var found: [Held] = []
        var next = children[pid] ?? []
        while let process = next.popLast() {
            if let held = Held(process) { found.append(held) }
            next.append(contentsOf: children[process] ?? [])
        }
        return found
    }

    static func residentBytes(of pid: pid_t) -> UInt64 {
        guard let text = contents(of: "/proc/\(pid)/statm") else { return 0 }
        let fields = text.split(separator: " ")
        guard fields.count > 1, let pages = UInt64(fields[1]) else { return 0 }
        return pages * UInt64(sysconf(CInt(_SC_PAGESIZE)))
    }

    /// All processes, at this moment.
    static func allProcesses() -> [pid_t] {
        guard let directory = opendir("/proc") else { return [] }
        defer { closedir(directory) }
        var processes: [pid_t] = []
        while let entry = readdir(directory) {
            let pid = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { pid_t(String(cString: $0)) }
            }
            if let pid { processes.append(pid) }
        }
        return processes
    }

    /// The fourth field of stat; the second, a name in parentheses, may hold anything.
    private static func parent(of pid: pid_t) -> pid_t? {
        guard let text = contents(of: "/proc/\(pid)/stat"), let end = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        return fields.count > 1 ? pid_t(fields[1]) : nil
    }

    /// - Parameter limit: Bytes read at most.
    static func contents(of path: String, limit: Int = 4096) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        return withUnsafeTemporaryAllocation(byteCount: limit, alignment: 1) { buffer in
            var filled = 0
            while filled < limit {
                let count = read(descriptor, buffer.baseAddress! + filled, limit - filled)
                guard count > 0 else { break }
                filled += count
            }
            return filled > 0 ? String(decoding: buffer[..<filled], as: UTF8.self) : nil
        }
    }
}
