import CSpindle
import EventLoop
import Glibc

/// A socket's own bytes: libevent says when, `recv` and `send` move them.
final class PlainTransport: Transport {
    private let descriptor: CInt
    private let loop: EventLoop
    private let buffer: ReadBuffer
    /// The connection, which owns this transport and closes it before it goes.
    private unowned(unsafe) let owner: any TransportOwner
    private var reading: Watch?
    private var writing: Watch?
    /// While reading is paused: notices the peer's end without reading.
    private var ending: Watch?
    private var isClosed = false

    /// Takes the descriptor over and starts reading.
    init(_ descriptor: CInt, on loop: EventLoop, buffer: ReadBuffer, owner: any TransportOwner) throws(LoopError) {
        self.descriptor = descriptor
        self.loop = loop
        self.buffer = buffer
        self.owner = owner
        let watch = try Watch(descriptor, for: .readable, on: loop) { [unowned(unsafe) self] _ in read() }
        try watch.start()
        reading = consume watch
    }

    deinit { close() }

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
        // Without a watch the peer's end would only be seen at the next write.
        guard let watch = try? Watch(descriptor, for: .closed, on: loop, fire: { [unowned self] _ in end() }) else {
            return
        }
        guard (try? watch.start()) != nil else { return }  // as above
        ending = consume watch
    }

    func resumeReading() {
        guard !isClosed else { return }
        ending = nil
        // The event exists already; only a lack of memory could keep it from being added again.
        guard (try? reading?.start()) != nil else { return end() }
    }

    func finishWriting() { shutdown(descriptor, CInt(SHUT_WR)) }

    func close() {
        guard !isClosed else { return }
        isClosed = true
        reading = nil
        writing = nil
        ending = nil
        Glibc.close(descriptor)
    }

    private func read() {
        let count = recv(descriptor, buffer.bytes.baseAddress, ReadBuffer.size, 0)
        if count > 0 {
            owner.transportDidRead(UnsafeBufferPointer(rebasing: buffer.bytes[..<count]))
        } else if count == 0 || errno != EAGAIN && errno != EINTR {
            end()
        }
    }

    private func end() {
        reading = nil
        ending = nil
        owner.transportDidEnd()
    }

    private func waitUntilWritable() {
        if writing == nil {
            // Without memory for a watch the connection stalls and its deadline closes it.
            guard
                let watch = try? Watch(
                    descriptor, for: .writable, on: loop, fire: { [unowned self] _ in becameWritable() })
            else { return }
            writing = consume watch
        }
        guard (try? writing?.start()) != nil else { return }  // as above
    }

    private func becameWritable() {
        writing?.pause()
        owner.transportIsWritable()
    }
}
