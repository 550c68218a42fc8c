import EventLoop
import Glibc
import Jobs

/// What a worker says of its calls by other means than answers, while it lives and after its death.
extension WorkerProcess {
    /// Whether it says which calls have begun. Then some may wait in its pipe.
    var speaks: Bool { state?.isSpoken ?? false }

    func say(_ call: WorkerCall) {
        call.isSaidToHaveBegun = true
        call.started = beginning(of: call)
        tell(.began(call.attempt.id, worker: name, at: call.started))
    }

    /// When it has begun, as exactly as can be told: not before we last saw that it had not.
    private func beginning(of call: WorkerCall) -> Int64 {
        let earliest = max(call.started, unbegunAt)
        // Whatever it writes there: not before it was given the call, and not in the future.
        if let state, speaks, !call.isConcurrent, state.said.begun == call.id {
            return min(max(Int64(clamping: state[.since]), earliest), monotonicNanoseconds())
        }
        return earliest == 0 ? monotonicNanoseconds() : earliest
    }

    func hasBegun(_ call: WorkerCall) -> Bool {
        guard !call.isSaidToHaveBegun, let said = state?.said else { return true }
        return call.id <= (call.isConcurrent ? said.besideBegun : said.begun)
    }

    func tellWhatHasBegun() {
        guard let state, line.contains(where: { !$0.isSaidToHaveBegun }) || !unsaidBeside.isEmpty else { return }
        // Before it is read: what has not begun by that has not begun now.
        let now = monotonicNanoseconds()
        let said = state.said
        for call in line where !call.isSaidToHaveBegun && call.id <= said.begun { say(call) }
        let begun = unsaidBeside.prefix { $0.id <= said.besideBegun }
        if !begun.isEmpty { loopIsStuck = false }
        for call in begun where !call.isSaidToHaveBegun && concurrent[call.id] === call { say(call) }
        unsaidBeside.removeFirst(begun.count)
        unbegunAt = now
    }

    /// Looks what has begun, and collects answers that lie in the outbox since the last look: a call that hangs keeps them
    /// there.
    ///
    /// - Returns: Whether there will be more to see.
    func look() -> Bool {
        guard let state, speaks, !hasEnded, !isIdle else { return false }
        tellWhatHasBegun()
        let unsent = state.unsent
        let isNew = unsent.upperBound > collected && !unsent.isEmpty
        if isNew, unsent.upperBound == lastWritten { collect(unsent) }
        lastWritten = unsent.upperBound
        // It stands still, or does not read: what it was given can begin elsewhere. But what runs beside it is not to suffer.
        if let first = line.first, concurrent.isEmpty, !first.isSaidToHaveBegun, !isHeld,
            monotonicNanoseconds() - first.started > Self.beginningTime
        {
            fail("did not begin what it was given within 10 s")
        }
        return isNew || line.contains(where: { !$0.isSaidToHaveBegun }) || !unsaidBeside.isEmpty
    }

    /// Takes answers that were not sent from where they lie. They may come by the channel later, and are then nobody's.
    private func collect(_ unsent: Range<UInt64>) {
        // What was sent before them is to be heard before them.
        guard channel.catchUp() else { return }
        let fresh = max(unsent.lowerBound, min(collected, unsent.upperBound))..<unsent.upperBound
        guard !fresh.isEmpty, let bytes = state?.bytes(fresh) else { return }
        collected = fresh.upperBound
        for line in bytes.split(separator: 0x0A) { receive(Array(line), answersOnly: true) }
    }

    // MARK: Its death

    func exited(_ exit: Child.Exit) {
        let unsent = state?.unsent
        channel.drain()
        if let unsent, speaks { collect(unsent) }
        output.finish()
        let why = problem ?? Self.words(exit)
        let calls = line + concurrent.values.sorted { $0.id < $1.id }
        let autopsy = autopsy()
        line = []
        concurrent = [:]
        unsaidBeside = []
        undecided = []
        for call in calls { tellEnd(of: call, autopsy.fate(of: call.id), exit, why) }
        channel.close()
        output.close()
        writable = nil
        startTimer = nil
        let details = lastErrors.isEmpty ? "" : ": " + lastErrors
        died(why + details, hadWork: autopsy.ranSomething)
    }

    private func autopsy() -> Autopsy {
        // Killed for a limit, or for breaking the protocol, it died of what it did.
        let wasKilled = child.stopped != nil && excess == nil && problem == nil
        let stopped = (line + concurrent.values).filter(\.wasCancelled).map(\.id)
        return Autopsy(
            line: line.map(\.id), beside: concurrent.keys.sorted(), said: speaks ? state?.said : nil,
            stopped: wasKilled ? Set(stopped) : [], diedByItself: !wasKilled)
    }

    private func tellEnd(of call: WorkerCall, _ fate: Autopsy.Fate, _ exit: Child.Exit, _ why: String) {
        let id = call.attempt.id
        switch fate {
        case .killer, .bystander:
            if !call.isSaidToHaveBegun { say(call) }
            tell(.ended(id, end(of: call, exit, why, isBystander: fate == .bystander)))
        case .returned, .suspect:
            if call.wasCancelled { return tell(.ended(id, AttemptResult(.stopped(.beforeStart)))) }
            guard fate == .suspect else { return tell(.ended(id, AttemptResult(.returned))) }
            let error = JobError(type: "Crashed", message: "the worker \(why), before the job had begun")
            tell(.ended(id, AttemptResult(.crashed, error: error)))
        }
    }

    private func end(of call: WorkerCall, _ exit: Child.Exit, _ why: String, isBystander: Bool) -> AttemptResult {
        var usage = Usage(exit.usage)
        usage.cpuNanoseconds = max(0, usage.cpuNanoseconds - accountedCPU)
        usage.wallNanoseconds = monotonicNanoseconds() - call.started
        if call.wasCancelled {
            return AttemptResult(.stopped(child.stopped ?? .cooperative), usage: usage)
        }
        if isBystander {
            let error = JobError(type: "Lost", message: "the worker \(why), of another job that ran in it")
            return AttemptResult(.bystander, error: error, usage: usage)
        }
        if let excess { return AttemptResult(.crashed, error: excess, usage: usage) }
        let error = JobError(
            type: "Crashed", message: "the worker \(why)",
            traceback: call.lastErrors.parts(at: "\n").map(String.init),
            exitCode: exit.code, signal: exit.signal)
        return AttemptResult(.crashed, error: error, usage: usage)
    }

    static func words(_ exit: Child.Exit) -> String {
        if let signal = exit.signal { return "was killed by signal \(signal) (\(signalName(signal)))" }
        return "exited with status \(exit.code ?? 0)"
    }
}
