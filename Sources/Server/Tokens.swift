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

/// The tokens of a file: one a line, 256 bits as 64 hexadecimal digits or any longer word, then, after blanks or tabs, the
/// scope (`admin` when none is given). What follows a `#` at the beginning of a word is a comment.
package struct Tokens: Sendable {
    package struct Token: Sendable {
        let secret: [UInt8]
        /// Of the secret: what a session remembers of it.
        let digest: [UInt8]
        package let scope: Scope
        /// In the file, from 1.
        package let line: Int

        package var text: String { String(decoding: secret, as: UTF8.self) }
    }

    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    private static let shortest = 32
    package let all: [Token]

    /// - Throws: ``Failure`` with the number of a line that is none of the above. A token that is read for more than it
    ///   was meant to be is worse than a server that does not start.
    package init(text: [UInt8], path: String) throws(Failure) {
        var tokens: [Token] = []
        var lines: [ArraySlice<UInt8>: Int] = [:]
        for (index, line) in text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
            func wrong(_ why: String) -> Failure { Failure(description: "\(path), line \(index + 1): \(why)") }
            let words = Self.words(of: line)
            guard let secret = words.first else { continue }
            guard secret.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
                throw wrong("a token is made of visible ASCII characters")
            }
            guard secret.count >= Self.shortest else { throw wrong("a token has at least \(Self.shortest) characters") }
            guard words.count <= 2 else { throw wrong("after the scope there may be a # and a comment, nothing else") }
            let name = words.count > 1 ? String(decoding: words[1], as: UTF8.self) : Scope.admin.name
            guard let scope = Scope.allCases.first(where: { $0.name == name }) else {
                throw wrong("\"\(name)\" is no scope (read, submit, admin)")
            }
            if let earlier = lines.updateValue(index + 1, forKey: secret) {
                throw wrong("this is the token of line \(earlier) again")
            }
            tokens.append(Token(secret: Array(secret), digest: sha256(Array(secret)), scope: scope, line: index + 1))
        }
        all = tokens
    }

    /// What stands between blanks, up to a comment; a carriage return at the line's end counts as a blank.
    private static func words(of line: ArraySlice<UInt8>) -> [ArraySlice<UInt8>] {
        let text = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
        let words = text.split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
        return Array(words.prefix { $0.first != UInt8(ascii: "#") })
    }

    /// The token that a client of this machine presents: the first with full rights, else the first.
    package var foremost: Token? { all.first { $0.scope == .admin } ?? all.first }

    /// The token that was presented, if it is one of these; every token is compared, in constant time.
    func find(_ presented: some Collection<UInt8>) -> Token? {
        let presented = Array(presented)
        var found: Token?
        for token in all where isEqual(token.secret, presented) { found = token }
        return found
    }
}

func isEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    left.count == right.count && CRYPTO_memcmp(left, right, left.count) == 0
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
