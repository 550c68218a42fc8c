/// What follows when a pool says that an attempt has ended.
extension Scheduler {
    mutating func attemptEnded(
        _ id: JobID, _ grant: Int, _ end: AttemptEnd, _ now: Instant, _ actions: inout [Action]
    ) {
        guard let life = current(id, grant), life.isHandedOver else { return stale() }
        if !life.hasBegun, end.takesABeginning { begin(life, at: now, &actions) }
        let hadBegun = life.hasBegun
        dropDeadline(life)
        if end == .crashed { life.tally.crashes += 1 }
        if let conclusion = conclusion(of: life, end, hadBegun, now) {
            releasePlace(of: life)
            conclude(life, conclusion, now, &actions)
        } else if !hadBegun {
            return takeBack(life, now, &actions)
        } else {
            releasePlace(of: life)
            again(life, end, now, &actions)
        }
        fill(life.spec.room, now, &actions)
    }

    /// Lets a job that had a place and never began wait again. The attempt does not count; the grant is gone with it.
    mutating func takeBack(_ life: Life, _ now: Instant, _ actions: inout [Action]) {
        releasePlace(of: life)
        life.tally.attempt -= 1
        actions.append(.publish(life.spec.id, .handedBack(life.tally)))
        enqueue(life, now, &actions)
    }

    /// Another attempt, after the pause that its end asks for.
    private mutating func again(_ life: Life, _ end: AttemptEnd, _ now: Instant, _ actions: inout [Action]) {
        if end.isNobodysFault { life.tally.spared += 1 }
        // What is left for the next server, it finds waiting.
        guard life.stopping != .shutDown, !end.isNobodysFault else {
            actions.append(.publish(life.spec.id, .retrying(due: now, life.tally)))
            return enqueue(life, now, &actions)
        }
        let due = now + backoff.delay(afterAttempt: max(life.tally.charged, 1), random: random.fraction())
        schedule(life, until: due, cause: .retry)
        actions.append(.publish(life.spec.id, .retrying(due: due, life.tally)))
    }

    /// How the job ends because its attempt ended so; nil when there is to be another attempt.
    private func conclusion(of life: Life, _ end: AttemptEnd, _ hadBegun: Bool, _ now: Instant) -> Conclusion? {
        if let requested = life.cancelRequestedAt {
            return .cancelled(end.method(hadBegun), took: now - requested)
        }
        if end == .crashed, life.tally.crashes >= Self.crashLimit { return .failed(.crashed(quarantined: true)) }
        guard hadBegun else { return hasNoNextServer ? .failed(.stopped) : nil }
        let attemptsLeft = life.tally.charged < life.spec.maxAttempts && !hasNoNextServer
        switch end {
        // However late it is: what is there before the attempt has ended counts.
        case .succeeded: return .succeeded
        case .failed(let canRetry): return attemptsLeft && canRetry ? nil : .failed(.reported)
        case .crashed: return attemptsLeft ? nil : .failed(.crashed(quarantined: false))
        case .stopped: return attemptsLeft ? nil : .failed(life.stopping == .shutDown ? .stopped : .timeout)
        // What may start only once has started.
        case .bystander, .returned:
            return hasNoNextServer ? .failed(.stopped) : life.spec.maxAttempts > 1 ? nil : .failed(.reported)
        }
    }
}

extension AttemptEnd {
    /// Whether it can only be the end of what has begun: a pool that did not say so says it with this.
    fileprivate var takesABeginning: Bool {
        switch self {
        case .succeeded, .failed: true
        case .crashed, .stopped, .bystander, .returned: false
        }
    }

    /// Whether the attempt, if it has begun, costs its job nothing.
    fileprivate var isNobodysFault: Bool {
        switch self {
        case .bystander, .returned: true
        case .succeeded, .failed, .crashed, .stopped: false
        }
    }

    /// What has worked, if it was asked to stop.
    fileprivate func method(_ hadBegun: Bool) -> StopMethod {
        switch self {
        case .stopped(let how): how
        case .returned where !hadBegun, .bystander where !hadBegun, .crashed where !hadBegun: .beforeStart
        case .succeeded, .failed, .crashed, .bystander, .returned: .cooperative
        }
    }
}
