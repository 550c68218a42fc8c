import DequeModule
import EventLoop
import HTTP
import Jobs
import Store

/// Takes over what an earlier server has left on disk, a little in each turn: the loop serves who is there meanwhile.
///
/// ```
///   store's thread            loop
///   ──────────────            ────
///   rows ─► batches ───────► arrived ─► scheduler, which starts nothing yet ─► all there: it starts, and who waits is answered
/// ```
final class Restoration {
    /// How long jobs are taken over in one turn, in nanoseconds.
    private static let slice: Int64 = 4_000_000
    /// Jobs between two looks at the clock.
    private static let stride = 16
    /// How long a request waits for the jobs before its client is told to come again.
    private static let patience = Duration.seconds(10)

    /// A request that asks for jobs.
    private final class Request {
        let exchange: Exchange
        let since: Instant
        let handle: () -> Void
        /// The client is gone; its connection may by now carry another's request.
        var hasLeft = false

        init(_ exchange: Exchange, since: Instant, _ handle: @escaping () -> Void) {
            self.exchange = exchange
            self.since = since
            self.handle = handle
        }
    }

    /// Jobs that there are, as soon as that is known, those of them that are here, and those that ran.
    private(set) var expected = 0
    private(set) var restored = 0
    private(set) var ran = 0
    /// Called once, when all jobs are here.
    var whenDone: (() -> Void)?
    private unowned let engine: Engine
    private var reading: SQLiteStore.Reading?
    private var arrived = Deque<LeftJob>()
    private var requests = Deque<Request>()
    private var isReady = false
    private var hasAll = false
    private var isTurnPlanned = false
    private var isOver = false
    private let began = monotonicNanoseconds()

    /// Begins to read; nothing is taken over before ``begin()``.
    init(_ store: SQLiteStore, for engine: Engine) {
        self.engine = engine
        reading = store.readLeft(at: engine.now) { [unowned self] count in
            expected = count
            engine.expectRestored(count)
        } take: { [unowned self] jobs in
            arrived.append(contentsOf: jobs)
            planTurn()
        } done: { [unowned self] result in
            // A server that knows only some of its jobs could keep no promise.
            if case .failure(let failure) = result { StoreFailure.end(failure) }
            hasAll = true
            planTurn()
        }
    }

    var seconds: Double { Double((monotonicNanoseconds() - began) / 1_000_000) / 1000 }

    /// The tasks are known, and what was set is set again: jobs can take their places.
    func begin() {
        engine.feed(.restoring)
        isReady = true
        planTurn()
    }

    private func planTurn() {
        guard isReady, !isTurnPlanned, !isOver else { return }
        isTurnPlanned = true
        let bound = LoopBound(self, on: engine.loop)
        engine.loop.submit { bound.value.turn() }
    }

    private func turn() {
        isTurnPlanned = false
        guard !isOver else { return }
        let deadline = monotonicNanoseconds() + Self.slice
        while let (record, remains) = arrived.popFirst() {
            if remains.wasRunning { ran += 1 }
            restored += 1
            engine.takeOver(record, remains)
            if restored % Self.stride == 0, monotonicNanoseconds() > deadline { return planTurn() }
        }
        guard hasAll else { return }
        while engine.settleRestored() { if monotonicNanoseconds() > deadline { return planTurn() } }
        isOver = true
        arrived = []
        engine.allRestored()
        whenDone?()
        whenDone = nil
        while let request = requests.popFirst() { if !request.hasLeft { request.handle() } }
    }

    /// The server ends before all jobs are here: they are left to the next one as they are.
    func abandon() {
        reading?.end()
        isOver = true
        arrived = []
        refuse { _ in true }
    }

    // MARK: Who waits

    /// Lets a request that asks for jobs wait for them.
    func hold(_ exchange: Exchange, _ handle: @escaping () -> Void) {
        guard !isOver else { return exchange.respond(Problem.draining.response) }
        let request = Request(exchange, since: engine.now, handle)
        exchange.whenLeft { request.hasLeft = true }
        requests.append(request)
    }

    /// Once a second: whoever has waited for long is told when to come again.
    func tick() {
        let now = engine.now
        refuse { now - $0 > Self.patience }
    }

    private func refuse(since isLate: (Instant) -> Bool) {
        while let request = requests.first, isLate(request.since) {
            requests.removeFirst()
            guard !request.hasLeft else { continue }
            request.exchange.respond((isOver ? Problem.draining : Problem.starting(for: secondsLeft)).response)
        }
    }

    /// How long it will take, if it goes on as it has gone so far.
    var secondsLeft: Int {
        let left = Double(max(expected - restored, 0)) / Double(max(restored, 1)) * seconds
        return Int(saturating: min(max(left.rounded(.up), 1), 60))
    }
}
