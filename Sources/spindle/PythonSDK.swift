import CPythonSDK
import Glibc

/// `spindle.py`, which the binary carries, as a file that interpreters can read.
enum PythonSDK {
    /// The directory that it stands in; made, and brought up to date, when somebody asks.
    static func directory() throws -> String {
        let path = "\(StateDirectory.path)/python/spindle.py"
        StateDirectory.make(for: path)
        let source = UnsafeBufferPointer(start: python_sdk_bytes, count: python_sdk_size)
        if let there = readTextFile(path), there.utf8.elementsEqual(source) { return directory(of: path) }
        // Beside it first: a worker that starts at this moment reads the old one or the new one.
        let fresh = "\(path).\(getpid())"
        guard let file = fopen(fresh, "w") else { throw failed(path) }
        let isWritten = fwrite(source.baseAddress, 1, source.count, file) == source.count
        guard fclose(file) == 0, isWritten, rename(fresh, path) == 0 else {
            unlink(fresh)
            throw failed(path)
        }
        return directory(of: path)
    }

    private static func directory(of path: String) -> String {
        path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
    }

    private static func failed(_ path: String) -> CommandFailure {
        CommandFailure(.usage, "cannot write \(path): \(String(cString: strerror(errno)))")
    }
}
