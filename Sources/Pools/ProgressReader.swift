import EventLoop
import Jobs

/// Finds percentages in the output of a program that knows nothing of Spindle, away from the loop.
///
/// What a program draws again and again behind carriage returns counts as it is drawn: a line feed need not come. Of what
/// comes faster than it can be looked through, the end counts.
///
/// Loop-confined.
final class ProgressReader {
    /// Of one line only the end is looked through, in characters.
    private static let longestLine = 4096
    /// Output that may wait to be looked through, in bytes.
    private static let longestWait = 64 * 1024
    /// Of the matching of one piece of output; some tens of milliseconds.
    private static let steps = 3_000_000

    /// Lines of one piece of output that are told of.
    private static let mostFound = 16

    private let pattern: Pattern
    private let thread: Errands
    private let loop: EventLoop
    private let found: (Progress) -> Void
    /// Called whenever nothing waits any more; with whether some of the output was too costly to be looked through.
    private let whenIdle: (_ wasTooCostly: Bool) -> Void
    private var waiting: [UInt8] = []
    /// The line that is not complete yet.
    private var line: [UInt8] = []
    private(set) var isIdle = true

    init(
        _ pattern: Pattern, on thread: Errands, and loop: EventLoop, found: @escaping (Progress) -> Void,
        whenIdle: @escaping (_ wasTooCostly: Bool) -> Void
    ) {
        self.pattern = pattern
        self.thread = thread
        self.loop = loop
        self.found = found
        self.whenIdle = whenIdle
    }

    func take(_ bytes: UnsafeBufferPointer<UInt8>) {
        waiting.append(contentsOf: bytes.suffix(Self.longestWait))
        if waiting.count > 2 * Self.longestWait { waiting = Array(waiting.suffix(Self.longestWait)) }
        if isIdle { look() }
    }

    private func look() {
        isIdle = false
        let text = line + waiting
        waiting.removeAll(keepingCapacity: true)
        thread.run(on: loop) { [pattern] in
            Self.look(through: text, for: pattern)
        } then: { [self] outcome in
            line = outcome.rest
            for percent in outcome.percents.reversed() { found(Progress(percent, of: 100, unit: "%")) }
            if waiting.isEmpty { isIdle = true } else { look() }
            if isIdle || outcome.wasTooCostly { whenIdle(outcome.wasTooCostly) }
        }
    }

    private struct Outcome {
        /// The last ones first.
        var percents: [Double] = []
        var wasTooCostly = false
        var rest: [UInt8] = []
    }

    /// The last matches of the last lines that have one.
    private static func look(through text: [UInt8], for pattern: Pattern) -> Outcome {
        var outcome = Outcome()
        var steps = Self.steps
        let lines = text.split(omittingEmptySubsequences: false) { $0 == 0x0A || $0 == 0x0D }
        outcome.rest = Array((lines.last ?? []).suffix(4 * longestLine))
        for line in lines.reversed() where !line.isEmpty {
            let scalars = Array(String(decoding: line.suffix(4 * longestLine), as: UTF8.self).unicodeScalars)
            let end = Array(scalars.suffix(longestLine))
            let match = pattern.lastMatch(in: end, steps: &steps)
            if let match, let percent = Double(String(String.UnicodeScalarView(end[match]))), percent.isFinite {
                outcome.percents.append(percent)
                if outcome.percents.count == mostFound { return outcome }
            }
            guard steps > 0 else {
                outcome.wasTooCostly = true
                return outcome
            }
        }
        return outcome
    }
}
