/// What went wrong when the loop asked libevent or the kernel for something.
package struct LoopError: Error, CustomStringConvertible, Equatable {
    package enum Code: String, Sendable {
        case outOfMemory, noDescriptors, notScheduled
    }

    package let code: Code
    /// The C function that failed.
    package let call: String

    package init(_ code: Code, call: String) {
        self.code = code
        self.call = call
    }

    package var description: String { "\(call) failed: \(code.rawValue)" }
}
