import CLibevent
import CSpindle
import EventLoop
import Glibc

/// One listening socket. When descriptors run out it answers 503 with its spare one and pauses for 100 ms.
final class Listener {
    private var listener: OpaquePointer?
    private let descriptor: Descriptor
    private let address: ListenAddress?
    /// Of a unix socket: tells its file from one that somebody has put in its place.
    private var file = stat()
    private let accept: (consuming Descriptor) -> Void
    /// Given up for a moment when there are no descriptors left, so that a client can be told.
    private var spare = Listener.makeSpare()
    private var pause: Timer?

    /// - Parameter address: What goes with the listener; nil: the socket is somebody else's, who keeps it.
    init(
        _ descriptor: consuming Descriptor, _ address: ListenAddress?, on loop: EventLoop,
        accept: @escaping (consuming Descriptor) -> Void
    ) throws(LoopError) {
        self.accept = accept
        self.address = address
        self.descriptor = consume descriptor
        if case .unix(let path)? = address { lstat(path, &file) }
        // Enabled by hand: whether that has worked, nobody else would say.
        let flags = UInt32(LEV_OPT_CLOSE_ON_EXEC) | UInt32(LEV_OPT_DISABLED)
        let context = Unmanaged.passUnretained(self).toOpaque()
        listener = evconnlistener_new(loop.base, Self.accepted, context, flags, -1, self.descriptor.number)
        guard let listener else { throw LoopError(.outOfMemory, call: "evconnlistener_new") }
        evconnlistener_set_error_cb(listener, Self.failed)
        guard evconnlistener_enable(listener) == 0 else {
            throw LoopError(.notScheduled, call: "evconnlistener_enable")
        }
        pause = try Timer(on: loop) { [unowned self] in resume() }
    }

    deinit {
        // Before it is closed: once it refuses connections, another server may take the place.
        if case .unix(let path)? = address { removeFile(path) }
        if let listener { evconnlistener_free(listener) }
    }

    private static func makeSpare() -> Descriptor? { Descriptor(ifOpen: open("/dev/null", O_RDONLY | O_CLOEXEC)) }

    private func removeFile(_ path: String) {
        var now = stat()
        guard lstat(path, &now) == 0, now.st_ino == file.st_ino, now.st_dev == file.st_dev else { return }
        unlink(path)
    }

    /// Accepts whoever is waiting; not on a socket that stays open for the next server.
    func acceptWaiting() {
        guard address != nil else { return }
        while true {
            guard let accepted = Descriptor(ifOpen: spindle_accept(descriptor.number)) else { return }
            accept(accepted)
        }
    }

    /// Tells a client that there is no room, and closes.
    static func refuse(_ descriptor: consuming Descriptor) {
        let answer =
            "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        _ = answer.withCString { spindle_send(descriptor.number, $0, strlen($0)) }
    }

    private func outOfDescriptors() {
        if spare != nil {
            spare = nil
            if let accepted = Descriptor(ifOpen: spindle_accept(descriptor.number)) { Self.refuse(accepted) }
        }
        // One that could not be had before may be there now.
        spare = Self.makeSpare()
        if let listener { evconnlistener_disable(listener) }
        // The timer's event exists since init; arming it cannot fail for want of memory twice in a row unnoticed.
        try? pause?.arm(after: .milliseconds(100))
    }

    private func resume() {
        // Without memory for that now: tried again, as the timer's event exists.
        if let listener, evconnlistener_enable(listener) != 0 { try? pause?.arm(after: .milliseconds(100)) }
    }

    private static let accepted: evconnlistener_cb = { _, descriptor, _, _, context in
        Unmanaged<Listener>.fromOpaque(context!).takeUnretainedValue().accept(Descriptor(owning: descriptor))
    }

    private static let failed: evconnlistener_errorcb = { _, context in
        let error = errno
        guard error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM else { return }
        Unmanaged<Listener>.fromOpaque(context!).takeUnretainedValue().outOfDescriptors()
    }
}
