import EventLoop
import Glibc
import Pools

/// Where a program is, checked: what cannot be started is to be said at the start.
///
/// - Parameters:
///   - name: A name is looked for in `PATH`, a relative path in `directory`.
///   - wrong: Makes the failure.
func programPath(_ name: String, in directory: String, _ wrong: (String) -> CommandFailure) throws -> String {
    guard name.holds("/") else {
        do throws(TaskFailure) {
            return try findExecutable(name)
        } catch {
            throw wrong(error.message)
        }
    }
    let path = name.begins(with: "/") ? name : "\(directory)/\(name)"
    var status = stat()
    guard stat(path, &status) == 0 else {
        throw wrong("there is no program \(path): \(String(cString: strerror(errno)))")
    }
    guard status.st_mode & S_IFMT == S_IFREG else { throw wrong("\(path) is no program") }
    guard access(path, X_OK) == 0 else { throw wrong("\(path) is not executable: chmod +x \(path)") }
    return path
}

/// The working directory.
func workingDirectory() -> String {
    guard let path = realpath(".", nil) else { return "." }
    defer { free(path) }
    return String(cString: path)
}
