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
/// | queued            | room in its pool                    | queued, claimed | persistStart                    |
/// | queued, claimed   | persisted, startPersisted           | queued, given   | start                           |
/// | queued, given     | began                               | running         | publish                         |
/// | queued, given     | attemptEnded: returned              | queued          | publish                         |
/// | running           | attemptEnded: succeeded             | succeeded       | record                          |
/// | running           | attemptEnded: not, attempts left    | scheduled       | publish, wake                   |
/// | running           | attemptEnded: not, none left        | failed          | record                          |
/// | running           | attemptEnded: bystander             | queued          | publish                         |
/// | running           | deadline, shutDown                  | running         | stop; then as not succeeded     |
/// | running           | cancelRequested                     | cancelling      | stop, publish                   |
/// | running           | suspendRequested                    | suspended       | hold, publish                   |
/// | suspended         | resumeRequested                     | running         | hold no longer, publish         |
/// | cancelling        | attemptEnded, however               | cancelled       | record                          |
/// | waiting, any      | cancelRequested                     | cancelled       | record                          |
/// | waiting, any      | shutDown, and there is no disk      | failed          | record                          |
/// | ended             | recorded                            | (gone)          | conclude                        |
///
/// That an attempt has begun, its pool says: until then the job is queued, has no deadline, and may come back uncharged.
///
/// An event about an attempt that is no longer current changes nothing and asks for nothing; it is counted in
/// ``staleEvents``. The fence is `(job, grant)`: a number that only grows, one more for each place that a job is given. The
/// number of the attempt, which people see, is given again only when nothing ever began under it.
///
/// Noncopyable: there is one, and a question to it must not copy its tables.
package struct Scheduler: ~Copyable {
    /// A job that killed its worker this often is not run again.
    package static let crashLimit = 3
    /// Queues that hold jobs or of which something was set. Who submits to one more is refused.
    package static let maximumQueues = 1000

    var lives = JobTable<Life>()
    var queues: [QueueRoom] = []
    var queueIndex: [String: Int] = [:]
    /// Places in ``queues`` of names that are forgotten.
    var freeQueues: [Int] = []
    var rooms = JobSpec.PerRoom(repeating: PoolRoom())
    var due = DueTimes()
    /// Who holds a key, and who waits for it.
    var keys = KeyLines()
    /// Events refused because another attempt had become current.
    package private(set) var staleEvents: UInt64 = 0

    var random: SeededRandom
    let backoff: Backoff
    /// Whether a start waits for the disk: what has begun is never begun again under the same number.
    let isDurable: Bool
    private var nextOrder: UInt64 = 1
    var promisedWake: Instant?
    private(set) var isDrained = false
    /// The server ends, and there is no disk on which another one would find what waits: from here on nothing waits.
    private(set) var hasNoNextServer = false
    /// Since when jobs are restored, until all of them are there: however long that takes, each of them comes in as if all had
    /// come at this moment.
    var restoringSince: Instant?

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
        case .restoring: restoringSince = now
        case .restored(let spec, let remains): restored(spec, remains, restoringSince ?? now, &actions)
        case .allRestored: allRestored(now, &actions)
        case .persisted(let id): persisted(id, now, &actions)
        case .persistFailed(let id): persistFailed(id, now, &actions)
        case .startPersisted(let id, let grant): startPersisted(id, grant, now, &actions)
        case .began(let id, let grant, let time): began(id, grant, time, &actions)
        case .attemptEnded(let id, let grant, let end): attemptEnded(id, grant, end, now, &actions)
        case .recorded(let id): recorded(id, &actions)
        case .cancelRequested(let id, let grace): cancelRequested(id, grace, now, &actions)
        case .suspendRequested(let id): hold(id, true, &actions)
        case .resumeRequested(let id): hold(id, false, &actions)
        case .becameDue: becameDue(now, &actions)
        case .poolResized(let pool, let slots, let ahead):
            rooms[pool.index].slots = slots
            rooms[pool.index].ahead = ahead
            fill(pool.index, now, &actions)
        case .lightRoomResized(let slots):
            rooms[JobSpec.lightRoom].slots = slots
            fill(JobSpec.lightRoom, now, &actions)
        case .queuePaused(let name, let isPaused):
            queues[queue(named: name, now)].isPaused = isPaused
            for room in 0..<JobSpec.rooms { fill(room, now, &actions) }
        case .queueLimited(let name, let limit): queues[queue(named: name, now)].limit = limit
        case .clockStepped(let step): clockStepped(step)
        case .queuesTidied(let idle): forgetQueues(idleSince: idle)
        case .drained: isDrained = true
        case .shutDown(let grace): shutDown(grace, now, &actions)
        }
        keepPromise(&actions)
    }

    // MARK: Coming in

    private mutating func submitted(_ spec: JobSpec, _ now: Instant, _ actions: inout [Action]) {
        guard !lives.contains(spec.id) else { return }
        let life = enter(spec, now)
        // A place that is free now is kept: submission and start then reach the disk together.
        let claims =
            spec.key == nil && spec.notBefore.map { $0 <= now } ?? true && !queues[life.queue].isPaused
            && hasRoom(spec.room, forQuick: spec.isQuick) && bestHead(for: spec.room) == nil
        if claims { claim(life) }
        actions.append(.persist(spec.id, attempt: claims ? 1 : 0))
    }

    private mutating func restored(
        _ spec: JobSpec, _ remains: Remains, _ now: Instant, _ actions: inout [Action]
    ) {
        guard !lives.contains(spec.id) else { return }
        let life = enter(spec, now)
        life.isPersisted = true
        life.tally = remains.tally
        life.grant = remains.grant
        if remains.wasCancelled {
            let how: StopMethod = remains.wasRunning ? .sigkill : .beforeStart
            return conclude(life, .cancelled(how, took: .zero), now, &actions)
        }
        if remains.wasRunning, life.tally.charged >= spec.maxAttempts {
            return conclude(life, .failed(.lost), now, &actions)
        }
        if remains.wasRunning { actions.append(.publish(spec.id, .retrying(due: now, life.tally))) }
        guard let notBefore = spec.notBefore, notBefore > now, !remains.wasRunning else {
            return admit(life, now, &actions)
        }
        // A job that waits for its retry still holds its key.
        if life.tally.attempt > 0, let key = spec.key { keys.join(key, spec.id) }
        schedule(life, until: notBefore, cause: life.tally.attempt > 0 ? .retry : .start)
        actions.append(.publish(spec.id, .scheduled(until: notBefore)))
    }

    /// What waits is complete: who is next can be told.
    private mutating func allRestored(_ now: Instant, _ actions: inout [Action]) {
        restoringSince = nil
        becameDue(now, &actions)
        for room in 0..<JobSpec.rooms { fill(room, now, &actions) }
    }

    private mutating func persisted(_ id: JobID, _ now: Instant, _ actions: inout [Action]) {
        guard let life = lives[id], !life.isPersisted else { return }
        life.isPersisted = true
        actions.append(.answer(id))
        if life.cancelRequestedAt != nil {
            concludeBeforeStart(life, now, &actions)
        } else if hasNoNextServer {
            releasePlace(of: life)
            conclude(life, .failed(.stopped), now, &actions)
        } else if life.place == .claimed {
            actions.append(.publish(id, .queued(position: 1)))
            handOver(life, now, &actions)
        } else if let notBefore = life.spec.notBefore, notBefore > now {
            schedule(life, until: notBefore, cause: .start)
            actions.append(.publish(id, .scheduled(until: notBefore)))
        } else {
            admit(life, now, &actions)
        }
    }

    /// A submission that never reached the disk leaves no trace.
    private mutating func persistFailed(_ id: JobID, _ now: Instant, _ actions: inout [Action]) {
        guard let life = lives[id], !life.isPersisted else { return }
        releasePlace(of: life)
        lives[id] = nil
        queues[life.queue].left(now)
        fill(life.spec.room, now, &actions)
    }

    mutating func schedule(_ life: Life, until time: Instant, cause: DueTimes.Cause) {
        life.state = .scheduled
        due.insert(
            DueTimes.Entry(
                at: time, id: life.spec.id, grant: life.grant, cause: cause,
                followsWall: cause == .start && life.spec.followsWall))
    }

    /// Lets a job that is due wait for its key, or for its pool.
    private mutating func admit(_ life: Life, _ now: Instant, _ actions: inout [Action]) {
        if let key = life.spec.key, !keys.join(key, life.spec.id) {
            life.state = .blocked
            actions.append(.publish(life.spec.id, .blocked))
            return
        }
        enqueue(life, now, &actions)
    }

    mutating func enqueue(_ life: Life, _ now: Instant, _ actions: inout [Action]) {
        let (id, room) = (life.spec.id, life.spec.room)
        life.order = nextOrder
        nextOrder += 1
        life.state = .queued
        let position = queues[life.queue].lanes[room].append(
            id, priority: life.spec.priority, order: life.order)
        actions.append(.publish(id, .queued(position: position)))
        fill(room, now, &actions)
    }

    // MARK: Running

    /// Hands attempts to a pool while it has room: highest priority first, then first come, first served.
    mutating func fill(_ room: Int, _ now: Instant, _ actions: inout [Action]) {
        while hasRoom(room, forQuick: true), let (life, priority) = bestHead(for: room) {
            guard hasRoom(room, forQuick: life.spec.isQuick) else { return }
            queues[life.queue].lanes[room].popFirst(priority: priority)
            claim(life)
            if isDurable {
                actions.append(.persistStart(life.spec.id, attempt: life.tally.attempt, grant: life.grant))
            } else {
                handOver(life, now, &actions)
            }
        }
    }

    private func hasRoom(_ room: Int, forQuick quick: Bool) -> Bool {
        !isDrained && restoringSince == nil && rooms[room].hasRoom(forQuick: quick)
    }

    private mutating func bestHead(for room: Int) -> (life: Life, priority: Int)? {
        var best: (life: Life, priority: Int)?
        for index in queues.indices where queues[index].lanes[room].depth > 0 && !queues[index].isPaused {
            var found: Life?
            let head = queues[index].lanes[room].first { ticket in
                guard let life = lives[ticket.id], life.order == ticket.order, life.state == .queued,
                    life.place == .none
                else { return false }
                found = life
                return true
            }
            guard let head, let found else { continue }
            if let (other, priority) = best, (priority, found.order) > (head.priority, other.order) { continue }
            best = (found, head.priority)
        }
        return best
    }

    /// Takes a place for the job's next attempt.
    private mutating func claim(_ life: Life) {
        life.grant += 1
        life.tally.attempt += 1
        life.place = .claimed
        life.stopping = nil
        queues[life.queue].placed += 1
        rooms[life.spec.room].busy += 1
        if !life.spec.isQuick { rooms[life.spec.room].slow += 1 }
    }

    mutating func releasePlace(of life: Life) {
        guard life.place != .none else { return }
        let room = life.spec.room
        life.place = .none
        life.hasBegun = false
        queues[life.queue].placed -= 1
        rooms[room].busy -= 1
        if !life.spec.isQuick { rooms[room].slow -= 1 }
    }

    private mutating func startPersisted(
        _ id: JobID, _ grant: Int, _ now: Instant, _ actions: inout [Action]
    ) {
        guard let life = current(id, grant), life.place == .claimed else { return }
        if life.cancelRequestedAt != nil {
            concludeBeforeStart(life, now, &actions)
        } else {
            handOver(life, now, &actions)
        }
    }

    /// Gives a claimed job to its pool, which will say when it begins.
    private mutating func handOver(_ life: Life, _ now: Instant, _ actions: inout [Action]) {
        guard !isDrained else { return takeBack(life, now, &actions) }
        life.place = .given
        actions.append(.start(life.spec.id, attempt: life.tally.attempt, grant: life.grant, life.spec.pool))
    }

    private mutating func began(_ id: JobID, _ grant: Int, _ time: Instant, _ actions: inout [Action]) {
        guard let life = current(id, grant), life.isHandedOver, !life.hasBegun else { return }
        begin(life, at: time, &actions)
    }

    mutating func begin(_ life: Life, at time: Instant, _ actions: inout [Action]) {
        life.hasBegun = true
        if life.state == .queued { life.state = .running }
        if let timeout = life.spec.timeout, life.stopping == nil {
            life.hasDeadline = true
            due.insert(
                DueTimes.Entry(at: time + timeout, id: life.spec.id, grant: life.grant, cause: .timeout))
        }
        actions.append(.publish(life.spec.id, .started(attempt: life.tally.attempt, at: time)))
    }

    private func hold(_ id: JobID, _ isHeld: Bool, _ actions: inout [Action]) {
        // Its deadline goes on: a suspended job holds its place.
        guard let life = lives[id], life.state == (isHeld ? .running : .suspended) else { return }
        life.state = isHeld ? .suspended : .running
        actions.append(.hold(id, grant: life.grant, life.spec.pool, isHeld))
        actions.append(.publish(id, isHeld ? .suspended : .resumed))
    }

    // MARK: Ending

    private mutating func cancelRequested(
        _ id: JobID, _ grace: Duration, _ now: Instant, _ actions: inout [Action]
    ) {
        guard let life = lives[id], life.conclusion == nil else { return }
        guard life.isPersisted else {
            // Not accepted yet: it will end as soon as it is.
            if life.cancelRequestedAt == nil { life.cancelRequestedAt = now }
            return
        }
        switch life.state {
        case .queued where life.place == .none:
            dropTicket(of: life)
            conclude(life, .cancelled(.beforeStart, took: .zero), now, &actions)
        case .running, .suspended, .queued:
            life.state = .cancelling
            life.cancelRequestedAt = now
            let alreadyStopping = life.stopping != nil
            life.stopping = .cancel
            actions.append(.publish(id, .cancelling))
            if life.isHandedOver, !alreadyStopping { askToStop(life, .cancel, grace, &actions) }
        case .scheduled, .blocked:
            conclude(life, .cancelled(.beforeStart, took: .zero), now, &actions)
        case .cancelling, .succeeded, .failed, .cancelled:
            return  // late: true when sent, overtaken on the way
        }
    }

    private func askToStop(_ life: Life, _ reason: StopReason, _ grace: Duration, _ actions: inout [Action]) {
        life.stopping = reason
        actions.append(.stop(life.spec.id, grant: life.grant, life.spec.pool, reason, grace: grace))
    }

    private mutating func concludeBeforeStart(_ life: Life, _ now: Instant, _ actions: inout [Action]) {
        releasePlace(of: life)
        conclude(life, .cancelled(.beforeStart, took: now - (life.cancelRequestedAt ?? now)), now, &actions)
        fill(life.spec.room, now, &actions)
    }

    mutating func conclude(
        _ life: Life, _ conclusion: Conclusion, _ now: Instant, _ actions: inout [Action]
    ) {
        let before = life.state
        life.conclusion = conclusion
        life.state = conclusion.state
        queues[life.queue].left(now)
        actions.append(.record(life.spec.id, conclusion))
        if before == .scheduled { overtakeDue() }
        if let key = life.spec.key { release(key, of: life.spec.id, wasBlocked: before == .blocked, now, &actions) }
    }

    /// Passes the key on, or leaves the line for it.
    private mutating func release(
        _ key: String, of id: JobID, wasBlocked: Bool, _ now: Instant, _ actions: inout [Action]
    ) {
        if wasBlocked {
            keys.leave(key) { lives[$0].map { $0.conclusion == nil } ?? false }
        } else if let next = keys.passOn(key, from: id, isWaiting: { lives[$0].map { $0.conclusion == nil } ?? false }),
            let life = lives[next]
        {
            enqueue(life, now, &actions)
        }
    }

    private mutating func recorded(_ id: JobID, _ actions: inout [Action]) {
        guard let conclusion = lives[id]?.conclusion else { return }
        lives[id] = nil
        actions.append(.conclude(id, conclusion))
    }

    /// Stops what runs. What waits is left for the next server; where there is no disk to leave it on, it ends.
    private mutating func shutDown(_ grace: Duration, _ now: Instant, _ actions: inout [Action]) {
        isDrained = true
        for life in lives.values.sorted(by: { $0.spec.id < $1.spec.id }) where life.isHandedOver && life.stopping == nil
        {
            askToStop(life, .shutDown, grace, &actions)
        }
        guard !isDurable else { return }
        hasNoNextServer = true
        // Who is not accepted yet ends as soon as that is told.
        for life in lives.values.sorted(by: { $0.spec.id < $1.spec.id })
        where life.conclusion == nil && !life.isHandedOver && life.isPersisted {
            if life.state == .queued { dropTicket(of: life) }
            conclude(life, .failed(.stopped), now, &actions)
        }
    }

    // MARK: Time

    private mutating func becameDue(_ now: Instant, _ actions: inout [Action]) {
        promisedWake = nil
        guard restoringSince == nil else { return }
        while let entry = due.popDue(at: now) {
            guard let life = lives[entry.id], Self.isLive(entry, life) else {
                due.passed()
                continue
            }
            switch entry.cause {
            case .start: admit(life, now, &actions)
            case .retry: enqueue(life, now, &actions)
            case .timeout:
                life.hasDeadline = false
                if life.stopping == nil { askToStop(life, .timeout, Self.timeoutGrace, &actions) }
            }
        }
    }

    /// How long an attempt past its deadline is only asked to end.
    package static let timeoutGrace = Duration.seconds(5)

    mutating func dropDeadline(_ life: Life) {
        guard life.hasDeadline else { return }
        life.hasDeadline = false
        overtakeDue()
    }

    /// One entry of what is due no longer matters.
    private mutating func overtakeDue() {
        guard due.overtake() else { return }
        due.tidy { entry in lives[entry.id].map { Self.isLive(entry, $0) } ?? false }
    }

    private static func isLive(_ entry: DueTimes.Entry, _ life: Life) -> Bool {
        guard life.grant == entry.grant, life.conclusion == nil else { return false }
        switch entry.cause {
        case .start, .retry: return life.state == .scheduled
        case .timeout: return life.hasDeadline
        }
    }

    private mutating func keepPromise(_ actions: inout [Action]) {
        guard restoringSince == nil, let next = due.next, promisedWake.map({ next < $0 }) ?? true else { return }
        promisedWake = next
        actions.append(.wake(at: next))
    }

    // MARK: Fence

    /// The life of the job if its current attempt has this grant.
    func current(_ id: JobID, _ grant: Int) -> Life? {
        guard let life = lives[id], life.grant == grant, life.conclusion == nil else { return nil }
        return life
    }

    mutating func stale() { staleEvents += 1 }
}
