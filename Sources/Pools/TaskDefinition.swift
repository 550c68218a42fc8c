import JSON
import Jobs

/// What a task mostly does; picks its default pool.
package enum TaskKind: String, Sendable {
    case cpu, io
}

/// A named thing that can run. Immutable; one object for all its attempts.
package final class TaskDefinition: Sendable {
    /// What runs. A function may come in two forms; the pool picks the one it can run.
    package enum Body: Sendable {
        case function(blocking: Blocking?, async: Async?)
        /// One child process per attempt.
        case command(CommandDefinition)
        /// A task of workers in some language; concurrent ones run beside others in the same worker.
        /// - Parameter saysBeginnings: Whether its workers say which call has begun.
        case worker(fleet: String, isConcurrent: Bool, saysBeginnings: Bool)
    }

    /// Runs on a thread of its own, or alone in a worker process. Returns its result as JSON.
    package typealias Blocking = @Sendable (JSONValue, any TaskContext) throws -> [UInt8]
    /// Runs on the event loop beside thousands of others, and must not hold it for more than a millisecond.
    package typealias Async = @Sendable (JSONValue, any LoopTaskContext) async throws -> [UInt8]

    package let name: String
    package let kind: TaskKind
    package let description: String
    package let input: JSONSchema
    package let output: JSONSchema?
    /// Where it can run; the first is where it runs when nobody asks.
    package let pools: [PoolName]
    package let timeout: Duration?
    package let maxAttempts: Int
    package let body: Body
    /// Looks at an input that fits the schema, before the job is accepted.
    package let check: (@Sendable (JSONValue) -> [SchemaViolation])?

    package init(
        name: String, kind: TaskKind, description: String, input: JSONSchema, output: JSONSchema? = nil,
        pools: [PoolName], timeout: Duration? = nil, maxAttempts: Int = 1, body: Body,
        check: (@Sendable (JSONValue) -> [SchemaViolation])? = nil
    ) {
        self.name = name
        self.kind = kind
        self.description = description
        self.input = input
        self.output = output
        self.pools = pools
        self.timeout = timeout
        self.maxAttempts = maxAttempts
        self.body = body
        self.check = check
    }

    /// Whether its attempts only wait, many at once in one worker.
    package var isConcurrent: Bool {
        if case .worker(_, isConcurrent: true, _) = body { true } else { false }
    }

    /// Whether attempts that have not begun may wait inside a pool: only where somebody will say when they do.
    package var mayWaitInside: Bool {
        switch body {
        case .function: true
        case .worker(_, _, let saysBeginnings): saysBeginnings
        case .command: false
        }
    }

    /// Names are 1 to 64 letters, digits, `-`, `_` or `.`: they stand in addresses and metrics.
    package static func isValid(name: String) -> Bool {
        (1...64).contains(name.utf8.count)
            && name.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
                    true
                default: false
                }
            }
    }
}

/// A task's way to ask whether it should go on, and to tell how far it is.
///
/// Call ``checkpoint()`` and ``report(_:)`` as often as convenient, at least every 50 ms: of what is too frequent the latest
/// waits, and goes out with a later checkpoint or the end.
package protocol TaskContext {
    /// True once somebody wants the attempt to end.
    var isCancelled: Bool { get }
    func report(_ progress: Progress)
    /// A partial result, as JSON on one line.
    func output(_ json: [UInt8])
    func log(_ text: String)
    /// Sleeps on the attempt's own thread.
    /// - Throws: ``TaskCancelled`` at once when the attempt is cancelled.
    func wait(for delay: Duration) throws
}

extension TaskContext {
    package func checkpoint() throws(TaskCancelled) {
        if isCancelled { throw TaskCancelled() }
    }
}

/// The same for a task on the event loop, where waiting is `await`.
package protocol LoopTaskContext: Sendable {
    func report(_ progress: Progress)
    func output(_ json: [UInt8])
    func log(_ text: String)
    /// Suspends the task.
    /// - Throws: `CancellationError` at once when the attempt is cancelled.
    func wait(for delay: Duration) async throws
}

/// Thrown by a task that stops because it was asked to.
package struct TaskCancelled: Error {
    package init() {}
}

/// An error that a task throws with a name of its own; others are named after their Swift type.
package struct TaskFailure: Error, Equatable {
    package let type: String
    package let message: String
    /// False for what would fail again.
    package let canRetry: Bool

    package init(type: String, message: String, canRetry: Bool = true) {
        self.type = type
        self.message = message
        self.canRetry = canRetry
    }
}
