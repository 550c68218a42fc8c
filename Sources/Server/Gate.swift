import EventLoop
import HTTP
import JSON

/// The one check before routing, for every request and every method: is it for us, from where it claims, and allowed?
///
/// Deny by default: only what ``isOpen(_:)`` names passes without a token. Every loop may ask it.
package struct Gate: Sendable {
    /// nil switches the check of tokens off.
    let keyring: Keyring?
    private let hosts: [[UInt8]]
    private let openPaths: Set<[UInt8]>

    init(_ options: ServerOptions, _ keyring: Keyring?, openPaths: [String]) {
        self.keyring = keyring
        let listening = (options.addresses + options.inherited.map(\.address)).compactMap(\.host)
        hosts =
            (["localhost", "127.0.0.1", "[::1]"] + listening.map { $0.holds(":") ? "[\($0)]" : $0 }
            + options.allowedHosts)
            .map { Array($0.inLowerCase.utf8) }
        self.openPaths = Set(openPaths.map { Array($0.utf8) })
    }

    /// The answer to a request that may not pass; nil lets it pass.
    func refuse(_ head: RequestHead, _ peer: Peer) -> Response? {
        guard isForUs(head, peer) else {
            return Problem(
                421, "misdirected", "this server does not answer for host \"\(head.hostText)\"; see --allow-host"
            ).response
        }
        if let problem = foreignOrigin(head, peer) { return problem.response }
        guard keyring != nil, scope(of: head) == nil, !isOpen(head) else { return nil }
        return Problem(401, "unauthorized", "send the token: Authorization: Bearer …, from the server's token file")
            .response
    }

    /// What the request may do; nil without a valid token.
    func scope(of head: RequestHead) -> Scope? {
        guard let keyring else { return .admin }
        if let found = head.withValue(
            of: "authorization",
            { value in bearer(value).flatMap { keyring.scope(ofSecret: $0) } })
        {
            return found
        }
        return session(head, keyring).flatMap { keyring.scope(ofSession: $0.utf8) }
    }

    private func isOpen(_ head: RequestHead) -> Bool { head.withPath { openPaths.contains(Array($0)) } }

    /// Whether the request names us. A unix socket has no name that a page could be led to, and takes any.
    private func isForUs(_ head: RequestHead, _ peer: Peer) -> Bool {
        if peer.isUnix || head.withHost({ isOurs($0) }) { return true }
        // Who checks a server's health in HTTP/1.0 names no host.
        return head.minorVersion == 0 && !head.has("host") && head.hostText.isEmpty
            && head.withPath { path in Self.health.contains { path.elementsEqual($0) } }
    }

    private static let health = ["/healthz", "/readyz"].map { Array($0.utf8) }

    private func isOurs(_ host: UnsafeBufferPointer<UInt8>) -> Bool {
        guard let count = Self.nameLength(host) else { return false }
        for known in hosts where known.count == count {
            var index = 0
            while index < count {
                let byte = host[index]
                guard known[index] == (byte >= 0x41 && byte <= 0x5A ? byte | 0x20 : byte) else { break }
                index += 1
            }
            if index == count { return true }
        }
        return false
    }

    /// How many bytes are the name, without the port and without the dot that may end a full name; nil when what follows
    /// is no port.
    private static func nameLength(_ host: UnsafeBufferPointer<UInt8>) -> Int? {
        let isAddress = host.first == UInt8(ascii: "[")
        var count = host.firstIndex(of: UInt8(ascii: ":")) ?? host.count
        if isAddress {
            guard let bracket = host.firstIndex(of: UInt8(ascii: "]")) else { return nil }
            count = bracket + 1
        }
        let port = host[count...]
        if let colon = port.first {
            guard colon == UInt8(ascii: ":"), port.count <= 6, port.dropFirst().allSatisfy({ $0 >= 0x30 && $0 <= 0x39 })
            else { return nil }
        }
        if !isAddress, count > 1, host[count - 1] == UInt8(ascii: ".") { count -= 1 }
        return count
    }

    /// A page of another origin must not reach us, whatever the method.
    private func foreignOrigin(_ head: RequestHead, _ peer: Peer) -> Problem? {
        if let origin = head.values(of: "origin") {
            let own = (peer.isTLS ? "https://" : "http://") + head.hostText
            guard origin.inLowerCase.isExactly(own.inLowerCase) else {
                return Problem(403, "foreign-origin", "requests from pages of \(origin) are refused")
            }
        }
        if let site = head.values(of: "sec-fetch-site"), site != "same-origin", site != "none" {
            return Problem(403, "foreign-origin", "requests from pages of another site are refused")
        }
        return nil
    }

    private func bearer(_ value: UnsafeBufferPointer<UInt8>) -> Slice<UnsafeBufferPointer<UInt8>>? {
        let scheme: StaticString = "bearer "
        guard value.count > scheme.utf8CodeUnitCount else { return nil }
        for index in 0..<scheme.utf8CodeUnitCount where value[index] | 0x20 != scheme.utf8Start[index] { return nil }
        return value[scheme.utf8CodeUnitCount...]
    }

    /// What a browser's cookie for this server holds.
    private func session(_ head: RequestHead, _ keyring: Keyring) -> Substring? {
        guard let cookies = head.value(of: "cookie") else { return nil }
        for cookie in cookies.parts(at: ";") {
            guard let (name, value) = cookie.cut(at: "="), !value.isEmpty else { continue }
            if name.utf8.drop(while: { $0 == 0x20 }).elementsEqual(keyring.cookieName.utf8) { return value }
        }
        return nil
    }

    /// The cookie that a browser gets for a token; nil when the token is none of ours. To be sent once the keyring has kept it.
    func cookie(forToken token: String, isTLS: Bool) -> String? {
        guard let keyring, let value = keyring.begin(withSecret: token) else { return nil }
        return cookie(keyring, value, lifetime: Session.lifetime, isTLS)
    }

    /// Signs a browser out. To be answered once the keyring has kept it.
    ///
    /// - Returns: What makes it forget its cookie; nil when it was not signed in.
    func endSession(of head: RequestHead, isTLS: Bool) -> String? {
        guard let keyring, let session = session(head, keyring), keyring.end(session: session.utf8) else { return nil }
        return cookie(keyring, "", lifetime: 0, isTLS)
    }

    private func cookie(_ keyring: Keyring, _ value: String, lifetime: Int64, _ isTLS: Bool) -> String {
        "\(keyring.cookieName)=\(value); HttpOnly; SameSite=Strict; Path=/; Max-Age=\(lifetime)"
            + (isTLS ? "; Secure" : "")
    }
}
