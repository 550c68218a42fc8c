import CLibevent
import COpenSSL
import CSpindle
import EventLoop
import Glibc

/// TLS 1.2 and later over a socket, by libevent's `bufferevent_openssl`.
final class TLSTransport: Transport {
    private var bufferevent: OpaquePointer?
    private let ssl: OpaquePointer
    /// nil once it is closed.
    private var descriptor: Descriptor?
    private let buffer: ReadBuffer
    /// The connection, which owns this transport and closes it before it goes.
    private unowned(unsafe) let owner: any TransportOwner

    /// Takes the descriptor over and begins the handshake.
    init(
        _ descriptor: consuming Descriptor, _ identity: TLSIdentity, on loop: EventLoop, buffer: ReadBuffer,
        owner: any TransportOwner
    ) throws(LoopError) {
        self.buffer = buffer
        self.owner = owner
        guard let ssl = SSL_new(identity.context) else { throw LoopError(.outOfMemory, call: "SSL_new") }
        self.ssl = ssl
        let number = descriptor.number
        self.descriptor = consume descriptor
        // Both stay ours: what libevent frees of them when it cannot make a bufferevent differs from version to version.
        guard SSL_set_fd(ssl, number) == 1 else { throw LoopError(.outOfMemory, call: "SSL_set_fd") }
        let flags = CInt(BEV_OPT_DEFER_CALLBACKS.rawValue)
        guard let event = bufferevent_openssl_socket_new(loop.base, number, ssl, BUFFEREVENT_SSL_ACCEPTING, flags)
        else { throw LoopError(.outOfMemory, call: "bufferevent_openssl_socket_new") }
        bufferevent = event
        bufferevent_openssl_set_allow_dirty_shutdown(event, 1)
        bufferevent_setwatermark(event, Int16(EV_READ), 0, ReadBuffer.size)
        bufferevent_setcb(event, Self.didRead, Self.didWrite, Self.didHappen, Unmanaged.passUnretained(self).toOpaque())
        bufferevent_enable(event, Int16(EV_READ | EV_WRITE))
    }

    deinit {
        close()
        SSL_free(ssl)
    }

    var backlog: Int {
        guard let bufferevent else { return 0 }
        return evbuffer_get_length(bufferevent_get_output(bufferevent))
    }

    var hasUnread: Bool {
        guard let bufferevent else { return false }
        return evbuffer_get_length(bufferevent_get_input(bufferevent)) > 0
            || spindle_has_unread(bufferevent_getfd(bufferevent)) != 0
    }

    func write(_ bytes: UnsafeRawBufferPointer) -> Int {
        guard let bufferevent else { return bytes.count }
        bufferevent_write(bufferevent, bytes.baseAddress, bytes.count)
        return bytes.count
    }

    func pauseReading() {
        if let bufferevent { bufferevent_disable(bufferevent, Int16(EV_READ)) }
    }

    func resumeReading() {
        guard let bufferevent else { return }
        bufferevent_enable(bufferevent, Int16(EV_READ))
        drain()
    }

    /// Sends TLS's own goodbye; the connection is closed when the peer answers or its time is up.
    func finishWriting() { if bufferevent != nil { SSL_shutdown(ssl) } }

    func close() {
        if let bufferevent {
            self.bufferevent = nil
            bufferevent_setcb(bufferevent, nil, nil, nil, nil)
            // It watches nothing after this, though it frees itself later.
            bufferevent_free(bufferevent)
        }
        descriptor = nil
    }

    private func drain() {
        while let bufferevent {
            let count = evbuffer_remove(bufferevent_get_input(bufferevent), buffer.bytes.baseAddress, ReadBuffer.size)
            guard count > 0 else { return }
            owner.transportDidRead(UnsafeBufferPointer(rebasing: buffer.bytes[..<Int(count)]))
        }
    }

    private static let didRead: bufferevent_data_cb = { _, context in
        Unmanaged<TLSTransport>.fromOpaque(context!).takeUnretainedValue().drain()
    }

    private static let didWrite: bufferevent_data_cb = { _, context in
        Unmanaged<TLSTransport>.fromOpaque(context!).takeUnretainedValue().owner.transportIsWritable()
    }

    /// A goodbye of TLS says that nothing more will come, and no more than that (RFC 8446, 6.1). Who hangs up without one is
    /// taken to be gone.
    private func inputEnded() {
        guard let bufferevent, SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN != 0 else {
            return owner.transportDidEnd()
        }
        // libevent has stopped both ways.
        bufferevent_enable(bufferevent, Int16(EV_WRITE))
        drain()
        if self.bufferevent != nil { owner.transportDidFinish() }
    }

    private static let didHappen: bufferevent_event_cb = { _, what, context in
        let transport = Unmanaged<TLSTransport>.fromOpaque(context!).takeUnretainedValue()
        if Int32(what) & BEV_EVENT_ERROR != 0 {
            transport.owner.transportDidEnd()
        } else if Int32(what) & BEV_EVENT_EOF != 0 {
            transport.inputEnded()
        }
    }
}

/// A certificate chain and its key.
// Guard: immutable after init; OpenSSL counts references to the context under its own lock.
package final class TLSIdentity: @unchecked Sendable {
    let context: OpaquePointer

    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    /// - Parameters:
    ///   - certificate: Path of a PEM file: the server's certificate first, then the chain.
    ///   - key: Path of a PEM file with the private key.
    package init(certificate: String, key: String) throws(Failure) {
        guard let context = SSL_CTX_new(TLS_server_method()) else { throw Failure(description: "no memory for TLS") }
        openssl_require_tls12(context)
        guard SSL_CTX_use_certificate_chain_file(context, certificate) == 1 else {
            SSL_CTX_free(context)
            throw Failure(description: "\(certificate) holds no usable certificate: \(Self.lastError())")
        }
        guard SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1, SSL_CTX_check_private_key(context) == 1
        else {
            SSL_CTX_free(context)
            throw Failure(description: "\(key) holds no key for \(certificate): \(Self.lastError())")
        }
        self.context = context
    }

    deinit { SSL_CTX_free(context) }

    private static func lastError() -> String {
        var text = [CChar](repeating: 0, count: 256)
        ERR_error_string_n(ERR_get_error(), &text, text.count)
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
