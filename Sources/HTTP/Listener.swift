import CLibevent
import CSpindle
import EventLoop
import Glibc

/// One listening socket. When descriptors run out it answers 503 with its spare one and pauses for 100 ms.
final class Listener {
    private var listener: OpaquePointer!
    private let address: ListenAddress?
    /// Of a unix socket: tells its file from one that somebody has put in its place.
    private var file = stat()
    private let accept: (CInt) -> Void
    /// Given up for a moment when there are no descriptors left, so that a client can be told.
    private var spare: CInt = open("/dev/null", O_RDONLY | O_CLOEXEC)
    private var pause: Timer?

    /// - Parameter address: What goes with the listener; nil: the socket is somebody else's, who keeps it.
    init(_ descriptor: CInt, _ address: ListenAddress?, on loop: EventLoop, accept: @escaping (CInt) -> Void)
        throws(LoopError)
    {
        self.accept = accept
        self.address = address
        if case .unix(let path)? = address { lstat(path, &file) }
        let flags = UInt32(LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC)
        let context = Unmanaged.passUnretained(self).toOpaque()
        guard let listener = evconnlistener_new(loop.base, Self.accepted, context, flags, -1, descriptor) else {
            close(descriptor)
            throw LoopError(.outOfMemory, call: "evconnlistener_new")
        }
        self.listener = listener
        evconnlistener_set_error_cb(listener, Self.failed)
        pause = try Timer(on: loop) { [unowned self] in resume() }
    }

    deinit {
        // Before it is closed: once it refuses connections, another server may take the place.
        if case .unix(let path)? = address { removeFile(path) }
        if let listener { evconnlistener_free(listener) }
        if spare >= 0 { close(spare) }
    }

    private func removeFile(_ path: String) {
        var now = stat()
        guard lstat(path, &now) == 0, now.st_ino == file.st_ino, now.st_dev == file.st_dev else { return }
        unlink(path)
    }

    /// Accepts whoever is waiting; not on a socket that stays open for the next server.
    func acceptWaiting() {
        guard address != nil else { return }
        while true {
            let descriptor = spindle_accept(evconnlistener_get_fd(listener))
            guard descriptor >= 0 else { return }
            accept(descriptor)
        }
    }

    /// Tells a client that there is no room, and closes.
    static func refuse(_ descriptor: CInt) {
        let answer =
            "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        _ = answer.withCString { spindle_send(descriptor, $0, strlen($0)) }
        close(descriptor)
    }

    private func outOfDescriptors() {
        if spare >= 0 {
            close(spare)
            let descriptor = spindle_accept(evconnlistener_get_fd(listener))
            if descriptor >= 0 { Self.refuse(descriptor) }
            spare = open("/dev/null", O_RDONLY | O_CLOEXEC)
        }
        evconnlistener_disable(listener)
        // The timer's event exists since init; arming it cannot fail for want of memory twice in a row unnoticed.
        try? pause?.arm(after: .milliseconds(100))
    }

    private func resume() { evconnlistener_enable(listener) }

    private static let accepted: evconnlistener_cb = { _, descriptor, _, _, context in
        Unmanaged<Listener>.fromOpaque(context!).takeUnretainedValue().accept(descriptor)
    }

    private static let failed: evconnlistener_errorcb = { _, context in
        let error = errno
        guard error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM else { return }
        Unmanaged<Listener>.fromOpaque(context!).takeUnretainedValue().outOfDescriptors()
    }
}
