/// Where a job stands.
///
/// ```
///  submitted ──► scheduled | blocked ──► queued ──► running ⇄ suspended
///                     ▲                              │  │ └─ cancel ─► cancelling ─► cancelled
///                     └──── retry ───────────────────┘  └─ ended ─► succeeded | failed
/// ```
package enum JobState: String, Sendable, CaseIterable {
    /// Not yet due.
    case scheduled
    /// Waits for the job that holds its key.
    case blocked
    case queued
    case running
    case suspended
    case cancelling
    case succeeded
    case failed
    case cancelled

    /// Whether nothing can happen to the job any more.
    package var isFinal: Bool {
        switch self {
        case .succeeded, .failed, .cancelled: true
        case .scheduled, .blocked, .queued, .running, .suspended, .cancelling: false
        }
    }
}

/// Where attempts run.
package enum PoolName: String, Sendable, CaseIterable, Hashable {
    case loop, thread, process, gpu

    /// A table with one entry for each pool.
    package typealias Each<Value> = InlineArray<4, Value>

    /// Its place in tables that have one entry for each pool.
    package var index: Int {
        switch self {
        case .loop: 0
        case .thread: 1
        case .process: 2
        case .gpu: 3
        }
    }
}

/// What stopped an attempt, in the words of the cancel contract.
package enum StopMethod: String, Sendable, CaseIterable {
    case cooperative, sigterm, sigkill, abandoned
    case beforeStart = "before-start"
}
