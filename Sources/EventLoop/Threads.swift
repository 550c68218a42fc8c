import Glibc

/// Starts a thread that nobody waits for; it ends with `body`.
///
/// - Parameters:
///   - name: As `ps -L` and `perf` show it, at most 15 bytes.
///   - stackBytes: nil: as the system has it.
/// - Returns: False when there are none left: the user's (RLIMIT_NPROC), the container's, or memory for one.
package func startThread(
    named name: String, stackBytes: Int? = nil, _ body: @escaping @Sendable () -> Void
) -> Bool {
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    if let stackBytes { pthread_attr_setstacksize(&attributes, stackBytes) }
    pthread_attr_setdetachstate(&attributes, CInt(PTHREAD_CREATE_DETACHED))
    let start = Unmanaged.passRetained(ThreadStart(name, body))
    var thread = pthread_t()
    let code = pthread_create(
        &thread, &attributes,
        { context in
            let start = Unmanaged<ThreadStart>.fromOpaque(context!).takeRetainedValue()
            // Source: proc(5), `comm`. Where /proc is not there, it has no name.
            if let file = Descriptor(opening: "/proc/thread-self/comm", O_WRONLY) {
                _ = file.write(all: start.name.utf8)
            }
            start.body()
            return nil
        }, start.toOpaque())
    if code != 0 { start.release() }
    return code == 0
}

/// Starts a thread without which nothing goes on; where there is none, the process says so and ends with 71.
///
/// Source: sysexits.h, EX_OSERR.
package func requireThread(named name: String, _ body: @escaping @Sendable () -> Void) {
    if !startThread(named: name, body) { endWithoutThreads(for: name) }
}

/// - Parameter purpose: What they were to be for.
package func endWithoutThreads(for purpose: String) -> Never {
    let why =
        "spindle: no thread left for \(purpose): see ulimit -u, the container's limit of processes, and memory\n"
    write(STDERR_FILENO, why, why.utf8.count)
    _exit(71)
}

private final class ThreadStart: Sendable {
    let name: String
    let body: @Sendable () -> Void

    init(_ name: String, _ body: @escaping @Sendable () -> Void) {
        self.name = String(decoding: name.utf8.prefix(15), as: UTF8.self)
        self.body = body
    }
}
