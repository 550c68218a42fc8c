import Glibc

/// The bytes of a file, whole; nil and errno when it cannot be read.
func wholeFile(_ path: String) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    return readAll(descriptor)
}

/// What can be read from a descriptor until its end; nil and errno when something goes wrong.
func readAll(_ descriptor: CInt) -> [UInt8]? {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
        let count = read(descriptor, &buffer, buffer.count)
        if count < 0, errno == EINTR { continue }
        guard count >= 0 else { return nil }
        guard count > 0 else { return bytes }
        bytes += buffer[..<count]
    }
}

/// The text of a file, whole; nil and errno when it cannot be read.
func readTextFile(_ path: String) -> String? { wholeFile(path).map { String(decoding: $0, as: UTF8.self) } }
