import CSpindle
import EventLoop
import Glibc

/// A socket's own bytes: libevent says when, `recv` and `send` move them.
final class PlainTransport: Transport {
    /// nil once it is closed.
    private var owned: Descriptor?
    private let descriptor: CInt
    private let loop: EventLoop
    private let buffer: ReadBuffer
    /// The connection, which owns this transport and closes it before it goes.
    private unowned(unsafe) let owner: any TransportOwner
    private var reading: Watch?
    private var writing: Watch?
    private var isWaitingForRoom = false
    /// While nothing is read: notices that the peer is gone.
    private var ending: Watch?

    /// Takes the descriptor over and starts reading.
    init(
        _ descriptor: consuming Descriptor, on loop: EventLoop, buffer: ReadBuffer, owner: any TransportOwner
    ) throws(LoopError) {
        self.descriptor = descriptor.number
        owned = consume descriptor
        self.loop = loop
        self.buffer = buffer
        self.owner = owner
        let watch = try Watch(self.descriptor, for: .readable, on: loop) { [unowned(unsafe) self] _ in read() }
        try watch.start()
        reading = consume watch
    }

    deinit { close() }

    private var isClosed: Bool { owned == nil }
    let backlog = 0
    var hasUnread: Bool { !isClosed && spindle_has_unread(descriptor) != 0 }

    func write(_ bytes: UnsafeRawBufferPointer) -> Int {
        guard !isClosed else { return bytes.count }
        let count = spindle_send(descriptor, bytes.baseAddress, bytes.count)
        // A broken connection takes everything: its end is reported by reading.
        if count < 0, errno != EAGAIN, errno != EINTR { return bytes.count }
        let taken = max(count, 0)
        if taken < bytes.count { waitUntilWritable() }
        return taken
    }

    func pauseReading() {
        guard !isClosed else { return }
        reading?.pause()
        watchForEnd()
    }

    func resumeReading() {
        guard !isClosed else { return }
        ending = nil
        writing = nil
        // The event exists already; only a lack of memory could keep it from being added again.
        guard (try? reading?.start()) != nil else { return end() }
        if isWaitingForRoom { waitUntilWritable() }
    }

    func finishWriting() { if !isClosed { shutdown(descriptor, CInt(SHUT_WR)) } }

    func close() {
        // What watches it goes first.
        reading = nil
        writing = nil
        ending = nil
        owned = nil
    }

    private func read() {
        let count = recv(descriptor, buffer.bytes.baseAddress, ReadBuffer.size, 0)
        if count > 0 {
            owner.transportDidRead(UnsafeBufferPointer(rebasing: buffer.bytes[..<count]))
        } else if count == 0 {
            reading = nil
            watchForEnd()
            look()
        } else if errno != EAGAIN && errno != EINTR {
            end()
        }
    }

    /// Watches for a reset. What there is to read already must not wake the loop again and again: hence on the edge.
    private func watchForEnd() {
        writing = nil
        let watch = try? Watch(
            descriptor, for: [.readable, .edge], on: loop, fire: { [unowned(unsafe) self] _ in look() })
        // Without memory for a watch the peer's end is seen at the next write's deadline.
        if let watch, (try? watch.start()) != nil { ending = consume watch }
        if isWaitingForRoom { waitUntilWritable() }
    }

    private func look() {
        switch spindle_peer(descriptor) {
        case SPINDLE_PEER_GONE: end()
        case SPINDLE_PEER_FINISHED: owner.transportDidFinish()
        default: break  // somebody has sent more
        }
    }

    private func end() {
        reading = nil
        ending = nil
        owner.transportDidEnd()
    }

    private func waitUntilWritable() {
        isWaitingForRoom = true
        if writing == nil {
            // Without memory for a watch the connection stalls and its deadline closes it.
            let readiness: Readiness = ending == nil ? .writable : [.writable, .edge]
            guard
                let watch = try? Watch(
                    descriptor, for: readiness, on: loop, fire: { [unowned self] _ in becameWritable() })
            else { return }
            writing = consume watch
        }
        guard (try? writing?.start()) != nil else { return }  // as above
    }

    private func becameWritable() {
        isWaitingForRoom = false
        writing?.pause()
        owner.transportIsWritable()
    }
}
