import Glibc

extension Descriptor {
    /// Opens a file; whoever we start does not inherit it.
    ///
    /// - Parameters:
    ///   - directory: Where a relative path begins; `AT_FDCWD`: in the working directory.
    ///   - mode: Of a file that is made.
    /// - Returns: nil and `errno` when it cannot be opened.
    package init?(opening path: String, in directory: CInt = AT_FDCWD, _ flags: CInt, mode: mode_t = 0) {
        self.init(ifOpen: openat(directory, path, flags | O_CLOEXEC, mode))
    }

    /// What can be read until the end.
    ///
    /// - Parameter longest: In bytes.
    /// - Returns: nil and `errno` when it cannot be read; `EFBIG` for what is longer.
    package borrowing func contents(atMost longest: Int = .max) -> [UInt8]? { readAll(number, atMost: longest) }

    /// Writes all of it.
    ///
    /// - Returns: False and `errno` when it cannot.
    package borrowing func write(all bytes: some Sequence<UInt8>) -> Bool {
        Array(bytes).withUnsafeBytes { bytes in
            var left = bytes[...]
            while !left.isEmpty {
                let count = Glibc.write(number, UnsafeRawBufferPointer(rebasing: left).baseAddress, left.count)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return false }
                left = left.dropFirst(count)
            }
            return true
        }
    }
}

/// What can be read from a descriptor that others own, as ``Descriptor/contents(atMost:)`` says.
package func readAll(_ descriptor: CInt, atMost longest: Int = .max) -> [UInt8]? {
    var bytes: [UInt8] = []
    // Of a regular file the size is known, and no more is asked for; of what grows meanwhile, more. What says that it is
    // huge is to show it first.
    var status = stat()
    if fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_size <= longest {
        bytes.reserveCapacity(min(Int(status.st_size), 1 << 26) + 1)
    }
    let code = withUnsafeTemporaryAllocation(byteCount: 1 << 16, alignment: 16) { buffer in
        while true {
            let count = read(descriptor, buffer.baseAddress, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return count < 0 ? errno : 0 }
            guard count <= longest - bytes.count else { return EFBIG }
            bytes.append(contentsOf: buffer[..<count])
        }
    }
    guard code == 0 else {
        errno = code
        return nil
    }
    return bytes
}

/// The bytes of a file, whole, as ``Descriptor/contents(atMost:)`` says.
package func wholeFile(_ path: String, atMost longest: Int = .max) -> [UInt8]? {
    guard let file = Descriptor(opening: path, O_RDONLY) else { return nil }
    return file.contents(atMost: longest)
}

/// Puts bytes in the place of a file of ours that nobody else may read. Whatever happens meanwhile, a power cut too, the
/// file is the old one or the new one, whole; once this has returned true, the new one.
///
/// - Returns: False and `errno` when it is still the old one, or may be.
package func replaceFile(_ path: String, with bytes: some Sequence<UInt8>) -> Bool {
    let fresh = path + ".new"
    // What a server that was killed has left.
    unlink(fresh)
    guard let file = Descriptor(opening: fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600) else {
        return false
    }
    guard file.write(all: bytes), fsync(file.number) == 0, rename(fresh, path) == 0 else {
        let code = errno
        unlink(fresh)
        errno = code
        return false
    }
    return syncDirectory(of: path)
}

/// Sees to it that a name that was given, changed or taken away outlives a power cut.
///
/// - Returns: False and `errno` when that is not known.
package func syncDirectory(of path: String) -> Bool {
    guard let opened = Descriptor(opening: directory(of: path), O_RDONLY | O_DIRECTORY) else { return false }
    return fsync(opened.number) == 0
}

/// Where a file lies, as far as its path says.
package func directory(of path: String) -> String { path.cut(atLast: "/").map { $0.before + "/" } ?? "." }
