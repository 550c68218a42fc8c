import CCurl
import EventLoop
import Glibc

/// One request to be made.
package struct HTTPRequest: Sendable {
    package var method = "GET"
    package var url: String
    /// `Name: value` each.
    package var headers: [String] = []
    package var body: [UInt8]?
    /// A unix socket to connect to, whatever the URL's host.
    package var socketPath: String?
    package var connectTimeout = Duration.seconds(10)
    /// For everything together; nil: none.
    package var timeout: Duration?
    /// Redirects that are followed; each is checked like the first address.
    package var redirects = 0
    /// nil: any address.
    package var rules: AddressRules?
    /// Bytes of body after which the transfer is broken off; nil: none.
    package var maximumBytes: Int?
    /// A file of certificates to trust instead of the system's.
    package var trust: String?

    package init(_ url: String) { self.url = url }
}

/// What came back.
package struct HTTPResult: Sendable {
    package let status: Int
    package let bytes: Int
    package let seconds: Double
}

/// Why nothing came back.
package struct HTTPFailure: Error, CustomStringConvertible {
    package enum Code: Sendable {
        /// `lost`: the connection was there, and the server may have got the request.
        case refusedAddress, cannotConnect, lost, timedOut, tooLarge, badURL, untrusted, cancelled, other
    }

    package let code: Code
    package let description: String
}

/// HTTP requests by libcurl's multi interface, driven by the loop: curl says which sockets and timer matter, the loop says
/// when they are ready. One for each loop.
package final class HTTPClient {
    private let loop: EventLoop
    private let multi: OpaquePointer
    private var timer: Timer?
    private var watches: [CInt: SocketWatch] = [:]
    private var transfers: [UnsafeMutableRawPointer: Transfer] = [:]

    private final class SocketWatch {
        var watch: Watch?
    }

    package init(on loop: EventLoop) throws(LoopError) {
        self.loop = loop
        curl_global_init(Int(CURL_GLOBAL_DEFAULT))
        guard let multi = curl_multi_init() else { throw LoopError(.outOfMemory, call: "curl_multi_init") }
        self.multi = OpaquePointer(multi)
        timer = try Timer(on: loop) { [unowned self] in act(CURL_SOCKET_TIMEOUT, 0) }
        let context = Unmanaged.passUnretained(self).toOpaque()
        curl_multi_set_socket(multi, Self.socketChanged, context)
        curl_multi_set_timer(multi, Self.timerChanged, context)
    }

    deinit {
        for transfer in transfers.values { transfer.close(in: UnsafeMutableRawPointer(multi)) }
        curl_multi_cleanup(UnsafeMutableRawPointer(multi))
    }

    /// Makes a request.
    ///
    /// Must be called on the loop.
    /// - Parameter onBytes: Called with each piece of the body as it comes, and the answer's status; nil drops the body.
    /// - Throws: ``HTTPFailure``; with code `cancelled` as soon as the calling task is cancelled.
    package func perform(_ request: HTTPRequest, onBytes: (([UInt8], _ status: Int) -> Void)? = nil) async throws
        -> HTTPResult
    {
        let transfer = try Transfer(request, onBytes: onBytes)
        let bound = LoopBound((self, transfer), on: loop)
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                bound.value.0.begin(transfer, continuation)
            }
        } onCancel: {
            bound.loop.submit {
                let (client, transfer) = bound.value
                client.finish(transfer, .failure(HTTPFailure(code: .cancelled, description: "cancelled")))
            }
        }
    }

    /// The host that a request to `url` goes to, in brackets when it is an IPv6 address; nil for what is no URL. By curl's
    /// own reading, so that there are no two opinions.
    package static func host(of url: String) -> String? {
        guard let parsed = curl_url() else { return nil }
        defer { curl_url_cleanup(parsed) }
        var host: UnsafeMutablePointer<CChar>?
        guard curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK,
            curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK, let host
        else { return nil }
        defer { curl_free(host) }
        return String(cString: host)
    }

    private func begin(_ transfer: Transfer, _ continuation: CheckedContinuation<HTTPResult, any Error>) {
        transfer.continuation = continuation
        if Task.isCancelled {
            return finish(transfer, .failure(HTTPFailure(code: .cancelled, description: "cancelled")))
        }
        transfers[transfer.easy] = transfer
        curl_multi_add_handle(UnsafeMutableRawPointer(multi), transfer.easy)
    }

    private func finish(_ transfer: Transfer, _ result: Result<HTTPResult, any Error>) {
        transfers[transfer.easy] = nil
        guard let continuation = transfer.continuation else { return }
        transfer.continuation = nil
        transfer.close(in: UnsafeMutableRawPointer(multi))
        continuation.resume(with: result)
    }

    // MARK: curl and the loop

    private func act(_ socket: CInt, _ what: CInt) {
        var running: CInt = 0
        curl_multi_socket_action(UnsafeMutableRawPointer(multi), socket, what, &running)
        var left: CInt = 0
        while let message = curl_multi_info_read(UnsafeMutableRawPointer(multi), &left) {
            guard message.pointee.msg == CURLMSG_DONE, let easy = message.pointee.easy_handle,
                let transfer = transfers[easy]
            else { continue }
            finish(transfer, transfer.result(of: message.pointee.data.result))
        }
    }

    private func watch(_ socket: CInt, _ what: CInt) {
        watches[socket] = nil
        guard what != CURL_POLL_REMOVE else { return }
        var readiness: Readiness = []
        if what & CURL_POLL_IN != 0 { readiness.insert(.readable) }
        if what & CURL_POLL_OUT != 0 { readiness.insert(.writable) }
        let holder = SocketWatch()
        // Without memory for a watch the transfer runs into its timeout.
        guard
            let watch = try? Watch(
                socket, for: readiness, on: loop,
                fire: { [unowned self] ready in
                    act(
                        socket,
                        (ready.contains(.readable) ? CURL_CSELECT_IN : 0)
                            | (ready.contains(.writable) ? CURL_CSELECT_OUT : 0))
                }), (try? watch.start()) != nil
        else { return }
        holder.watch = consume watch
        watches[socket] = holder
    }

    private func arm(_ milliseconds: Int) {
        guard milliseconds >= 0 else {
            timer?.disarm()
            return
        }
        // The event exists since init; arming it allocates nothing.
        try? timer?.arm(after: .milliseconds(milliseconds))
    }

    private static let socketChanged: curl_socket_callback = { _, socket, what, context, _ in
        Unmanaged<HTTPClient>.fromOpaque(context!).takeUnretainedValue().watch(socket, what)
        return 0
    }

    private static let timerChanged: curl_multi_timer_callback = { _, milliseconds, context in
        Unmanaged<HTTPClient>.fromOpaque(context!).takeUnretainedValue().arm(milliseconds)
        return 0
    }
}
