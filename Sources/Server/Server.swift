import EventLoop
import Glibc
import HTTP
import JSON
import Jobs
import Logging
import Pools
import Store

/// The whole server: the engine on the first loop, an HTTP side on every loop.
///
/// Made and used on the first loop's thread.
package final class Server {
    /// How long a connection that has not asked for anything yet may keep a server that is otherwise done.
    private static let lastWord = Duration.seconds(1)

    package let engine: Engine
    private let options: ServerOptions
    private let loop: EventLoop
    private let logger: Logger
    private let api: API
    private var near: HTTPServer!
    private var far: [FarLoop] = []
    private var drainDeadline: Deadline?
    private var isStopping = false
    /// Loops that still have connections.
    private var openSides = 0
    /// Loops whose clients may still ask for something new.
    private var unsettledSides = 0
    private var haveAttemptsEnded = false
    private var whenStopped: (() -> Void)?

    /// An HTTP side on a loop of its own.
    private struct FarLoop {
        let loop: EventLoop
        let server: LoopBound<HTTPServerBox>
    }

    /// A box, because the far loop makes the server itself.
    private final class HTTPServerBox {
        var server: HTTPServer?
    }

    package init(_ options: ServerOptions, tasks: [TaskDefinition], on loop: EventLoop, logger: Logger) throws {
        self.options = options
        self.loop = loop
        self.logger = logger
        engine = try Engine.opened(options, tasks: tasks, on: loop, logger: logger)
        let pages = Pages(directory: options.publicDirectory)
        var sessions: SessionFile?
        if case .file(let path) = options.store { sessions = SessionFile(path: path + ".sessions") }
        let keyring = options.tokens.map { Keyring($0, keptIn: sessions, by: Errands("sessions")) }
        let gate = Gate(options, keyring, openPaths: ["/healthz", "/readyz"] + pages.paths)
        api = API(engine, gate, pages)
    }

    /// Opens all listeners and returns their addresses, with the ports that were really taken.
    package func start() throws -> [ListenAddress] {
        let gate = api.gate
        let handlers = HTTPHandlers(
            refuse: { head, peer in gate.refuse(head, peer) },
            refusal: { error in
                let code = error.status == 400 ? "malformed-request" : error.status == 408 ? "timeout" : "refused"
                return Problem(error.status, code, error.reason).response
            },
            handle: LoopBound({ [api] in api.handle($0) }, on: loop))
        near = HTTPServer(on: loop, limits: options.limits, tls: options.tls, handlers: handlers)
        api.figures = handlers.figures
        let shared = options.loops > 1
        let taken = try options.addresses.map { try near.listen(on: $0, shared: shared) }
        for socket in options.inherited { try near.listen(on: socket) }
        for number in 1..<max(options.loops, 1) { try addLoop(number, taken, handlers) }
        return options.inherited.map(\.address) + taken
    }

    /// Other tokens hold from now on. Whether there is a check at all is settled at the start.
    package func replace(_ tokens: Tokens) {
        api.gate.keyring?.replace(tokens)
        api.endRefusedStreams()
        api.gate.keyring?.keep(on: loop) {}
    }

    /// Ends everything in order: no new connections, running jobs get their time, then all is stopped.
    ///
    /// A second call hurries.
    package func stop(_ done: @escaping () -> Void) {
        whenStopped = done
        guard !isStopping else { return hurry() }
        isStopping = true
        logger.notice("stopping", metadata: ["live": "\(engine.live.count)"])
        engine.isStopping = true
        engine.restoration?.abandon()
        drainDeadline = Deadline(after: options.drainTime, on: loop) { [unowned self] in hurry() }
        openSides = 1 + far.count
        unsettledSides = openSides
        // Others wait in the socket for the next server: who has got through to this one is to notice nothing.
        let grace = options.inherited.isEmpty ? .zero : min(Self.lastWord, options.drainTime / 2)
        near.drain(within: grace, settled: { [unowned self] in sideSettled() }) { [unowned self] in sideClosed() }
        let bound = LoopBound(self, on: loop)
        for far in far {
            let server = far.server
            far.loop.submit {
                server.value.server?.drain(
                    within: grace, settled: { bound.loop.submit { bound.value.sideSettled() } },
                    { bound.loop.submit { bound.value.sideClosed() } })
            }
        }
    }

    /// On one loop nobody is left who may ask for anything new.
    private func sideSettled() {
        unsettledSides -= 1
        if unsettledSides == 0 { drainEngine() }
    }

    /// From now on no job begins.
    private func drainEngine() {
        guard !engine.isDraining else { return }
        engine.drain { [unowned self] in closeDown() }
    }

    /// All connections of one loop are gone.
    private func sideClosed() {
        openSides -= 1
        if openSides == 0, haveAttemptsEnded { finish() }
    }

    private func hurry() {
        drainDeadline = nil
        drainEngine()
        engine.stopRunning(grace: .seconds(1))
        // What does not listen to its cancellation is left behind after this.
        drainDeadline = Deadline(after: .seconds(4), on: loop) { [unowned self] in finish() }
    }

    private func closeDown() {
        drainDeadline = Deadline(after: .seconds(4), on: loop) { [unowned self] in finish() }
        engine.streams.closeAll(now: engine.now)
        engine.monitor.closeAll()
        engine.dismissWaiters()
        var open = engine.pools.count
        for pool in engine.pools {
            pool.shutDown { [unowned self] in
                open -= 1
                if open == 0 { lastAttemptEnded() }
            }
        }
    }

    /// Who has only just connected still gets an answer.
    private func lastAttemptEnded() {
        haveAttemptsEnded = true
        guard openSides > 0 else { return finish() }
        drainDeadline = Deadline(after: Self.lastWord, on: loop) { [unowned self] in finish() }
    }

    private func finish() {
        drainDeadline = nil
        guard let done = whenStopped else { return }
        whenStopped = nil
        for pool in engine.pools { (pool as? ProcessPool)?.killAll() }
        engine.writeHistory()
        // What leaving clients want is not to be written any more.
        let isInOrder = engine.scheduler.takenPlaces == 0
        engine.store.close(inOrder: isInOrder) { [self] in
            if isInOrder { engine.options.starts?.remove() }
            near.closeAll()
            for far in far { far.loop.stop() }
            done()
        }
    }

    // MARK: Further loops

    private func addLoop(_ number: Int, _ addresses: [ListenAddress], _ handlers: HTTPHandlers) throws {
        let loop = try EventLoop()
        let box = LoopBound(HTTPServerBox(), on: loop)
        let limits = options.limits
        let tls = options.tls
        let inherited = options.inherited
        let tcp = addresses.filter { if case .tcp = $0 { true } else { false } }
        far.append(FarLoop(loop: loop, server: box))
        let logger = self.logger
        requireThread(named: "loop-\(number)") {
            loop.adopt()
            let server = HTTPServer(on: loop, number: number, limits: limits, tls: tls, handlers: handlers)
            box.value.server = server
            do {
                for address in tcp { _ = try server.listen(on: address, shared: true) }
                for socket in inherited { try server.listen(on: socket) }
            } catch {
                logger.error("a loop cannot listen", metadata: ["loop": "\(number)", "why": "\(error)"])
            }
            loop.run()
        }
    }
}
