import EventLoop
import Glibc
import JSON
import Jobs
import Logging
import Server
import Synchronization

/// Logs as JSON lines on stderr: `{"time":…,"level":…,"message":…}`. Control bytes are escaped, so a line is a line.
struct JSONLogHandler: LogHandler {
    private let label: String
    private let writer: LogWriter
    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level

    init(label: String, _ writer: LogWriter, _ level: Logger.Level) {
        logLevel = level
        self.label = label
        self.writer = writer
    }

    subscript(metadataKey key: String) -> Logger.MetadataValue? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var line: [UInt8] = []
        line.append(#"{"time":"#)
        line.append(timestamp: Instant(nanoseconds: wallNanoseconds()))
        line.append(#","level":"#)
        line.append(jsonString: event.level.rawValue)
        line.append(#","message":"#)
        line.append(jsonString: event.message.description)
        for (key, value) in metadata.merging(event.metadata ?? [:], uniquingKeysWith: { $1 }).sorted(by: {
            $0.key < $1.key
        }) {
            line.append(",")
            line.append(jsonString: key)
            line.append(":")
            line.append(jsonString: value.description)
        }
        line.append("}\n")
        writer.write(line)
    }
}

/// Writes log lines on a thread of its own: a slow terminal or a full pipe stops no loop.
final class LogWriter: Sendable {
    /// Lines that wait; beyond it new ones are counted and dropped.
    private static let maximumWaiting = 10_000

    private struct State {
        var lines: [[UInt8]] = []
        var dropped = 0
        var isWriting = false
    }

    private let state = Mutex(State())
    private let arrived = Semaphore()

    init() {
        let writer = Unmanaged.passRetained(self).toOpaque()
        var thread = pthread_t()
        let created = pthread_create(
            &thread, nil,
            { context in
                let writer = Unmanaged<LogWriter>.fromOpaque(context!).takeUnretainedValue()
                while true { writer.writeNext() }
            }, writer)
        precondition(created == 0, "no memory for the log's thread")
        pthread_detach(thread)
        Self.current.withLock { $0 = self }
    }

    private static let current = Mutex<LogWriter?>(nil)

    /// Waits until what was logged before is written; for the end of the process.
    static func flushAll() {
        guard let writer = current.withLock({ $0 }) else { return }
        while writer.state.withLock({ !$0.lines.isEmpty || $0.isWriting }) { usleep(1000) }
    }

    func write(_ line: [UInt8]) {
        let first = state.withLock { state in
            guard state.lines.count < Self.maximumWaiting else {
                state.dropped += 1
                return false
            }
            state.lines.append(line)
            return state.lines.count == 1
        }
        if first { arrived.post() }
    }

    private func writeNext() {
        arrived.wait()
        var (lines, dropped) = state.withLock { state in
            defer { (state.lines, state.dropped, state.isWriting) = ([], 0, true) }
            return (state.lines, state.dropped)
        }
        if dropped > 0 {
            lines.append(Array("{\"level\":\"warning\",\"message\":\"\(dropped) log lines dropped\"}\n".utf8))
        }
        for line in lines { writeWhole(line) }
        state.withLock { $0.isWriting = false }
    }

    private func writeWhole(_ line: [UInt8]) {
        var start = 0
        while start < line.count {
            let count = line.withUnsafeBytes { Glibc.write(2, $0.baseAddress! + start, $0.count - start) }
            if count < 0, errno != EINTR { return }
            start += max(count, 0)
        }
    }
}

/// A POSIX semaphore, on the heap because it may not move.
// Guard: POSIX makes every operation on a semaphore safe from any thread.
private final class Semaphore: @unchecked Sendable {
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

    init() { sem_init(semaphore, 0, 0) }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    func post() { sem_post(semaphore) }
    func wait() { while sem_wait(semaphore) != 0 {} }
}
