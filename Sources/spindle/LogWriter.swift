import EventLoop
import Glibc
import Synchronization

/// Writes log lines on a thread of its own: a slow terminal or a full pipe stops no loop.
final class LogWriter: Sendable {
    /// Lines that wait, and their bytes; beyond either new ones are counted and dropped.
    private static let maximumWaiting = 10_000
    private static let maximumBytes = 4 << 20
    /// How long the end of the process waits for whoever reads the log, in milliseconds.
    private static let lastPatience = 500

    private struct State {
        var lines: [[UInt8]] = []
        var bytes = 0
        var dropped = 0
        var isWriting = false
    }

    private let state = Mutex(State())
    private let arrived = Semaphore()

    init() {
        requireThread(named: "log") { [self] in
            while true { writeNext() }
        }
        Self.current.withLock { $0 = self }
    }

    private static let current = Mutex<LogWriter?>(nil)

    /// Waits until what was logged before is written; for the end of the process. A log that nobody reads does not keep it.
    static func flushAll() {
        guard let writer = current.withLock({ $0 }) else { return }
        for _ in 0..<lastPatience where writer.state.withLock({ !$0.lines.isEmpty || $0.isWriting }) { usleep(1000) }
    }

    func write(_ line: [UInt8]) {
        let first = state.withLock { state in
            guard state.lines.count < Self.maximumWaiting, state.bytes + line.count <= Self.maximumBytes else {
                state.dropped += 1
                return false
            }
            state.lines.append(line)
            state.bytes += line.count
            return state.lines.count == 1
        }
        if first { arrived.post() }
    }

    private func writeNext() {
        arrived.wait()
        var (lines, dropped) = state.withLock { state in
            defer { (state.lines, state.bytes, state.dropped, state.isWriting) = ([], 0, 0, true) }
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
            if count < 0, errno == EAGAIN {
                // Somebody has made the descriptor one that does not block; here it may.
                var wish = pollfd(fd: 2, events: Int16(POLLOUT), revents: 0)
                poll(&wish, 1, -1)
            } else if count < 0, errno != EINTR {
                return
            }
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
