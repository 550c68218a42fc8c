import EventLoop
import Glibc

/// Makes a file of zeros, with all the memory that it needs, and maps it.
///
/// - Parameter head: Stands at its beginning, within the first page.
/// - Returns: nil when there is no room.
func makeShared(_ path: String, size: Int, head: String = "") -> UnsafeMutableRawPointer? {
    guard let file = Descriptor(opening: path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600) else { return nil }
    // Now, while it can be refused: a page that is not there when it is written to would end the process.
    guard posix_fallocate(file.number, 0, off_t(size)) == 0,
        let memory = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.number, 0), memory != MAP_FAILED
    else {
        unlink(path)
        return nil
    }
    for (index, byte) in head.utf8.prefix(min(size, 4096) - 1).enumerated() {
        memory.storeBytes(of: byte, toByteOffset: index, as: UInt8.self)
    }
    return memory
}
