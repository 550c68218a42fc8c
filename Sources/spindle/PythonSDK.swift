import CPythonSDK
import CSpindle
import EventLoop
import Glibc
import Pools

/// The Python side of the worker protocol, which the binary carries, as files that interpreters can read.
enum PythonSDK {
    /// One of the files.
    private struct Module {
        /// Below the directory.
        let path: String
        let source: UnsafeBufferPointer<UInt8>
    }

    /// The directory that they stand in; made, and brought up to date, when somebody asks.
    static func directory() throws -> String {
        guard let state = StateDirectory.path else { throw StateDirectory.missing("") }
        let directory = "\(state)/python"
        StateDirectory.make(for: directory)
        if isCurrent(directory) { return directory }
        // Beside it first, and then all at once: a worker that starts at this moment reads the old ones or the new ones.
        let fresh = "\(directory).\(getpid())"
        defer { removeDirectory(fresh) }
        for module in modules {
            let path = "\(fresh)/\(module.path)"
            StateDirectory.make(for: path)
            guard write(module.source, to: path) else { throw failed(path) }
        }
        guard rename(fresh, directory) == 0 || spindle_exchange(fresh, directory) == 0 else { throw failed(directory) }
        return directory
    }

    private static var modules: [Module] {
        UnsafeBufferPointer(start: python_sdk_files, count: python_sdk_count).map { file in
            Module(
                path: String(cString: file.path), source: UnsafeBufferPointer(start: file.bytes, count: file.size))
        }
    }

    private static func isCurrent(_ directory: String) -> Bool {
        modules.allSatisfy { module in
            wholeFile("\(directory)/\(module.path)")?.elementsEqual(module.source) ?? false
        }
    }

    private static func write(_ bytes: UnsafeBufferPointer<UInt8>, to path: String) -> Bool {
        guard let file = fopen(path, "w") else { return false }
        let isWritten = fwrite(bytes.baseAddress, 1, bytes.count, file) == bytes.count
        return fclose(file) == 0 && isWritten
    }

    private static func failed(_ path: String) -> CommandFailure {
        CommandFailure(.usage, "cannot write \(path): \(String(cString: strerror(errno)))")
    }
}
