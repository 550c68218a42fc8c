import Glibc
import JSON
import Jobs

/// A result that was too long for a line: a file in its worker's directory.
///
/// Opened at once, without waiting for anybody and without following a link; read elsewhere, because that takes its time.
struct ResultFile: ~Copyable {
    /// In bytes.
    private static let longest = 64 << 20

    private let descriptor: CInt

    /// - Parameters:
    ///   - path: As the worker says it; what counts is where it leads from the worker's directory.
    ///   - directory: The worker's.
    /// - Returns: nil when there is no regular file, or too long a one. It has no name any more in any case.
    init?(_ path: String, below directory: String) {
        let inside = path.hasPrefix(directory + "/") ? path.dropFirst(directory.count + 1) : path[...]
        var steps = inside.split(separator: "/").map(String.init)
        // The directory may have another name for the worker, by a link above it.
        if inside.hasPrefix("/") { steps = Array(steps.suffix(1)) }
        guard let name = steps.popLast(), !(steps + [name]).contains("..") else { return nil }
        var place = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        for step in steps {
            guard place >= 0 else { return nil }
            let below = openat(place, step, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
            close(place)
            place = below
        }
        guard place >= 0 else { return nil }
        let file = openat(place, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        unlinkat(place, name, 0)
        close(place)
        guard file >= 0 else { return nil }
        var status = stat()
        guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_size <= Self.longest else {
            close(file)
            return nil
        }
        descriptor = file
    }

    deinit { close(descriptor) }

    /// Its descriptor, for who reads it elsewhere and closes it then.
    consuming func handOver() -> CInt {
        let descriptor = descriptor
        discard self
        return descriptor
    }

    /// Reads it, and closes it.
    ///
    /// - Returns: nil when it is too long, or cannot be read.
    static func contents(of descriptor: CInt) -> [UInt8]? {
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while bytes.count <= longest {
            let count = read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { return nil }
            guard count > 0 else { return bytes }
            bytes += buffer[..<count]
        }
        return nil
    }
}

extension JSONSchema {
    /// The first thing that keeps a result from fitting, in words; nil when it fits.
    func misfit(_ value: JSONValue) -> String? {
        violations(in: value).first.map { "\($0.pointer.isEmpty ? "" : $0.pointer + ": ")\($0.detail)" }
    }
}

extension AttemptResult {
    /// A worker's result, judged by its task's schema.
    init(result value: [UInt8], of task: TaskDefinition) {
        // It is JSON: it has been read before.
        if let schema = task.output, let value = try? JSONReader.value(of: value), let what = schema.misfit(value) {
            self.init(invalidOutput: "the result does not fit: \(what)")
        } else {
            self.init(.succeeded, value: onOneLine(value))
        }
    }

    /// The same from a file that may hold anything; nil: there was none.
    init(file bytes: [UInt8]?, named name: String, of task: TaskDefinition, usage: Usage) {
        if let bytes {
            do throws(JSONError) {
                _ = try JSONReader.value(of: bytes)
                self.init(result: bytes, of: task)
            } catch {
                self.init(invalidOutput: "the file of its result, \(name), is no JSON: \(error)")
            }
        } else {
            self.init(invalidOutput: "the file of its result, \(name), is no file of at most 64 MiB in its directory")
        }
        self.usage = usage
    }

    private init(invalidOutput message: String) {
        self.init(.failed(canRetry: false), error: JobError(type: "InvalidOutput", message: message))
    }
}
