import EventLoop
import Glibc

/// Sessions of browsers, beside the store, so that a restart signs nobody out. A line with the server's name, then one for
/// each session: the digest of its cookie, that of its token, and when it ends.
struct SessionFile: Sendable {
    private static let mark = "spindle-sessions-1"
    private static let maximumBytes = 1 << 20

    let path: String

    /// nil for a file that is not there, not ours, or not whole: then all browsers sign in anew.
    func read() -> (name: String, sessions: [[UInt8]: Session])? {
        guard let file = Descriptor(opening: path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK) else { return nil }
        var status = stat()
        guard fstat(file.number, &status) == 0, status.st_uid == geteuid(), status.st_mode & 0o077 == 0,
            status.st_mode & S_IFMT == S_IFREG, let bytes = file.contents(atMost: Self.maximumBytes)
        else { return nil }
        let lines = String(decoding: bytes, as: UTF8.self).parts(at: "\n").map { $0.parts(at: " ") }
        guard let head = lines.first, head.count == 2, head[0] == Self.mark else { return nil }
        var sessions: [[UInt8]: Session] = [:]
        for line in lines.dropFirst() {
            guard line.count == 3, let cookie = digest(line[0]), let token = digest(line[1]), let end = Int64(line[2])
            else { return nil }
            sessions[cookie] = Session(token: token, expires: end)
        }
        return (String(head[1]), sessions)
    }

    /// Writes the file anew and waits for the disk: not on a loop. Where that fails, the sessions last as long as the server.
    func write(_ name: String, _ sessions: [[UInt8]: Session]) {
        var text = Array("\(Self.mark) \(name)\n".utf8)
        for (cookie, session) in sessions {
            text += hex(cookie) + [0x20] + hex(session.token) + Array(" \(session.expires)\n".utf8)
        }
        _ = replaceFile(path, with: text)
    }

    private func digest(_ text: Substring) -> [UInt8]? {
        let digits = Array(text.utf8)
        guard digits.count == 64 else { return nil }
        let bytes = stride(from: 0, to: 64, by: 2).compactMap { index in
            UInt8(String(decoding: digits[index..<index + 2], as: UTF8.self), radix: 16)
        }
        return bytes.count == 32 ? bytes : nil
    }
}
