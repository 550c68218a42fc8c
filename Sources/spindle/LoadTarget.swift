import EventLoop
import Glibc
import JSON

/// Where the load goes: an address to connect to, and the bytes of the request.
struct LoadTarget {
    let name: String
    private let host: String
    private let port: String
    private let path: String?
    private let token: String?

    init(_ options: ClientOptions) throws {
        let url = options.url ?? environment("SPINDLE_URL") ?? "http://127.0.0.1:8080"
        name = url
        token = try options.token(for: url)
        if let path = url.rest(after: "unix:") {
            (self.path, host, port) = (String(path), "localhost", "")
            return
        }
        guard let rest = url.rest(after: "http://") else {
            throw CommandFailure(.usage, "bench speaks plain HTTP: \"\(url)\" is no http:// or unix: address")
        }
        path = nil
        let authority = rest.cut(at: "/")?.before ?? rest
        let named = authority.cut(atLast: ":").flatMap { $0.after.holds("]") ? nil : $0 }
        host = String(named?.before ?? authority)
        port = named.map { String($0.after) } ?? "80"
    }

    func request(task: String, pool: String, input: [UInt8]) -> [UInt8] {
        var head = "POST /v1/run/\(percentEncoded(task))?pool=\(percentEncoded(pool)) HTTP/1.1\r\nHost: \(host)"
        head += port.isEmpty ? "\r\n" : ":\(port)\r\n"
        if let token { head += "Authorization: Bearer \(token)\r\n" }
        head += "Content-Type: application/json\r\nContent-Length: \(input.count)\r\n\r\n"
        return Array(head.utf8) + input
    }

    /// A connected socket that does not block; nil when nobody answers.
    func connect() -> Descriptor? {
        if let path { return connectUnix(path) }
        var hints = addrinfo()
        hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        let name = String(host.inside("[", "]"))
        guard getaddrinfo(name, port, &hints, &found) == 0, let info = found else { return nil }
        defer { freeaddrinfo(found) }
        guard let connected = Descriptor(ifOpen: socket(info.pointee.ai_family, info.pointee.ai_socktype, 0)),
            Glibc.connect(connected.number, info.pointee.ai_addr, info.pointee.ai_addrlen) == 0
        else { return nil }
        var one: CInt = 1
        setsockopt(connected.number, CInt(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<CInt>.size))
        _ = fcntl(connected.number, F_SETFL, O_NONBLOCK)
        return connected
    }

    private func connectUnix(_ path: String) -> Descriptor? {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix(107)) }
        guard let connected = Descriptor(ifOpen: socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)) else { return nil }
        let size = socklen_t(MemoryLayout<sockaddr_un>.size)
        let code = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { Glibc.connect(connected.number, $0, size) }
        }
        guard code == 0 else { return nil }
        _ = fcntl(connected.number, F_SETFL, O_NONBLOCK)
        return connected
    }
}
