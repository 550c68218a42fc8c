import EventLoop
import Jobs
import Store

/// The one throttle of what attempts say, the same for all pools: what comes more often than anybody can read costs no
/// events.
///
/// Progress: an attempt's first few at once, then ten events a second. Between them the latest one waits; the last one is never lost.
/// Logs: so many bytes of events a second; what exceeds them is counted, and a line says so. The log itself, as text, keeps
/// its end whole.
final class Throttle {
    /// Between two progress events of one job, in nanoseconds, but for an attempt's first few.
    private static let progressPause: Int64 = 100_000_000
    private static let firstFew = 3
    /// Bytes of log events of one job in a second, each of them counted with what it costs besides its text.
    private static let logBytes = 1 << 20
    private static let lineBytes = 64
    private static let window: Int64 = 1_000_000_000
    /// How often what is held back is looked at.
    private static let pace = Duration.milliseconds(50)

    /// What one job has said lately. Made with its first word.
    final class Speech {
        /// Before that no progress is told, once the attempt's first few are.
        fileprivate var nextProgress: Int64 = 0
        fileprivate var told = 0
        fileprivate var held: Progress?
        fileprivate var windowEnd: Int64 = 0
        fileprivate var windowBytes = 0
        fileprivate var droppedLines = 0
        /// In the whole attempt.
        fileprivate var droppedInAll = 0
        /// In ``Throttle/holding``.
        fileprivate var isHeldBack = false

        fileprivate func mayTellProgress(at now: Int64) -> Bool {
            guard told < Throttle.firstFew || now >= nextProgress else { return false }
            told += 1
            nextProgress = now + Throttle.progressPause
            return true
        }

        fileprivate func mayTellLine(of bytes: Int, at now: Int64) -> Bool {
            if now >= windowEnd, droppedLines == 0 {
                windowEnd = now + Throttle.window
                windowBytes = 0
            }
            windowBytes += bytes + Throttle.lineBytes
            return windowBytes <= Throttle.logBytes
        }
    }

    unowned(unsafe) var engine: Engine!
    private var holding: [LiveJob] = []
    private var timer: Deadline?

    func progress(_ job: LiveJob, _ progress: Progress) {
        let speech = speech(of: job)
        if speech.mayTellProgress(at: monotonicNanoseconds()) {
            speech.held = nil
            tell(progress, of: job)
        } else {
            speech.held = progress
            hold(job, speech)
        }
    }

    func log(_ job: LiveJob, _ stream: String, _ level: String?, _ text: String) {
        // What we say of an attempt is no line of its own: its log has what it has printed, to the last byte.
        guard stream != LogStream.control else {
            return engine.append(.log(stream: stream, level: level, text: text), to: job)
        }
        let speech = speech(of: job)
        job.record.log.append(line: text)
        if speech.mayTellLine(of: text.utf8.count, at: monotonicNanoseconds()) {
            engine.append(.log(stream: stream, level: level, text: text), to: job)
        } else {
            speech.droppedLines += 1
            speech.droppedInAll += 1
            hold(job, speech)
        }
        engine.weigh(job)
    }

    /// The attempt has ended: what was held back is said now.
    func finish(_ job: LiveJob) {
        guard let speech = job.speech else { return }
        tellHeld(job, speech)
        // Earlier words about that may have been dropped themselves by now.
        tellDropped(speech.droppedInAll, job)
        speech.droppedLines = 0
        speech.droppedInAll = 0
        speech.told = 0
    }

    private func speech(of job: LiveJob) -> Speech {
        if let speech = job.speech { return speech }
        let speech = Speech()
        job.speech = speech
        return speech
    }

    private func tell(_ progress: Progress, of job: LiveJob) {
        job.record.progress = progress
        // It stays with the event: later nobody knows any more when this attempt began.
        let left = job.record.startedAt.flatMap { progress.left(after: engine.now.nanoseconds(since: $0)) }
        engine.append(.progress(progress, left: left), to: job)
        engine.weigh(job)
    }

    private func tellHeld(_ job: LiveJob, _ speech: Speech) {
        guard let progress = speech.held else { return }
        speech.held = nil
        tell(progress, of: job)
    }

    private func tellDropped(_ count: Int, _ job: LiveJob) {
        guard count > 0 else { return }
        engine.append(
            .log(
                stream: LogStream.control, text: "\(count) lines dropped: too many a second; the log has the last MiB"),
            to: job)
    }

    // MARK: What is held back

    private func hold(_ job: LiveJob, _ speech: Speech) {
        guard !speech.isHeldBack else { return }
        speech.isHeldBack = true
        holding.append(job)
        if timer == nil { watch() }
    }

    private func watch() {
        timer = Deadline(after: Self.pace, on: engine.loop) { [unowned self] in release() }
    }

    private func release() {
        timer = nil
        let now = monotonicNanoseconds()
        holding.removeAll { job in
            guard let speech = job.speech, job.outcome == nil else { return true }
            if speech.held != nil, speech.mayTellProgress(at: now) { tellHeld(job, speech) }
            if now >= speech.windowEnd {
                tellDropped(speech.droppedLines, job)
                speech.droppedLines = 0
            }
            guard speech.held == nil, speech.droppedLines == 0 else { return false }
            speech.isHeldBack = false
            return true
        }
        if !holding.isEmpty { watch() }
    }
}
