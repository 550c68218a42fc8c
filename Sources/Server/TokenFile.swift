import EventLoop
import Glibc

/// The file that tokens are read from: a regular file of our own, which nobody else may read or write.
package struct TokenFile: Sendable {
    /// In bytes: room for some thousand tokens.
    private static let maximumBytes = 1 << 20

    package let path: String

    package init(_ path: String) { self.path = path }

    /// Reads the file for a server, or makes it with a fresh token, mode 0600.
    package func load() throws(Tokens.Failure) -> Tokens {
        if let tokens = try read() { return tokens }
        try make()
        guard let tokens = try read() else { throw Tokens.Failure(description: "\(path) went away") }
        return tokens
    }

    /// Reads the file for a server; nil when it is not there.
    package func read() throws(Tokens.Failure) -> Tokens? {
        guard let text = try contents(isPrivate: true) else { return nil }
        let tokens = try Tokens(text: text, path: path)
        guard tokens.foremost?.scope == .admin else {
            throw Tokens.Failure(description: "\(path) holds no token with scope admin")
        }
        return tokens
    }

    /// Reads the file once more. One that went away is no reason to let nobody in, or anybody.
    package func again() throws(Tokens.Failure) -> Tokens {
        guard let tokens = try read() else { throw Tokens.Failure(description: "the token file \(path) is not there") }
        return tokens
    }

    /// The token that a client presents; nil when there is no file.
    package func forClients() throws(Tokens.Failure) -> String? {
        guard let text = try contents(isPrivate: false) else { return nil }
        return try Tokens(text: text, path: path).foremost?.text
    }

    private func contents(isPrivate: Bool) throws(Tokens.Failure) -> [UInt8]? {
        // A pipe without a writer would keep us for ever.
        guard let file = Descriptor(opening: path, O_RDONLY | O_NONBLOCK | O_NOCTTY) else {
            if errno == ENOENT { return nil }
            throw failed("cannot read")
        }
        var status = stat()
        guard fstat(file.number, &status) == 0 else { throw failed("cannot read") }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw Tokens.Failure(description: "the token file \(path) is no regular file")
        }
        if isPrivate { try checkPrivacy(status) }
        if let bytes = file.contents(atMost: Self.maximumBytes) { return bytes }
        guard errno == EFBIG else { throw failed("cannot read") }
        throw Tokens.Failure(description: "the token file \(path) has more than \(Self.maximumBytes) bytes")
    }

    private func checkPrivacy(_ status: stat) throws(Tokens.Failure) {
        guard status.st_uid == geteuid() else {
            throw Tokens.Failure(
                description: "the token file \(path) belongs to user \(status.st_uid), who knows what is in it")
        }
        guard status.st_mode & 0o077 == 0 else {
            throw Tokens.Failure(description: "the token file \(path) is open to others: chmod 600 \(path)")
        }
    }

    /// Appears whole, or not at all.
    private func make() throws(Tokens.Failure) {
        let fresh = "\(path).\(String(decoding: hex(randomBytes(8)), as: UTF8.self))"
        guard let file = Descriptor(opening: fresh, O_WRONLY | O_CREAT | O_EXCL, mode: 0o600) else {
            throw failed("cannot make")
        }
        defer { unlink(fresh) }
        guard fchmod(file.number, 0o600) == 0, file.write(all: hex(randomBytes(32)) + [UInt8(ascii: "\n")]),
            fsync(file.number) == 0
        else { throw failed("cannot write") }
        // Another server may have made it at the same moment: then that one holds.
        guard link(fresh, path) == 0 || errno == EEXIST, syncDirectory(of: path) else { throw failed("cannot make") }
    }

    private func failed(_ what: String) -> Tokens.Failure {
        Tokens.Failure(description: "\(what) the token file \(path): \(String(cString: strerror(errno)))")
    }
}
