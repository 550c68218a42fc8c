import EventLoop
import Jobs

/// What is being taken back of one kind of a worker's calls: of its line, or of those beside it.
///
/// Loop-confined.
final class Withdrawal {
    /// Where the worker looks.
    private let word: WorkerState.Word
    /// Up to this one none is to begin any more.
    private(set) var last = 0
    /// When that was said; nil when all of them have begun, or are back.
    private(set) var since: Int64?

    init(_ word: WorkerState.Word) { self.word = word }

    /// While it is, what the worker begins could not be told from what it does not.
    var isOpen: Bool { since != nil }

    func open(upTo last: Int, in state: WorkerState) {
        self.last = last
        since = monotonicNanoseconds()
        state[word] = UInt64(last)
    }

    func close() { since = nil }
}

/// Calls that a worker was given, and that another one is to run: they wait behind one that does not end, or for a loop that
/// does not move.
///
/// ```
///   withdraw ──► the word in its memory: the last call that it is not to begin
///      │              the worker marks a call as begun, then looks at the word: it skips that call, and says so
///      └─ later ─► settle: what bears no mark by then never begins here
/// ```
///
/// Between its mark and its look nothing is ordered; but no mark stays unseen for as long as we wait. So each call is begun
/// there, or comes back: by what we see, or by what the worker says.
extension WorkerProcess {
    /// So long others wait for the call that runs in the line, or for the loop, in nanoseconds; for the loop, who was taken
    /// back before waits twice as long each time.
    private static let patience: Int64 = 200_000_000
    /// From the word to the look, in nanoseconds: a mark is seen after less than a thousandth of that. And from a cancel to
    /// the word, for the worker may do without.
    private static let settlingTime: Int64 = 50_000_000

    /// Whether a call of the line would begin here at once, as far as is known.
    var hasRoomInLine: Bool { line.isEmpty && !loopIsStuck }
    /// The same of a concurrent call.
    var hasRoomBeside: Bool {
        !loopIsStuck && !besideWithdrawal.isOpen && !unsaidBeside.contains { concurrent[$0.id] === $0 }
    }

    /// All of one kind that have not begun: the mark of one that was not meant would be one of those before it.
    private func withdraw(beside: Bool) {
        let withdrawal = beside ? besideWithdrawal : lineWithdrawal
        guard let state, !withdrawal.isOpen, let last = beside ? unsaidBeside.last : line.last else { return }
        withdrawal.open(upTo: last.id, in: state)
    }

    /// Looks what waits for too long, and what has become of what was taken back. Called now and then.
    ///
    /// - Parameter hasRoomElsewhere: Whether a call, a concurrent one or another, would begin in another worker.
    func attend(at now: Int64, hasRoomElsewhere: (_ beside: Bool) -> Bool) {
        guard canWithdraw else { return }
        settle(lineWithdrawal, of: line, at: now)
        settle(besideWithdrawal, of: unsaidBeside, at: now)
        settleCancelled(at: now)
        if let first = line.first, first.isSaidToHaveBegun, now - first.started > Self.patience {
            lineIsStuck = true
            if line.last?.isSaidToHaveBegun == false { withdraw(beside: false) }
        }
        // Who was taken back before waits longer, and with it those behind it.
        func isOverdue(_ call: WorkerCall) -> Bool {
            now - call.started > Self.patience << Int64(min(call.attempt.hops, 6))
        }
        if let oldest = unsaidBeside.first(where: { concurrent[$0.id] === $0 }), isOverdue(oldest) {
            loopIsStuck = true
            if hasRoomElsewhere(true) { withdraw(beside: true) }
        }
        // The loop that does not move is the one that reads what the line gets.
        if let first = line.first, !first.isSaidToHaveBegun, !concurrent.isEmpty, isOverdue(first) {
            loopIsStuck = true
            if hasRoomElsewhere(false) { withdraw(beside: false) }
        }
    }

    private func settle(_ withdrawal: Withdrawal, of calls: [WorkerCall], at now: Int64) {
        guard let since = withdrawal.since, now - since >= Self.settlingTime else { return }
        withdrawal.close()
        tellWhatHasBegun()
        giveBack(calls.filter { $0.id <= withdrawal.last && !$0.isSaidToHaveBegun })
    }

    /// What becomes of cancelled calls that had not begun when they were.
    private func settleCancelled(at now: Int64) {
        guard !undecided.isEmpty else { return }
        undecided.removeAll { call in
            guard concurrent[call.id] === call || line.contains(where: { $0 === call }) else { return true }
            guard hasBegun(call) || call === line.first && concurrent.isEmpty else { return false }
            // Further behind in the line it costs the worker from its turn on.
            if !call.costsWorker, call.isConcurrent || call === line.first { endWorker(for: call) }
            return true
        }
        for call in undecided where now - call.cancelledAt >= Self.settlingTime {
            withdraw(beside: call.isConcurrent)
        }
    }

    /// The worker says that it leaves a call to others.
    ///
    /// - Returns: False when nobody has taken that call back.
    func wasLeft(_ call: WorkerCall) -> Bool {
        guard call.id <= (call.isConcurrent ? besideWithdrawal : lineWithdrawal).last else { return false }
        if call.isSaidToHaveBegun {
            // It had marked it before it saw the word, and we have told of the mark.
            let error = JobError(type: "Lost", message: "the worker has left it to others when it was to begin")
            ended(call, AttemptResult(call.wasCancelled ? .stopped(.cooperative) : .bystander, error: error), nil)
        } else {
            giveBack([call])
        }
        return true
    }

    /// Lets go of calls that have not begun here and never will.
    private func giveBack(_ calls: [WorkerCall]) {
        let calls = calls.filter { !$0.isConcurrent || concurrent[$0.id] === $0 }
        for call in calls {
            takeOut(call)
            // Whatever this worker says of later ones.
            call.attempt.cell.keep()
        }
        unsaidBeside.removeAll { concurrent[$0.id] !== $0 }
        let attempts = calls.filter { !$0.wasCancelled }.map { call in
            var attempt = call.attempt
            attempt.hops += 1
            return attempt
        }
        if !attempts.isEmpty { onChange(self, .gaveBack(attempts)) }
        // After that: an end may bring others, which are behind those.
        for call in calls where call.wasCancelled {
            tell(.ended(call.attempt.id, AttemptResult(.stopped(.beforeStart))))
        }
        turnComes(at: monotonicNanoseconds())
        leaveWhenIdle()
    }
}
