import EventLoop
import Glibc
import HTTP
import Server

/// The first lines that a server prints: where it listens, a line to try, the dashboard.
///
/// What goes to a terminal only the user sees; a pipe ends in a journal or a file, so there the lines say where the token
/// is, and not what it is.
struct Announcement {
    let addresses: [ListenAddress]
    let isTLS: Bool
    let token: Tokens.Token?
    /// Where the token stands.
    let file: String
    let showsToken: Bool

    var lines: [String] {
        let listening = addresses.map { address in
            switch address {
            case .unix: "listening on \(address)"
            case .tcp: "listening on \(isTLS ? "https" : "http")://\(address)"
            }
        }
        let input = "--json '{\"limit\":10000000}'"
        if case .unix(let path)? = addresses.first {
            return listening + [
                "try: curl --unix-socket \(quoted(path))\(authorization) \(input) http://localhost/v1/run/primes"
            ]
        }
        return listening + ["try: curl\(authorization) \(input) \(url)/v1/run/primes", "dashboard: \(dashboard)"]
    }

    var dashboard: String { "\(url)/" + (showsToken ? token.map { "?token=\($0.text)" } ?? "" : "") }

    private var url: String { Self.url(of: addresses, isTLS: isTLS) }

    /// Where clients of this machine reach a server.
    static func url(of addresses: [ListenAddress], isTLS: Bool) -> String {
        let address = addresses.first { if case .tcp = $0 { true } else { false } } ?? addresses[0]
        guard case .tcp(let host, let port) = address else { return address.description }
        let name = host == "0.0.0.0" || host == "::" ? "127.0.0.1" : host.holds(":") ? "[\(host)]" : host
        return "\(isTLS ? "https" : "http")://\(name):\(port)"
    }

    private var authorization: String {
        guard let token else { return "" }
        if showsToken { return " -H 'Authorization: Bearer \(token.text)'" }
        // The file may hold others before it, and comments; whoever tries the line stands elsewhere.
        let resolved = realpath(file, nil)
        defer { free(resolved) }
        let file = resolved.map { String(cString: $0) } ?? file
        return " -H \"Authorization: Bearer $(awk 'NR==\(token.line){print $1}' \(quoted(file)))\""
    }

    /// As one word of a shell.
    private func quoted(_ text: String) -> String {
        let isPlain = text.utf8.allSatisfy { byte in
            byte >= 0x30 && byte <= 0x39 || byte >= 0x41 && byte <= 0x5A || byte >= 0x61 && byte <= 0x7A
                || "/._-+:@%".utf8.contains(byte)
        }
        if isPlain, !text.isEmpty { return text }
        let pieces = text.parts(at: "'", keepingEmpty: true)
        return "'\(pieces.joined(separator: #"'\''"#))'"
    }
}
