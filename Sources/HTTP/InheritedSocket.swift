import CLibevent
import EventLoop
import Glibc

/// A listening socket that whoever started us has opened already, so that connections wait in it while servers change.
///
/// Source: sd_listen_fds(3): `LISTEN_FDS` descriptors from 3 on, if `LISTEN_PID` is us.
package struct InheritedSocket: Sendable {
    private static let first: CInt = 3
    private static let most = 1000

    let descriptor: CInt
    package let address: ListenAddress

    /// Takes over what was passed on, and makes sure that no child takes it for its own.
    package static func takeAll() throws(ListenAddress.Failure) -> [InheritedSocket] {
        defer { for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"] { unsetenv(name) } }
        func number(_ name: String) -> Int? { getenv(name).flatMap { Int(String(cString: $0)) } }
        guard number("LISTEN_PID") == Int(getpid()), let count = number("LISTEN_FDS"), count > 0 else { return [] }
        guard count <= most else {
            throw ListenAddress.Failure(description: "LISTEN_FDS says \(count); at most \(most) sockets are taken over")
        }
        var sockets: [InheritedSocket] = []
        for descriptor in first..<first + CInt(count) { sockets.append(try InheritedSocket(descriptor)) }
        return sockets
    }

    private init(_ descriptor: CInt) throws(ListenAddress.Failure) {
        var listens: CInt = 0
        var size = socklen_t(MemoryLayout<CInt>.size)
        guard getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0, listens != 0,
            let address = ListenAddress(boundTo: descriptor)
        else {
            throw ListenAddress.Failure(description: "descriptor \(descriptor) of LISTEN_FDS is no listening socket")
        }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
        self.descriptor = descriptor
        self.address = address
    }

    /// A descriptor of its own for a listener that will close it.
    func duplicate() throws(ListenAddress.Failure) -> Descriptor {
        guard let copy = Descriptor(ifOpen: fcntl(descriptor, F_DUPFD_CLOEXEC, 3)) else {
            throw ListenAddress.Failure(
                description: "cannot listen on descriptor \(descriptor): \(String(cString: strerror(errno)))")
        }
        return copy
    }
}

extension ListenAddress {
    /// The address that a socket is bound to.
    fileprivate init?(boundTo descriptor: CInt) {
        var storage = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let named = withUnsafeMutablePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &size) }
        }
        guard named == 0 else { return nil }
        switch CInt(storage.ss_family) {
        case AF_UNIX:
            let path = withUnsafeBytes(of: &storage) { String(decoding: $0[2...].prefix { $0 != 0 }, as: UTF8.self) }
            self = .unix(path: path)
        case AF_INET, AF_INET6:
            var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
            let family = CInt(storage.ss_family)
            let offset = family == AF_INET ? 4 : 8
            let port = withUnsafeBytes(of: &storage) { bytes in
                inet_ntop(family, bytes.baseAddress! + offset, &text, socklen_t(text.count))
                return UInt16(bigEndian: bytes.load(fromByteOffset: 2, as: UInt16.self))
            }
            let host = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            self = .tcp(host: host, port: port)
        default: return nil
        }
    }
}
