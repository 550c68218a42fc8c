import CSpindle
import EventLoop
import Glibc

/// What one worker has begun, for the server after this one. The worker writes there, and this server never reads it: a
/// worker that spoils it spoils nothing else.
///
/// | word | what the worker says with it |
/// | --- | --- |
/// | 0 | 1: it uses this |
/// | 1 | the last call of its line that has begun |
/// | 2 | the last concurrent call that has begun |
package final class StartPage: Sendable {
    /// Names its path to the worker.
    package static let variable = "SPINDLE_BEGUN"
    static let bytes = 4096

    let number: UInt64
    package let path: String

    package init?(_ number: UInt64, in directory: String) {
        self.number = number
        path = "\(directory)/\(number)"
        guard let memory = makeShared(path, size: Self.bytes) else { return nil }
        munmap(memory, Self.bytes)
    }

    deinit { unlink(path) }

    /// This worker's, of a worker; never given back.
    static func own() -> UnsafeMutableRawPointer? {
        guard let path = getenv(variable) else { return nil }
        guard let file = Descriptor(ifOpen: open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC)) else { return nil }
        var status = stat()
        guard fstat(file.number, &status) == 0, status.st_size == bytes,
            let memory = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.number, 0), memory != MAP_FAILED
        else { return nil }
        spindle_store(memory, 1)
        return memory
    }
}
