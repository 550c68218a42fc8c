import EventLoop
import Glibc
import Jobs

/// The memory that this process may use: the machine's, or less where a control group says so.
enum Memory {
    /// A quarter of it, as a setting.
    static var quarter: String { "\(max(bytes >> 22, 16))MiB" }

    static var bytes: UInt64 {
        let pages = sysconf(CInt(_SC_PHYS_PAGES))
        let size = sysconf(CInt(_SC_PAGESIZE))
        let machine = pages > 0 && size > 0 ? UInt64(pages).multiplied(saturating: UInt64(size)) : 1 << 30
        return min(machine, groupLimits().min() ?? machine)
    }

    /// Limits of our control group and of those above it, in bytes.
    ///
    /// Source: cgroups(7); Documentation/admin-guide/cgroup-v2.rst, "memory.max"; for version 1 memory.limit_in_bytes.
    private static func groupLimits() -> [UInt64] {
        let lines = (readTextFile("/proc/self/cgroup") ?? "").parts(at: "\n")
        return lines.flatMap { line -> [UInt64] in
            let fields = line.parts(at: ":", most: 3, keepingEmpty: true)
            guard fields.count == 3 else { return [] }
            let isUnified = fields[1].isEmpty
            guard isUnified || fields[1].parts(at: ",").contains("memory") else { return [] }
            let root = isUnified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory"
            let file = isUnified ? "memory.max" : "memory.limit_in_bytes"
            var path = fields[2].parts(at: "/")
            var limits: [UInt64] = []
            while true {
                let directory = ([root] + path.map(String.init)).joined(separator: "/")
                // "max", and what a namespace hides from us, is no limit.
                if let text = readTextFile("\(directory)/\(file)"), let line = text.parts(at: "\n").first,
                    let limit = UInt64(line)
                {
                    limits.append(limit)
                }
                guard path.popLast() != nil else { return limits }
            }
        }
    }
}
