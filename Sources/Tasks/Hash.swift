import COpenSSL
import EventLoop
import Glibc
import JSON
import Jobs
import Pools

/// `{"path":"Sources"}` → `{"files":…,"bytes":…,"sha256":"…"}`: every regular file under the path.
///
/// The digest is that of the sorted lines that `sha256sum` would print for the files, named as `find` would name them:
/// `find PATH -type f -exec sha256sum {} + | LC_ALL=C sort | sha256sum`.
func hashTask(root: String) -> TaskDefinition {
    TaskDefinition(
        name: "hash", kind: .cpu, description: "SHA-256 of every file under a path",
        input: schema([
            "type": "object", "required": ["path"], "additionalProperties": false,
            "properties": ["path": ["type": "string", "minLength": 1, "maxLength": 4096]],
        ]),
        output: schema([
            "type": "object",
            "properties": ["files": ["type": "integer"], "bytes": ["type": "integer"], "sha256": ["type": "string"]],
        ]),
        pools: [.thread, .process],
        body: .function(
            blocking: { input, context in
                let path = input["path"]?.string ?? ""
                let place = try FilePlace(path, below: root)
                return try hashFiles(place, context)
            }, async: nil),
        check: { input in
            do throws(TaskFailure) {
                _ = try FilePlace(input["path"]?.string ?? "", below: root)
                return []
            } catch {
                return [SchemaViolation(pointer: "/path", detail: error.message)]
            }
        })
}

/// A path below the root, with every link resolved: what it names is inside, however it is spelled.
private struct FilePlace {
    /// As the client wrote it, without slashes at the end.
    let name: String
    let resolved: Path

    init(_ path: String, below root: String) throws(TaskFailure) {
        func refused(_ why: String) -> TaskFailure { TaskFailure(type: "InvalidInput", message: why, canRetry: false) }
        guard !path.utf8.contains(0) else { throw refused("holds a NUL") }
        guard !path.begins(with: "/") else { throw refused("must be relative to the server's --files-root") }
        guard let root = resolve(Path(root.utf8)) else { throw refused("the server's --files-root does not exist") }
        guard let resolved = resolve(root.below(Path(path.utf8))) else {
            throw refused("there is no \"\(path)\" below --files-root")
        }
        guard resolved.below([]).starts(with: root == [slash] ? root : root.below([])) else {
            throw refused("leaves the server's --files-root")
        }
        var name = path[...]
        while name.utf8.count > 1, let shorter = name.rest(before: "/") { name = shorter }
        self.name = String(name)
        self.resolved = resolved
    }
}

/// The bytes of a name: a file's may be anything but UTF-8.
private typealias Path = [UInt8]

private let slash = UInt8(ascii: "/")
private let dot = UInt8(ascii: ".")

extension Path {
    fileprivate init(_ name: UnsafePointer<CChar>) {
        self.init(UnsafeRawBufferPointer(start: name, count: strlen(name)))
    }

    fileprivate func below(_ name: Path) -> Path { self + [slash] + name }

    fileprivate func withName<Result>(_ body: (UnsafePointer<CChar>) -> Result) -> Result {
        (self + [0]).withUnsafeBytes { body($0.assumingMemoryBound(to: CChar.self).baseAddress!) }
    }

    fileprivate var text: String { String(decoding: self, as: UTF8.self) }
}

private func resolve(_ path: Path) -> Path? {
    guard let resolved = path.withName({ realpath($0, nil) }) else { return nil }
    defer { free(resolved) }
    return Path(resolved)
}

private struct FoundFile {
    /// As `find` would print it.
    let name: Path
    let path: Path
    let bytes: Int
}

/// Whether what could not be reached has gone since it was seen. Valid after a system call that has failed.
private var isGone: Bool { errno == ENOENT || errno == ENOTDIR }

private func fileError(_ name: Path) -> TaskFailure {
    TaskFailure(type: "FileError", message: "\(name.text): \(String(cString: strerror(errno)))")
}

private func hashFiles(_ place: FilePlace, _ context: any TaskContext) throws -> [UInt8] {
    var files: [FoundFile] = []
    try find(Path(place.name.utf8), place.resolved, context, into: &files)
    let total = files.reduce(0) { $0.adding(saturating: $1.bytes) }
    var lines: [[UInt8]] = []
    var done = 0
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 * 1024, alignment: 16)
    defer { buffer.deallocate() }
    for file in files {
        let name = file.name.text
        let digest = try digest(of: file, buffer) { count in
            done += count
            try context.checkpoint()
            context.report(Progress(Double(done), of: Double(max(total, done)), unit: "bytes", message: name))
        }
        if let digest { lines.append(line(digest, file.name)) }
    }
    lines.sort { $0.lexicographicallyPrecedes($1) }
    let sum = SHA256()
    for line in lines { line.withUnsafeBytes(sum.update) }
    return object(["files": .integer(lines.count), "bytes": .integer(done), "sha256": .string(sum.hexDigest())])
}

/// Collects the regular files at and below a path; follows no link.
private func find(_ name: Path, _ path: Path, _ context: any TaskContext, into files: inout [FoundFile]) throws {
    try context.checkpoint()
    var status = stat()
    guard path.withName({ lstat($0, &status) }) == 0 else {
        guard isGone else { throw fileError(name) }
        return
    }
    switch status.st_mode & S_IFMT {
    case S_IFREG: files.append(FoundFile(name: name, path: path, bytes: Int(status.st_size)))
    case S_IFDIR:
        guard let directory = path.withName({ opendir($0) }) else {
            guard isGone else { throw fileError(name) }
            return
        }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            let child = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { Path($0) }
            }
            if child == [dot] || child == [dot, dot] { continue }
            try find(name.below(child), path.below(child), context, into: &files)
        }
    default: return
    }
}

/// - Returns: nil when it has gone meanwhile.
private func digest(
    of file: FoundFile, _ buffer: UnsafeMutableRawBufferPointer, _ progress: (Int) throws -> Void
) throws -> String? {
    guard let opened = Descriptor(ifOpen: file.path.withName { open($0, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) }) else {
        guard isGone else { throw fileError(file.name) }
        return nil
    }
    let sum = SHA256()
    while true {
        let count = read(opened.number, buffer.baseAddress, buffer.count)
        guard count >= 0 else { throw fileError(file.name) }
        guard count > 0 else { break }
        sum.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        try progress(count)
    }
    return sum.hexDigest()
}

/// As `sha256sum` prints it: names with a backslash or a line break are escaped, and the line says so by a backslash.
private func line(_ digest: String, _ name: Path) -> [UInt8] {
    let escapes = name.contains { $0 == UInt8(ascii: "\\") || $0 == 0x0A || $0 == 0x0D }
    guard escapes else { return Array("\(digest)  ".utf8) + name + [0x0A] }
    var line = Array("\\\(digest)  ".utf8)
    for byte in name {
        switch byte {
        case UInt8(ascii: "\\"): line.append("\\\\")
        case 0x0A: line.append("\\n")
        case 0x0D: line.append("\\r")
        default: line.append(byte)
        }
    }
    line.append(0x0A)
    return line
}

/// One SHA-256 computation by libcrypto.
private final class SHA256 {
    private let context = EVP_MD_CTX_new()

    init() { EVP_DigestInit_ex(context, EVP_sha256(), nil) }
    deinit { EVP_MD_CTX_free(context) }

    func update(_ bytes: UnsafeRawBufferPointer) { EVP_DigestUpdate(context, bytes.baseAddress, bytes.count) }

    func hexDigest() -> String {
        var digest = [UInt8](repeating: 0, count: 32)
        EVP_DigestFinal_ex(context, &digest, nil)
        return digest.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
