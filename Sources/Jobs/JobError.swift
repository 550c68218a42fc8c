/// Why an attempt failed, as the job shows it.
package struct JobError: Sendable, Equatable {
    /// The error's name, or `Timeout`, `Crashed`, `MemoryLimit`, `Lost`, `InvalidInput`, `InvalidOutput`.
    package var type: String
    package var message: String
    package var traceback: [String]
    package var exitCode: Int?
    package var signal: Int?

    package init(
        type: String, message: String, traceback: [String] = [], exitCode: Int? = nil, signal: Int? = nil
    ) {
        self.type = type
        self.message = message
        self.traceback = traceback
        self.exitCode = exitCode
        self.signal = signal
    }

    /// Bytes of its texts.
    package var bytes: Int { traceback.reduce(type.utf8.count + message.utf8.count) { $0 + $1.utf8.count } }
}
