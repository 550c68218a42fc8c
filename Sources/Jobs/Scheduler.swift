/// What may happen to jobs, and what to do about it: the heart of the server, as a value.
///
/// Pure: no clock, no I/O, no threads, no randomness but its seed. `Engine` feeds it events and does what it answers;
/// the simulation feeds it a million histories.
///
/// | state             | event                               | next            | asks for                        |
/// |-------------------|-------------------------------------|-----------------|---------------------------------|
/// |                   | submitted                           |                 | persist, claiming a free place  |
/// |                   | restored                            | where it stood  | publish, or record              |
/// | (not persisted)   | persisted                           | scheduled, blocked or queued | answer, publish    |
/// | scheduled         | becameDue                           | queued          | publish                         |
/// | blocked           | the key's holder ended              | queued          | publish                         |
/// | queued            | room in its pool                    | running         | start, publish                  |
/// | queued, one try   | room in its pool                    | queued, claimed | persistStart                    |
/// | queued, claimed   | persisted, startPersisted           | running         | start, publish                  |
/// | running           | attemptEnded: succeeded             | succeeded       | record                          |
/// | running           | attemptEnded: not, attempts left    | scheduled       | publish, wake                   |
/// | running           | attemptEnded: not, none left        | failed          | record                          |
/// | queued, in a pool | attemptEnded: returned              | queued          | publish                         |
/// | running           | deadline, shutDown                  | running         | stop; then as not succeeded     |
/// | running           | cancelRequested                     | cancelling      | stop, publish                   |
/// | cancelling        | attemptEnded, however               | cancelled       | record                          |
/// | waiting, any      | cancelRequested                     | cancelled       | record                          |
/// | ended             | recorded                            | (gone)          | conclude                        |
///
/// An event about an attempt that is no longer current changes nothing and asks for nothing; it is counted in
/// ``staleEvents``. The fence is `(job, attempt)`.
///
/// Noncopyable: there is one, and a question to it must not copy its tables.
package struct Scheduler: ~Copyable {
    /// A job that killed its worker this often is not run again.
    package static let crashLimit = 3
    /// Different names of queues; one more falls back to none and the submission is refused by the caller.
    package static let maximumQueues = 1000

    var lives = JobTable<Life>()
    var queues: [QueueRoom] = []
    var queueIndex: [String: Int] = [:]
    var rooms = [PoolRoom](repeating: PoolRoom(), count: PoolName.allCases.count)
    var due = DueTimes()
    /// Who holds a key, and who waits for it.
    var keys: [String: FIFO<JobID>] = [:]
    /// Events refused because another attempt had become current.
    package private(set) var staleEvents: UInt64 = 0

    private var random: SeededRandom
    private let backoff: Backoff
    /// Whether the start of a job that may start only once waits for the disk.
    private let isDurable: Bool
    private var nextOrder: UInt64 = 1
    private var promisedWake: Instant?
    private(set) var isDrained = false

    package init(seed: UInt64, backoff: Backoff = Backoff(), isDurable: Bool = true) {
        random = SeededRandom(seed: seed)
        self.backoff = backoff
        self.isDurable = isDurable
    }

    /// Takes one event and answers with what to do about it, in order.
    package mutating func handle(_ event: Event, at now: Instant) -> [Action] {
        var actions: [Action] = []
        handle(event, at: now, into: &actions)
        return actions
    }

    /// The same, appending to a buffer that the caller keeps: the hot path allocates nothing.
    package mutating func handle(_ event: Event, at now: Instant, into actions: inout [Action]) {
        switch event {
        case .submitted(let spec): submitted(spec, now, &actions)
        case .restored(let spec, let remains): restored(spec, remains, now, &actions)
        case .persisted(let id): persisted(id, now, &actions)
        case .persistFailed(let id): persistFailed(id, now, &actions)
        case .startPersisted(let id, let attempt): startPersisted(id, attempt, now, &actions)
        case .began(let id, let attempt): began(id, attempt, now, &actions)
        case .attemptEnded(let id, let attempt, let end): attemptEnded(id, attempt, end, now, &actions)
        case .recorded(let id): recorded(id, &actions)
        case .cancelRequested(let id, let grace): cancelRequested(id, grace, now, &actions)
        case .becameDue: becameDue(now, &actions)
        case .poolResized(let pool, let slots, let ahead):
            rooms[pool.index].slots = slots
            rooms[pool.index].ahead = ahead
            fill(pool, now, &actions)
        case .queuePaused(let name, let isPaused):
            queues[queue(named: name)].isPaused = isPaused
            for pool in PoolName.allCases { fill(pool, now, &actions) }
        case .drained: isDrained = true
        case .shutDown(let grace): shutDown(grace, &actions)
        }
        keepPromise(&actions)
    }

    // MARK: Coming in

    private mutating func submitted(_ spec: JobSpec, _ now: Instant, _ actions: inout [Action]) {
        guard lives[spec.id] == nil else { return }
        let queue = queue(named: spec.queue)
        lives[spec.id] = Life(spec: spec, queue: queue, state: .queued)
        // A place that is free now is kept: submission and start then reach the disk together.
        let claims =
            spec.key == nil && spec.notBefore.map { $0 <= now } ?? true && !queues[queue].isPaused
            && hasRoom(spec.pool, forQuick: spec.isQuick) && bestHead(for: spec.pool) == nil
        if claims { claim(spec.id) }
        actions.append(.persist(spec.id, attempt: claims ? 1 : 0))
    }

    private mutating func restored(
        _ spec: JobSpec, _ remains: Remains, _ now: Instant, _ actions: inout [Action]
    ) {
        guard lives[spec.id] == nil else { return }
        var life = Life(spec: spec, queue: queue(named: spec.queue), state: .queued)
        life.isPersisted = true
        life.attempt = remains.attempt
        life.crashes = remains.crashes
        lives[spec.id] = life
        if remains.wasCancelled {
            let how: StopMethod = remains.wasRunning ? .sigkill : .beforeStart
            return conclude(spec.id, .cancelled(how, took: .zero), now, &actions)
        }
        if remains.wasRunning, remains.attempt >= spec.maxAttempts {
            return conclude(spec.id, .failed(.lost), now, &actions)
        }
        if remains.wasRunning { actions.append(.publish(spec.id, .retrying(due: now, crashes: life.crashes))) }
        guard let notBefore = spec.notBefore, notBefore > now, !remains.wasRunning else {
            return admit(spec.id, now, &actions)
        }
        // A job that waits for its retry still holds its key.
        if remains.attempt > 0, let key = spec.key { keys[key, default: FIFO()].append(spec.id) }
        schedule(spec.id, until: notBefore, cause: remains.attempt > 0 ? .retry : .start)
        actions.append(.publish(spec.id, .scheduled(until: notBefore)))
    }

    private mutating func persisted(_ id: JobID, _ now: Instant, _ actions: inout [Action]) {
        guard lives.contains(id), !lives[known: id].isPersisted else { return }
        lives[known: id].isPersisted = true
        actions.append(.answer(id))
        if let requested = lives[known: id].cancelRequestedAt {
            releasePlace(of: id)
            conclude(id, .cancelled(.beforeStart, took: now - requested), now, &actions)
            fill(lives[known: id].spec.pool, now, &actions)
        } else if lives[known: id].place == .claimed {
            actions.append(.publish(id, .queued(position: 1)))
            handOver(id, now, &actions)
        } else if let notBefore = lives[known: id].spec.notBefore, notBefore > now {
            schedule(id, until: notBefore, cause: .start)
            actions.append(.publish(id, .scheduled(until: notBefore)))
        } else {
            admit(id, now, &actions)
        }
    }

    /// A submission that never reached the disk leaves no trace.
    private mutating func persistFailed(_ id: JobID, _ now: Instant, _ actions: inout [Action]) {
        guard let life = lives[id], !life.isPersisted else { return }
        releasePlace(of: id)
        lives[id] = nil
        fill(life.spec.pool, now, &actions)
    }

    private mutating func schedule(_ id: JobID, until time: Instant, cause: DueTimes.Cause) {
        lives[known: id].state = .scheduled
        due.insert(DueTimes.Entry(at: time, id: id, attempt: lives[known: id].attempt, cause: cause))
    }

    /// Lets a job that is due wait for its key, or for its pool.
    private mutating func admit(_ id: JobID, _ now: Instant, _ actions: inout [Action]) {
        if let key = lives[known: id].spec.key {
            keys[key, default: FIFO()].append(id)
            if keys[key]!.first != id {
                lives[known: id].state = .blocked
                actions.append(.publish(id, .blocked))
                return
            }
        }
        enqueue(id, now, &actions)
    }

    private mutating func enqueue(_ id: JobID, _ now: Instant, _ actions: inout [Action]) {
        let order = nextOrder
        nextOrder += 1
        let spec = lives[known: id].spec
        let queue = lives[known: id].queue
        lives[known: id].state = .queued
        lives[known: id].order = order
        let position = queues[queue].lanes[spec.pool.index].append(id, priority: spec.priority, order: order)
        actions.append(.publish(id, .queued(position: position)))
        fill(spec.pool, now, &actions)
    }

    // MARK: Running

    /// Hands attempts to a pool while it has room: highest priority first, then first come, first served.
    private mutating func fill(_ pool: PoolName, _ now: Instant, _ actions: inout [Action]) {
        while hasRoom(pool, forQuick: true), let (queue, head) = bestHead(for: pool) {
            let id = head.ticket.id
            guard hasRoom(pool, forQuick: lives[known: id].spec.isQuick) else { return }
            queues[queue].lanes[pool.index].popFirst(priority: head.priority)
            claim(id)
            if isDurable, lives[known: id].spec.maxAttempts == 1 {
                actions.append(.persistStart(id, attempt: 1))
            } else {
                handOver(id, now, &actions)
            }
        }
    }

    private func hasRoom(_ pool: PoolName, forQuick quick: Bool) -> Bool {
        !isDrained && rooms[pool.index].hasRoom(forQuick: quick)
    }

    /// Takes a place for the job's next attempt.
    private mutating func claim(_ id: JobID) {
        lives[known: id].attempt += 1
        lives[known: id].place = .claimed
        lives[known: id].stopping = nil
        let (pool, quick) = (lives[known: id].spec.pool.index, lives[known: id].spec.isQuick)
        rooms[pool].busy += 1
        if !quick { rooms[pool].slow += 1 }
    }

    private mutating func releasePlace(of id: JobID) {
        let (pool, quick) = (lives[known: id].spec.pool.index, lives[known: id].spec.isQuick)
        guard lives[known: id].place != .none else { return }
        if lives[known: id].place == .given { rooms[pool].given -= 1 }
        lives[known: id].place = .none
        lives[known: id].isStaged = false
        rooms[pool].busy -= 1
        if !quick { rooms[pool].slow -= 1 }
    }

    private mutating func startPersisted(
        _ id: JobID, _ attempt: Int, _ now: Instant, _ actions: inout [Action]
    ) {
        guard let life = current(id, attempt), life.place == .claimed else { return }
        if let requested = life.cancelRequestedAt {
            releasePlace(of: id)
            conclude(id, .cancelled(.beforeStart, took: now - requested), now, &actions)
            fill(life.spec.pool, now, &actions)
        } else {
            handOver(id, now, &actions)
        }
    }

    private mutating func bestHead(for pool: PoolName) -> (queue: Int, head: (ticket: Lane.Ticket, priority: Int))? {
        var best: (queue: Int, head: (ticket: Lane.Ticket, priority: Int))?
        for index in queues.indices where !queues[index].isPaused {
            let head = queues[index].lanes[pool.index].first { ticket in
                guard let life = lives[ticket.id] else { return false }
                return life.order == ticket.order && life.state == .queued && life.place == .none
            }
            guard let head else { continue }
            if let (_, other) = best,
                (other.priority, head.ticket.order) > (head.priority, other.ticket.order)
            {
                continue
            }
            best = (index, head)
        }
        return best
    }

    private mutating func handOver(_ id: JobID, _ now: Instant, _ actions: inout [Action]) {
        let (pool, attempt) = (lives[known: id].spec.pool, lives[known: id].attempt)
        let isStaged = rooms[pool.index].given >= rooms[pool.index].slots
        rooms[pool.index].given += 1
        lives[known: id].place = .given
        lives[known: id].isStaged = isStaged
        actions.append(.start(id, attempt: attempt, pool))
        if !isStaged { begin(id, now, &actions) }
    }

    private mutating func begin(_ id: JobID, _ now: Instant, _ actions: inout [Action]) {
        lives[known: id].isStaged = false
        lives[known: id].state = .running
        let attempt = lives[known: id].attempt
        if let timeout = lives[known: id].spec.timeout {
            lives[known: id].hasDeadline = true
            due.insert(DueTimes.Entry(at: now + timeout, id: id, attempt: attempt, cause: .timeout))
        }
        actions.append(.publish(id, .started(attempt: attempt)))
    }

    private mutating func began(_ id: JobID, _ attempt: Int, _ now: Instant, _ actions: inout [Action]) {
        guard let life = current(id, attempt), life.isStaged, life.state == .queued else { return }
        begin(id, now, &actions)
    }

    private mutating func attemptEnded(
        _ id: JobID, _ attempt: Int, _ end: AttemptEnd, _ now: Instant, _ actions: inout [Action]
    ) {
        guard var life = current(id, attempt), life.isHandedOver else { return stale() }
        let pool = life.spec.pool
        dropDeadline(&life)
        if end == .crashed { life.crashes += 1 }
        lives[id] = life
        releasePlace(of: id)
        if end == .returned, life.cancelRequestedAt == nil {
            lives[known: id].attempt -= 1
            enqueue(id, now, &actions)
        } else if let conclusion = conclusion(of: life, end, now) {
            conclude(id, conclusion, now, &actions)
        } else if life.stopping == .shutDown {
            // Left for the next server, which finds it waiting.
            actions.append(.publish(id, .retrying(due: now, crashes: life.crashes)))
            enqueue(id, now, &actions)
        } else {
            retry(id, now, &actions)
        }
        fill(pool, now, &actions)
    }

    /// How the job ends because its attempt ended so; nil when there is to be another attempt.
    private func conclusion(of life: Life, _ end: AttemptEnd, _ now: Instant) -> Conclusion? {
        if let requested = life.cancelRequestedAt {
            let method: StopMethod =
                switch end {
                case .stopped(let how): how
                case .returned: .beforeStart
                case .succeeded, .failed, .crashed: .cooperative
                }
            return .cancelled(method, took: now - requested)
        }
        let attemptsLeft = life.attempt < life.spec.maxAttempts
        switch end {
        case .succeeded: return .succeeded
        case .failed(let canRetry): return attemptsLeft && canRetry ? nil : .failed(.reported)
        case .crashed:
            if life.crashes >= Self.crashLimit { return .failed(.crashed(quarantined: true)) }
            return attemptsLeft ? nil : .failed(.crashed(quarantined: false))
        case .stopped: return attemptsLeft ? nil : .failed(life.stopping == .shutDown ? .lost : .timeout)
        case .returned: return nil
        }
    }

    private mutating func retry(_ id: JobID, _ now: Instant, _ actions: inout [Action]) {
        let attempt = lives[known: id].attempt
        let at = now + backoff.delay(afterAttempt: attempt, random: random.fraction())
        schedule(id, until: at, cause: .retry)
        actions.append(.publish(id, .retrying(due: at, crashes: lives[known: id].crashes)))
    }

    // MARK: Ending

    private mutating func cancelRequested(
        _ id: JobID, _ grace: Duration, _ now: Instant, _ actions: inout [Action]
    ) {
        guard var life = lives[id], life.conclusion == nil else { return }
        guard life.isPersisted else {
            // Not accepted yet: it will end as soon as it is.
            if life.cancelRequestedAt == nil { lives[known: id].cancelRequestedAt = now }
            return
        }
        switch life.state {
        case .running, .suspended:
            life.state = .cancelling
            life.cancelRequestedAt = now
            let alreadyStopping = life.stopping != nil
            life.stopping = .cancel
            lives[id] = life
            actions.append(.publish(id, .cancelling))
            if !alreadyStopping { askToStop(id, life, grace, &actions) }
        case .queued where life.place != .none:
            life.state = .cancelling
            life.cancelRequestedAt = now
            life.stopping = .cancel
            lives[id] = life
            actions.append(.publish(id, .cancelling))
            if life.isHandedOver { askToStop(id, life, grace, &actions) }
        case .queued:
            queues[life.queue].lanes[life.spec.pool.index].remove(priority: life.spec.priority)
            conclude(id, .cancelled(.beforeStart, took: .zero), now, &actions)
        case .scheduled, .blocked:
            conclude(id, .cancelled(.beforeStart, took: .zero), now, &actions)
        case .cancelling, .succeeded, .failed, .cancelled:
            return  // late: true when sent, overtaken on the way
        }
    }

    private func askToStop(_ id: JobID, _ life: Life, _ grace: Duration, _ actions: inout [Action]) {
        actions.append(.stop(id, attempt: life.attempt, life.spec.pool, life.stopping!, grace: grace))
    }

    private mutating func conclude(
        _ id: JobID, _ conclusion: Conclusion, _ now: Instant, _ actions: inout [Action]
    ) {
        lives[known: id].conclusion = conclusion
        lives[known: id].state = conclusion.state
        actions.append(.record(id, conclusion))
        if let key = lives[known: id].spec.key { release(key, of: id, now, &actions) }
    }

    /// Passes the key on, or forgets one that waited for it.
    private mutating func release(_ key: String, of id: JobID, _ now: Instant, _ actions: inout [Action]) {
        guard var waiting = keys[key] else { return }
        let held = waiting.first == id
        guard held else { return }
        repeat {
            _ = waiting.popFirst()
        } while waiting.first.map { lives[$0]?.conclusion != nil || lives[$0] == nil } == true
        keys[key] = waiting.isEmpty ? nil : waiting
        if let next = waiting.first { enqueue(next, now, &actions) }
    }

    private mutating func recorded(_ id: JobID, _ actions: inout [Action]) {
        guard let conclusion = lives[id]?.conclusion else { return }
        lives[id] = nil
        actions.append(.conclude(id, conclusion))
    }

    private mutating func shutDown(_ grace: Duration, _ actions: inout [Action]) {
        isDrained = true
        for id in lives.ids.sorted() where lives[known: id].isHandedOver && lives[known: id].stopping == nil {
            lives[known: id].stopping = .shutDown
            askToStop(id, lives[known: id], grace, &actions)
        }
    }

    // MARK: Time

    private mutating func becameDue(_ now: Instant, _ actions: inout [Action]) {
        promisedWake = nil
        while let entry = due.popDue(at: now) {
            guard let life = lives[entry.id], Self.isLive(entry, life) else { continue }
            switch entry.cause {
            case .start: admit(entry.id, now, &actions)
            case .retry: enqueue(entry.id, now, &actions)
            case .timeout:
                lives[known: entry.id].hasDeadline = false
                guard life.stopping == nil else { continue }
                lives[known: entry.id].stopping = .timeout
                askToStop(entry.id, lives[known: entry.id], Self.timeoutGrace, &actions)
            }
        }
    }

    /// How long an attempt past its deadline is only asked to end.
    package static let timeoutGrace = Duration.seconds(5)

    private mutating func dropDeadline(_ life: inout Life) {
        guard life.hasDeadline else { return }
        life.hasDeadline = false
        lives[life.spec.id] = life
        due.overtake { [lives] entry in lives[entry.id].map { Self.isLive(entry, $0) } ?? false }
    }

    private static func isLive(_ entry: DueTimes.Entry, _ life: Life) -> Bool {
        guard life.attempt == entry.attempt, life.conclusion == nil else { return false }
        switch entry.cause {
        case .start, .retry: return life.state == .scheduled
        case .timeout: return life.hasDeadline
        }
    }

    private mutating func keepPromise(_ actions: inout [Action]) {
        guard let next = due.next, promisedWake.map({ next < $0 }) ?? true else { return }
        promisedWake = next
        actions.append(.wake(at: next))
    }

    // MARK: Fence

    /// The life of the job if `attempt` is its current one.
    private func current(_ id: JobID, _ attempt: Int) -> Life? {
        guard let life = lives[id], life.attempt == attempt, life.conclusion == nil else { return nil }
        return life
    }

    private mutating func stale() { staleEvents += 1 }

    private mutating func queue(named name: String) -> Int {
        if let known = queueIndex[name] { return known }
        queues.append(QueueRoom(name: name))
        queueIndex[name] = queues.count - 1
        return queues.count - 1
    }
}
