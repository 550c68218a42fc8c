import Synchronization

/// Told of an exchange's answer, once, when it begins.
package protocol AnswerMeter: AnyObject {
    /// - Parameter began: When the exchange was given to the meter, in monotonic nanoseconds.
    func answered(_ status: Int, since began: Int64)
}

/// What all servers that serve for the same handlers count together, whatever loop they are on.
package final class ServerFigures: Sendable {
    private let connectionCount = Atomic<Int>(0)
    private let refusals = Mutex<[Int: UInt64]>([:])
    private let lags = Mutex<[Int: Int64]>([:])

    /// Open connections.
    package var connections: Int { connectionCount.load(ordering: .relaxed) }
    func addConnections(_ more: Int) { connectionCount.wrappingAdd(more, ordering: .relaxed) }

    /// Answers to requests that no handler saw, by status.
    package var refused: [Int: UInt64] { refusals.withLock { $0 } }
    func noteRefusal(_ status: Int) { refusals.withLock { $0[status, default: 0] += 1 } }

    /// By loop: how late it came to what was due in the last second, at worst, in nanoseconds.
    package var loopLags: [Int: Int64] { lags.withLock { $0 } }
    func noteLag(_ nanoseconds: Int64, of loop: Int) { lags.withLock { $0[loop] = nanoseconds } }
}
