import CLibevent
import EventLoop
import Glibc

/// Where a server listens: `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080` or `unix:/run/spindle.sock`.
package enum ListenAddress: Sendable, Equatable, CustomStringConvertible {
    case tcp(host: String, port: UInt16)
    case unix(path: String)

    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    package init(_ text: String) throws(Failure) {
        if let path = text.rest(after: "unix:").map(String.init) {
            guard !path.isEmpty, path.utf8.count < 108 else {
                throw Failure(description: "\"\(text)\": a socket's path has 1 to 107 bytes")
            }
            self = .unix(path: path)
            return
        }
        guard let parts = text.cut(atLast: ":"), let port = UInt16(parts.after) else {
            throw Failure(description: "\"\(text)\" is no ADDR:PORT or unix:PATH (port 0 to 65535)")
        }
        let host = String(parts.before.inside("[", "]"))
        guard !host.isEmpty, host != "*" else {
            throw Failure(description: "\"\(text)\" names no address; 0.0.0.0:\(port) means all of this machine")
        }
        self = .tcp(host: host, port: port)
    }

    /// Reachable from this machine only.
    package var isLocal: Bool {
        switch self {
        case .unix: true
        case .tcp(let host, _): host == "localhost" || host == "::1" || host.begins(with: "127.")
        }
    }

    package var host: String? {
        switch self {
        case .unix: nil
        case .tcp(let host, _): host
        }
    }

    package var description: String {
        switch self {
        case .unix(let path): "unix:\(path)"
        case .tcp(let host, let port): host.holds(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        }
    }

    /// Opens a listening socket.
    ///
    /// - Parameters:
    ///   - shared: With `SO_REUSEPORT`, so that each loop has a listener of its own.
    ///   - taken: Becomes the address with the port that was really taken.
    func open(shared: Bool, _ taken: inout ListenAddress) throws(Failure) -> Descriptor {
        taken = self
        switch self {
        case .unix(let path): return try Self.openUnix(path)
        case .tcp(let host, let port):
            let descriptor = try Self.openTCP(host, port, shared: shared)
            taken = .tcp(host: host, port: Self.boundPort(descriptor.number) ?? port)
            return descriptor
        }
    }

    private static func openTCP(
        _ host: String, _ port: UInt16, shared: Bool
    ) throws(Failure) -> Descriptor {
        var hints = addrinfo()
        hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
        hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, String(port), &hints, &found) == 0, let info = found else {
            throw Failure(description: "cannot listen on \(host): no such address")
        }
        defer { freeaddrinfo(found) }
        let type = CInt(SOCK_STREAM.rawValue) | CInt(SOCK_NONBLOCK.rawValue) | CInt(SOCK_CLOEXEC.rawValue)
        guard let owned = Descriptor(ifOpen: socket(info.pointee.ai_family, type, 0)) else {
            throw failed("socket", host, port)
        }
        let descriptor = owned.number
        var one: CInt = 1
        let size = socklen_t(MemoryLayout<CInt>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, size)
        if shared { setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &one, size) }
        guard bind(descriptor, info.pointee.ai_addr, info.pointee.ai_addrlen) == 0, Glibc.listen(descriptor, 4096) == 0
        else {
            throw failed("bind", host, port)
        }
        return owned
    }

    private static func openUnix(_ path: String) throws(Failure) -> Descriptor {
        func failed() -> Failure {
            Failure(description: "cannot listen on unix:\(path): \(String(cString: strerror(errno)))")
        }
        let type = CInt(SOCK_STREAM.rawValue) | CInt(SOCK_NONBLOCK.rawValue) | CInt(SOCK_CLOEXEC.rawValue)
        guard let owned = Descriptor(ifOpen: socket(AF_UNIX, type, 0)) else { throw failed() }
        let descriptor = owned.number
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let size = socklen_t(MemoryLayout<sockaddr_un>.size)
        try clear(path, for: &address)
        // The file gets the mode of the socket: nobody can connect in between. Source: net/unix/af_unix.c, unix_bind_bsd.
        fchmod(descriptor, 0o600)
        let bound = withSockaddr(&address) { bind(descriptor, $0, size) }
        guard bound == 0, Glibc.listen(descriptor, 4096) == 0 else { throw failed() }
        return owned
    }

    /// Takes away a socket that a server has left which died. Nothing else: no file, and no socket that somebody serves.
    private static func clear(_ path: String, for address: inout sockaddr_un) throws(Failure) {
        func refused(_ why: String) -> Failure { Failure(description: "cannot listen on unix:\(path): \(why)") }
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFSOCK else { throw refused("there is something that is no socket") }
        let type = CInt(SOCK_STREAM.rawValue) | CInt(SOCK_NONBLOCK.rawValue) | CInt(SOCK_CLOEXEC.rawValue)
        guard let probe = Descriptor(ifOpen: socket(AF_UNIX, type, 0)) else {
            throw refused(String(cString: strerror(errno)))
        }
        let size = socklen_t(MemoryLayout<sockaddr_un>.size)
        let number = probe.number
        let code = withSockaddr(&address) { connect(number, $0, size) }
        // Full is as good as served: somebody listens, and has much to do.
        if code == 0 || errno == EAGAIN { throw refused("another server listens there") }
        guard errno == ECONNREFUSED else { throw refused(String(cString: strerror(errno))) }
        unlink(path)
    }

    private static func withSockaddr<Result>(
        _ address: inout sockaddr_un, _ body: (UnsafePointer<sockaddr>) -> Result
    ) -> Result {
        withUnsafePointer(to: &address) { $0.withMemoryRebound(to: sockaddr.self, capacity: 1, body) }
    }

    private static func boundPort(_ descriptor: CInt) -> UInt16? {
        var storage = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let named = withUnsafeMutablePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &size) }
        }
        guard named == 0 else { return nil }
        // The port stands at the same place for both families.
        return withUnsafeBytes(of: &storage) { UInt16(bigEndian: $0.load(fromByteOffset: 2, as: UInt16.self)) }
    }

    private static func failed(_ call: String, _ host: String, _ port: UInt16) -> Failure {
        Failure(description: "cannot listen on \(host):\(port): \(String(cString: strerror(errno)))")
    }
}
