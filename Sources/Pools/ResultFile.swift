import EventLoop
import Glibc
import JSON
import Jobs

/// A result that was too long for a line: a file in its worker's directory.
///
/// Opened at once, without waiting for anybody and without following a link; read elsewhere, because that takes its time.
struct ResultFile: ~Copyable, Sendable {
    /// In bytes.
    private static let longest = 64 << 20

    private let file: Descriptor

    /// - Parameters:
    ///   - path: As the worker says it; what counts is where it leads from the worker's directory.
    ///   - directory: The worker's.
    /// - Returns: nil when there is no regular file, or too long a one. It has no name any more in any case.
    init?(_ path: String, below directory: String) {
        let inside = path.rest(after: directory + "/") ?? path[...]
        var steps = inside.parts(at: "/").map(String.init)
        // The directory may have another name for the worker, by a link above it.
        if inside.begins(with: "/") { steps = Array(steps.suffix(1)) }
        guard let name = steps.popLast(), !(steps + [name]).contains("..") else { return nil }
        guard var place = Descriptor(opening: directory, O_RDONLY | O_DIRECTORY) else { return nil }
        for step in steps {
            guard let below = Descriptor(opening: step, in: place.number, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) else {
                return nil
            }
            place = below
        }
        let file = Descriptor(opening: name, in: place.number, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
        unlinkat(place.number, name, 0)
        guard let file else { return nil }
        var status = stat()
        guard fstat(file.number, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_size <= Self.longest
        else { return nil }
        self.file = file
    }

    /// What is in it; nil when that is too long, or cannot be read.
    consuming func contents() -> [UInt8]? { file.contents(atMost: Self.longest) }
}

/// Carries the file to the thread that reads it.
// Guard: `file` is taken once, by that thread; handing it over orders the two.
final class ResultCarrier: @unchecked Sendable {
    private var file: ResultFile?

    init(_ file: consuming ResultFile?) { self.file = file }

    /// nil: there was none.
    func contents() -> [UInt8]? { file.take()?.contents() }
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
