import EventLoop
import Glibc

/// Tells the supervisor how the server is.
///
/// Source: sd_notify(3), sd_watchdog_enabled(3). Does nothing where there is none.
final class Supervisor {
    private var socket: Descriptor?
    private var address = sockaddr_un()
    private var addressSize: socklen_t = 0
    private var ticker: Ticker?

    init() {
        guard let path = environment("NOTIFY_SOCKET"), path.utf8.count < 108,
            path.begins(with: "/") || path.begins(with: "@")
        else {
            socket = nil
            return
        }
        socket = Descriptor(
            ifOpen: Glibc.socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0))
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { target in
            target.copyBytes(from: path.utf8)
            // A name that begins with a zero byte is in no file system.
            if path.begins(with: "@") { target[0] = 0 }
        }
        addressSize = socklen_t(MemoryLayout<sa_family_t>.size + path.utf8.count)
        unsetenv("NOTIFY_SOCKET")
    }

    /// The server takes requests; from now on the watchdog hears from the loop, for as long as it turns.
    func ready(on loop: EventLoop) throws {
        guard socket != nil else { return }
        send("READY=1\nSTATUS=Serving")
        let isForUs = environment("WATCHDOG_PID").map { $0 == String(getpid()) } ?? true
        guard isForUs, let microseconds = environment("WATCHDOG_USEC").flatMap({ Int64($0) }), microseconds > 1 else {
            return
        }
        ticker = try Ticker(every: .microseconds(microseconds / 2), on: loop) { [unowned self] in send("WATCHDOG=1") }
    }

    func stopping() { send("STOPPING=1\nSTATUS=Letting running jobs finish") }

    private func send(_ message: String) {
        guard let descriptor = socket?.number else { return }
        // A manager that cannot be reached changes nothing about what we do.
        _ = message.withCString { text in
            withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    sendto(descriptor, text, strlen(text), 0, $0, addressSize)
                }
            }
        }
    }
}
