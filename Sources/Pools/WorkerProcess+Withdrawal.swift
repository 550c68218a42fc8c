import EventLoop
import Jobs

/// Calls of one kind, the line's or those beside it, that are being taken back.
struct Withdrawal {
    /// Up to this one none is to begin any more.
    var last = 0
    /// When that was said; nil when what had not begun is back.
    var since: Int64?
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
    /// So long others wait for the call that runs in the line, or for the loop, in nanoseconds.
    private static let patience: Int64 = 200_000_000
    /// From the word to the look, in nanoseconds: a mark is seen after less than a thousandth of that.
    private static let settlingTime: Int64 = 50_000_000

    /// Whether calls can be taken back.
    var heeds: Bool { state?.heeds ?? false }

    func withdraw(beside: Bool) {
        guard let state, heeds, (beside ? withdrawalBeside : withdrawal).since == nil,
            let last = beside ? unsaidBeside.last : line.last
        else { return }
        let withdrawal = Withdrawal(last: last.id, since: monotonicNanoseconds())
        if beside { withdrawalBeside = withdrawal } else { self.withdrawal = withdrawal }
        state[beside ? .withdrawnBeside : .withdrawn] = UInt64(last.id)
    }

    /// Looks what waits for too long, and what has become of what was taken back. Called now and then.
    ///
    /// - Parameter hasRoomElsewhere: Whether another worker would take concurrent calls.
    func attend(at now: Int64, hasRoomElsewhere: () -> Bool) {
        guard heeds else { return }
        if let since = withdrawal.since, now - since >= Self.settlingTime {
            withdrawal.since = nil
            settle(line, upTo: withdrawal.last)
        }
        if let since = withdrawalBeside.since, now - since >= Self.settlingTime {
            withdrawalBeside.since = nil
            settle(unsaidBeside, upTo: withdrawalBeside.last)
        }
        decide()
        if let first = line.first, first.isSaidToHaveBegun, now - first.started > Self.patience {
            lineIsStuck = true
            if line.count > 1 { withdraw(beside: false) }
        }
        let oldest = unsaidBeside.first { concurrent[$0.id] === $0 }
        if let oldest, now - oldest.started > Self.patience {
            loopIsStuck = true
            if hasRoomElsewhere() { withdraw(beside: true) }
        }
    }

    private func settle(_ calls: [WorkerCall], upTo last: Int) {
        tellWhatHasBegun()
        giveBack(calls.filter { $0.id <= last && !$0.isSaidToHaveBegun })
    }

    /// What becomes of cancelled calls that had not begun when they were.
    private func decide() {
        guard !undecided.isEmpty else { return }
        undecided.removeAll { call in
            guard concurrent[call.id] === call || line.contains(where: { $0 === call }) else { return true }
            guard hasBegun(call) else { return false }
            // In the line it is answered now that its turn has come.
            if call.isConcurrent { endWorker(for: call) }
            return true
        }
        for call in undecided { withdraw(beside: call.isConcurrent) }
    }

    /// The worker says that it leaves a call to others.
    ///
    /// - Returns: False when nobody has taken that call back.
    func leave(_ call: WorkerCall) -> Bool {
        guard call.id <= (call.isConcurrent ? withdrawalBeside : withdrawal).last else { return false }
        if call.isSaidToHaveBegun {
            // It had marked it before it saw the word, and we have told of the mark.
            let error = JobError(type: "Lost", message: "the worker has left it to others when it was to begin")
            ended(call, AttemptResult(call.wasCancelled ? .stopped(.cooperative) : .bystander, error: error), nil)
        } else {
            giveBack([call])
            goOn(after: call)
        }
        return true
    }

    /// Lets go of calls that have not begun here and never will.
    func giveBack(_ calls: [WorkerCall]) {
        var attempts: [Attempt] = []
        for call in calls {
            if call.isConcurrent {
                guard concurrent.removeValue(forKey: call.id) != nil else { continue }
            } else {
                line.removeAll { $0 === call }
            }
            output.ended(call.id, isIdle: line.isEmpty && concurrent.isEmpty)
            // Whatever this worker says of later ones.
            call.attempt.cell.keep()
            if call.wasCancelled {
                tell(.ended(call.attempt.id, AttemptResult(.stopped(.beforeStart))))
            } else {
                attempts.append(call.attempt)
            }
        }
        unsaidBeside.removeAll { concurrent[$0.id] !== $0 }
        if !attempts.isEmpty { onChange(self, .gaveBack(attempts)) }
        leaveWhenIdle()
    }
}
