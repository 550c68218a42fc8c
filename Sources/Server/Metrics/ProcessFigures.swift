import EventLoop
import Glibc
import HTTP
import Pools

/// What the kernel counts of this process, under the names that all Prometheus clients give it.
struct ProcessFigures: Sendable {
    var cpuSeconds = 0.0
    var residentBytes = 0.0
    var virtualBytes = 0.0
    var openDescriptors = 0.0
    var maximumDescriptors = 0.0

    /// Reads `/proc`, which takes as long as there are descriptors: not on a loop's thread.
    static func read() -> ProcessFigures {
        var figures = ProcessFigures()
        figures.cpuSeconds = Double(clock()) / 1e6  // POSIX has CLOCKS_PER_SEC at a million everywhere
        var limit = rlimit()
        if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
            figures.maximumDescriptors = Double(limit.rlim_cur)
        }
        if let file = fopen("/proc/self/statm", "re") {
            defer { fclose(file) }
            var line = [CChar](repeating: 0, count: 256)
            if fgets(&line, CInt(line.count), file) != nil {
                let words = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
                    .parts(at: " ").compactMap { Double($0) }
                let page = Double(sysconf(CInt(_SC_PAGESIZE)))
                if words.count > 1 {
                    (figures.virtualBytes, figures.residentBytes) = (words[0] * page, words[1] * page)
                }
            }
        }
        if let directory = opendir("/proc/self/fd") {
            defer { closedir(directory) }
            // Its own entries are not ours: `.`, `..` and the descriptor that reads them.
            var count = -3
            while readdir(directory) != nil { count += 1 }
            figures.openDescriptors = Double(max(count, 0))
        }
        return figures
    }
}

extension PrometheusText {
    mutating func append(_ figures: ProcessFigures, startedAt: Double) {
        family("process_cpu_seconds_total", "counter", "User and system time, in seconds.", figures.cpuSeconds)
        family("process_resident_memory_bytes", "gauge", "Memory in use, in bytes.", figures.residentBytes)
        family("process_virtual_memory_bytes", "gauge", "Address space in use, in bytes.", figures.virtualBytes)
        family("process_open_fds", "gauge", "Open descriptors.", figures.openDescriptors)
        family("process_max_fds", "gauge", "Descriptors that may be open.", figures.maximumDescriptors)
        family("process_start_time_seconds", "gauge", "When the server started, in seconds since 1970.", startedAt)
    }
}

/// Reads the figures on a thread of their own: one at a time, however many ask.
final class ProcessFigureReader {
    private let loop: EventLoop
    private let errands = Errands("figures")
    private var readers: [(ProcessFigures) -> Void] = []

    init(on loop: EventLoop) { self.loop = loop }

    func read(_ then: @escaping (ProcessFigures) -> Void) {
        readers.append(then)
        guard readers.count == 1 else { return }
        errands.run(on: loop) {
            ProcessFigures.read()
        } then: { [unowned self] in
            tell($0)
        }
    }

    private func tell(_ figures: ProcessFigures) {
        let all = readers
        readers = []
        for reader in all { reader(figures) }
    }
}
