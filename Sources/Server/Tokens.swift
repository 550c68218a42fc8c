import COpenSSL
import Glibc
import JSON

/// What a token may do. Each scope includes those before it.
package enum Scope: Int, Sendable, Comparable, CaseIterable {
    case read, submit, admin

    package var name: String {
        switch self {
        case .read: "read"
        case .submit: "submit"
        case .admin: "admin"
        }
    }

    package static func < (left: Scope, right: Scope) -> Bool { left.rawValue < right.rawValue }
}

/// The tokens of a file: one a line, 256 bits as 64 hexadecimal digits or any longer word, then the scope (`admin` when
/// none is given). Lines that begin with `#` are comments.
package struct Tokens: Sendable {
    struct Token: Sendable {
        let secret: [UInt8]
        /// What a browser holds instead of the token: worthless for making tokens.
        let session: [UInt8]
        let scope: Scope
    }

    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    private static let shortest = 32
    private let tokens: [Token]
    /// The first token with full rights: what is printed at start.
    package let printable: String

    package init(text: String, path: String) throws(Failure) {
        var tokens: [Token] = []
        var printable: String?
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let words = line.split(separator: " ")
            guard let word = words.first, !word.hasPrefix("#") else { continue }
            let name = words.count > 1 ? String(words[1]) : Scope.admin.name
            guard let scope = Scope.allCases.first(where: { $0.name == name }) else {
                throw Failure(description: "\(path), line \(index + 1): \"\(name)\" is no scope (read, submit, admin)")
            }
            guard word.utf8.count >= Self.shortest else {
                throw Failure(
                    description: "\(path), line \(index + 1): a token has at least \(Self.shortest) characters")
            }
            let secret = Array(word.utf8)
            tokens.append(
                Token(secret: secret, session: hex(sha256(Array("spindle session ".utf8) + secret)), scope: scope))
            if scope == .admin, printable == nil { printable = String(word) }
        }
        guard let printable else { throw Failure(description: "\(path) holds no token with scope admin") }
        self.tokens = tokens
        self.printable = printable
    }

    /// Reads the file, or makes it with a fresh token, mode 0600.
    package static func load(_ path: String) throws(Failure) -> Tokens {
        if let text = try read(path) { return try Tokens(text: text, path: path) }
        let token = String(decoding: hex(randomBytes(32)), as: UTF8.self)
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw Failure(description: "cannot make the token file \(path): \(String(cString: strerror(errno)))")
        }
        defer { close(descriptor) }
        let line = Array("\(token)\n".utf8)
        guard write(descriptor, line, line.count) == line.count else {
            throw Failure(description: "cannot write the token file \(path): \(String(cString: strerror(errno)))")
        }
        return try Tokens(text: token, path: path)
    }

    private static func read(_ path: String) throws(Failure) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw Failure(description: "cannot read the token file \(path): \(String(cString: strerror(errno)))")
        }
        defer { close(descriptor) }
        var status = stat()
        fstat(descriptor, &status)
        guard status.st_mode & 0o077 == 0 else {
            throw Failure(description: "the token file \(path) can be read by others: chmod 600 \(path)")
        }
        var bytes = [UInt8](repeating: 0, count: 65536)
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        return String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self)
    }

    /// The scope of a presented token; every token is compared, in constant time.
    func scope(ofSecret presented: some Sequence<UInt8>) -> Scope? { scope(Array(presented)) { $0.secret } }
    func scope(ofSession presented: some Sequence<UInt8>) -> Scope? { scope(Array(presented)) { $0.session } }

    func session(forSecret presented: String) -> [UInt8]? {
        let presented = Array(presented.utf8)
        return tokens.first { isEqual($0.secret, presented) }?.session
    }

    private func scope(_ presented: [UInt8], _ value: (Token) -> [UInt8]) -> Scope? {
        var found: Scope?
        for token in tokens where isEqual(value(token), presented) { found = max(found ?? token.scope, token.scope) }
        return found
    }

    private func isEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        left.count == right.count && CRYPTO_memcmp(left, right, left.count) == 0
    }
}

func sha256(_ bytes: [UInt8]) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: 32)
    var length: UInt32 = 0
    EVP_Digest(bytes, bytes.count, &digest, &length, EVP_sha256(), nil)
    return digest
}

func randomBytes(_ count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let code = RAND_bytes(&bytes, CInt(count))
    precondition(code == 1, "the system gives no randomness")
    return bytes
}

func hex(_ bytes: [UInt8]) -> [UInt8] {
    let digits = Array("0123456789abcdef".utf8)
    return bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }
}
