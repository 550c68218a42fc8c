import JSON
import Jobs

/// Whatever a worker or a program says: lines, messages, tasks, figures, progress. Nothing traps, and what is taken over is
/// within its bounds.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzWorker(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let text = UnsafeBufferPointer(start: bytes, count: count)
    for line in lines(text) {
        for isReady in [true, false] {
            // Most lines are no message: the worker is ended then.
            if let message = try? WorkerProtocol.decode(line, isReady: isReady) { look(at: message) }
        }
        let words = String(decoding: line, as: UTF8.self)
        if let progress = Progress(directive: words) { look(at: progress) }
        // As a pattern, on itself.
        if line.count < 100, let pattern = try? Pattern(words) {
            var steps = 20_000
            let scalars = Array((words + words).unicodeScalars)
            if let match = pattern.lastMatch(in: scalars, steps: &steps) {
                precondition(match.upperBound <= scalars.count)
            }
            precondition(steps > -10_000, "steps are not counted")
        }
    }
    return 0
}

/// Cut in every way, the same lines.
private func lines(_ text: UnsafeBufferPointer<UInt8>) -> [[UInt8]] {
    var whole: [[UInt8]] = []
    var splitter = LineSplitter(maximumBytes: 256, cutsLongLines: true)
    _ = splitter.feed(text) { whole.append($0) }
    var pieces: [[UInt8]] = []
    var second = LineSplitter(maximumBytes: 256, cutsLongLines: true)
    var start = 0
    while start < text.count {
        let (fits, used) = second.feed(UnsafeBufferPointer(rebasing: text[start...]), atMost: 1) { pieces.append($0) }
        precondition(fits && used > 0, "a line is lost")
        start += used
    }
    precondition(Array(whole.joined()) == Array(pieces.joined()), "portions are other lines")
    return whole
}

private func look(at message: WorkerProtocol.Message) {
    switch message {
    case .initialized(_, let answer):
        guard let description = try? WorkerDescription(answer, fleet: "fuzz") else { return }
        precondition((1...100_000).contains(description.concurrency))
        for task in description.tasks { _ = task.input.violations(in: answer) }
    case .result(_, let value, _, let usage):
        precondition((try? JSONReader.value(of: value)) != nil, "a result that nobody can read")
        let taken = Usage(workerReported: usage) { _ in }
        precondition(taken.cpuNanoseconds >= 0 && Int.counts.contains(taken.maxRSSBytes ?? 0))
        precondition(Int.counts.contains(taken.voluntarySwitches) && Int.counts.contains(taken.involuntarySwitches))
    case .output(_, let value):
        precondition((try? JSONReader.value(of: value)) != nil, "an output that nobody can read")
    case .progress(_, let progress): look(at: progress)
    case .error, .log, .ignored: break
    }
}

private func look(at progress: Progress) {
    precondition(progress.done.isFinite && progress.done >= 0 && progress.total ?? 1 > 0)
    precondition((0...1).contains(progress.fraction ?? 0))
}
