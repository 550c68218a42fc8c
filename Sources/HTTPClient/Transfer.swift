import CCurl
import Glibc

/// One request under way: owns its easy handle.
final class Transfer {
    let easy: UnsafeMutableRawPointer
    var continuation: CheckedContinuation<HTTPResult, any Error>?
    private let request: HTTPRequest
    private let onBytes: (([UInt8], _ status: Int) -> Void)?
    private var headers: UnsafeMutablePointer<curl_slist>?
    private var received = 0
    private var refusedAddress = false
    private var isTooLarge = false
    private var isClosed = false

    init(_ request: HTTPRequest, onBytes: (([UInt8], _ status: Int) -> Void)?) throws(HTTPFailure) {
        guard let easy = curl_easy_init() else {
            throw HTTPFailure(code: .other, description: "no memory for a request")
        }
        self.easy = easy
        self.request = request
        self.onBytes = onBytes
        let context = Unmanaged.passUnretained(self).toOpaque()
        curl_set_long(easy, CURLOPT_NOSIGNAL, 1)
        set(CURLOPT_URL, request.url)
        set(CURLOPT_PROTOCOLS_STR, "http,https")
        set(CURLOPT_REDIR_PROTOCOLS_STR, "http,https")
        set(CURLOPT_USERAGENT, "spindle/0.1")
        // Redirects and addresses are ours to check: nothing may be taken from the environment's proxies.
        set(CURLOPT_PROXY, "")
        curl_set_long(easy, CURLOPT_FOLLOWLOCATION, request.redirects > 0 ? 1 : 0)
        curl_set_long(easy, CURLOPT_MAXREDIRS, request.redirects)
        curl_set_long(easy, CURLOPT_CONNECTTIMEOUT_MS, Self.milliseconds(request.connectTimeout))
        if let timeout = request.timeout { curl_set_long(easy, CURLOPT_TIMEOUT_MS, Self.milliseconds(timeout)) }
        if let path = request.socketPath { set(CURLOPT_UNIX_SOCKET_PATH, path) }
        if let trust = request.trust { set(CURLOPT_CAINFO, trust) }
        setMethod()
        for header in request.headers { headers = curl_slist_append(headers, header) }
        curl_set_pointer(easy, CURLOPT_HTTPHEADER, headers)
        curl_set_write(easy, CURLOPT_WRITEFUNCTION, Self.received)
        curl_set_pointer(easy, CURLOPT_WRITEDATA, context)
        if request.rules != nil {
            curl_set_opensocket(easy, Self.openSocket)
            curl_set_pointer(easy, CURLOPT_OPENSOCKETDATA, context)
        }
    }

    /// Whole milliseconds, as curl wants them: at most some 24 days.
    private static func milliseconds(_ time: Duration) -> Int {
        Int(exactly: min(max(time / .milliseconds(1), 1), Double(Int32.max)).rounded()) ?? 1
    }

    deinit {
        curl_easy_cleanup(easy)
        curl_slist_free_all(headers)
    }

    func close(in multi: UnsafeMutableRawPointer) {
        guard !isClosed else { return }
        isClosed = true
        curl_multi_remove_handle(multi, easy)
    }

    func result(of code: CURLcode) -> Result<HTTPResult, any Error> {
        var status = 0
        var seconds = 0.0
        curl_get_long(easy, CURLINFO_RESPONSE_CODE, &status)
        curl_get_double(easy, CURLINFO_TOTAL_TIME, &seconds)
        guard code == CURLE_OK else { return .failure(failure(code)) }
        return .success(HTTPResult(status: status, bytes: received, seconds: seconds))
    }

    private func failure(_ code: CURLcode) -> HTTPFailure {
        if refusedAddress {
            return HTTPFailure(
                code: .refusedAddress, description: "\(request.url): its address is not allowed; see --allow-fetch")
        }
        if isTooLarge {
            return HTTPFailure(
                code: .tooLarge, description: "\(request.url): more than \(request.maximumBytes ?? 0) bytes")
        }
        let text = "\(request.url): \(String(cString: curl_easy_strerror(code)))"
        switch code {
        case CURLE_COULDNT_CONNECT, CURLE_COULDNT_RESOLVE_HOST:
            return HTTPFailure(code: .cannotConnect, description: text)
        case CURLE_GOT_NOTHING, CURLE_RECV_ERROR, CURLE_SEND_ERROR, CURLE_PARTIAL_FILE:
            return HTTPFailure(code: .lost, description: text)
        case CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE:
            return HTTPFailure(code: .untrusted, description: text)
        case CURLE_OPERATION_TIMEDOUT: return HTTPFailure(code: .timedOut, description: text)
        case CURLE_URL_MALFORMAT, CURLE_UNSUPPORTED_PROTOCOL: return HTTPFailure(code: .badURL, description: text)
        default: return HTTPFailure(code: .other, description: text)
        }
    }

    private func setMethod() {
        if let body = request.body {
            curl_set_long(easy, CURLOPT_POST, 1)
            curl_set_long(easy, CURLOPT_POSTFIELDSIZE, body.count)
            body.withUnsafeBytes {
                _ = curl_set_pointer(easy, CURLOPT_COPYPOSTFIELDS, $0.baseAddress ?? UnsafeRawPointer(easy))
            }
        }
        if request.method == "HEAD" {
            curl_set_long(easy, CURLOPT_NOBODY, 1)
        } else if request.method != "GET" || request.body != nil {
            set(CURLOPT_CUSTOMREQUEST, request.method)
        }
    }

    private func set(_ option: CURLoption, _ value: String) {
        value.withCString { _ = curl_set_pointer(easy, option, $0) }
    }

    private func take(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        received += bytes.count
        if let limit = request.maximumBytes, received > limit {
            isTooLarge = true
            return false
        }
        if let onBytes {
            var status = 0
            curl_get_long(easy, CURLINFO_RESPONSE_CODE, &status)
            onBytes(Array(bytes), status)
        }
        return true
    }

    private static let received: curl_write_callback = { bytes, size, count, context in
        let transfer = Unmanaged<Transfer>.fromOpaque(context!).takeUnretainedValue()
        guard let bytes else { return 0 }
        return bytes.withMemoryRebound(to: UInt8.self, capacity: size * count) {
            transfer.take(UnsafeBufferPointer(start: $0, count: size * count)) ? size * count : 0
        }
    }

    /// Called with every address that curl is about to connect to, after a redirect too.
    private static let openSocket: curl_opensocket_callback = { context, _, address in
        let transfer = Unmanaged<Transfer>.fromOpaque(context!).takeUnretainedValue()
        guard let address, let rules = transfer.request.rules else { return CURL_SOCKET_BAD }
        let permitted = withUnsafePointer(to: &address.pointee.addr) {
            AddressRules.Address($0).map(rules.permits) ?? false
        }
        guard permitted else {
            transfer.refusedAddress = true
            return CURL_SOCKET_BAD
        }
        let type = address.pointee.socktype | CInt(SOCK_CLOEXEC.rawValue)
        return socket(address.pointee.family, type, address.pointee.`protocol`)
    }
}
