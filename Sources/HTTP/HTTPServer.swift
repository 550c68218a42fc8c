import CLibevent
import CSpindle
import EventLoop
import Glibc
import Synchronization

/// What a server asks of those it serves for.
package struct HTTPHandlers: Sendable {
    /// Looks at a head before its body is read; nil lets the request pass. Called on the connection's loop.
    package var refuse: @Sendable (RequestHead, Peer) -> Response?
    /// Words the answer to a request that was no HTTP. Called on the connection's loop.
    package var refusal: @Sendable (ParseError) -> Response
    /// Answers one request. Called on the handlers' loop.
    package var handle: LoopBound<(Exchange) -> Void>
    /// What all servers that serve for them count.
    package let figures = ServerFigures()

    package init(
        refuse: @escaping @Sendable (RequestHead, Peer) -> Response?,
        refusal: @escaping @Sendable (ParseError) -> Response,
        handle: LoopBound<(Exchange) -> Void>
    ) {
        self.refuse = refuse
        self.refusal = refusal
        self.handle = handle
    }
}

/// The HTTP side of one loop: its listeners and its connections.
///
/// Loop-confined. With several loops each has a server of its own on the same port (`SO_REUSEPORT`); requests are handled
/// on the handlers' loop, wherever they came in.
package final class HTTPServer {
    let loop: EventLoop
    let limits: Limits
    let times: Limits.Nanoseconds
    let tls: TLSIdentity?
    let readBuffer = ReadBuffer()
    package private(set) var isDraining = false

    private let handlers: HTTPHandlers
    private var encoder = ResponseEncoder()
    private var listeners: [Listener] = []
    private var connections: [UInt64: Connection] = [:]
    private var perClient: [String: Int] = [:]
    private var nextID: UInt64 = 1
    private var dirty: [Connection] = []
    private var resuming: [Connection] = []
    private var turnTime: Int64 = 0
    private var longestTurn: Int64 = 0
    private var ticker: Ticker?
    private var nextTick: Int64 = 0
    private var far: FarSide?
    private var whenEmpty: (() -> Void)?
    /// While a server that stops lets clients send what they are about to send.
    private var whenSettled: (() -> Void)?
    private var hadGrace = false
    private var graceEnd: Int64 = 0
    private var graceTimer: Deadline?

    /// - Parameter number: The loop's, for the metrics.
    package init(
        on loop: EventLoop, number: Int = 0, limits: Limits, tls: TLSIdentity? = nil, handlers: HTTPHandlers
    ) {
        self.loop = loop
        self.limits = limits
        times = Limits.Nanoseconds(limits)
        self.tls = tls
        self.handlers = handlers
        if handlers.handle.loop !== loop { far = FarSide(on: loop, limits: limits, handlers: handlers) }
        loop.atEndOfTurn { [unowned self] in endTurn() }
        nextTick = monotonicNanoseconds() + Self.second
        // Without memory for a timer the lag is not measured, and nothing else.
        ticker = try? Ticker(every: .nanoseconds(Self.second), on: loop) { [unowned self] in measureLag(of: number) }
    }

    /// Opens a listener.
    ///
    /// - Returns: The address with the port that was really taken.
    package func listen(on address: ListenAddress, shared: Bool = false) throws -> ListenAddress {
        var taken = address
        let descriptor = try address.open(shared: shared, &taken)
        listeners.append(try Listener(descriptor, taken, on: loop) { [unowned self] in accept($0) })
        return taken
    }

    /// Serves a socket that was open before us, and stays open after us.
    package func listen(on socket: InheritedSocket) throws {
        listeners.append(try Listener(try socket.duplicate(), nil, on: loop) { [unowned self] in accept($0) })
    }

    /// Stops accepting. The next answer on each connection is its last, unless more has come already.
    ///
    /// A client of a connection that is kept cannot know that it will be closed, and may send a request at the same moment:
    /// so connections without one are closed only after the grace, or when every client has had its last answer.
    ///
    /// - Parameters:
    ///   - settled: Called when nobody is left who may ask for anything but by what he has sent already.
    ///   - done: Called when the last connection is gone.
    package func drain(within grace: Duration, settled: @escaping () -> Void, _ done: @escaping () -> Void) {
        // Who has connected already is served; with the listener they would be thrown away.
        for listener in listeners { listener.acceptWaiting() }
        isDraining = true
        listeners = []
        whenSettled = settled
        whenEmpty = done
        // Longer than a year is for ever.
        let wait = Int64(exactly: (min(grace, .seconds(31_536_000)) / .nanoseconds(1)).rounded()) ?? 0
        graceEnd = monotonicNanoseconds() + wait
        hadGrace = grace > .zero
        // Rounded up: when it fires, the grace is over.
        if hadGrace { graceTimer = Deadline(after: .nanoseconds(wait + 1000), on: loop) { [unowned self] in settle() } }
        settle()
    }

    /// Looked at when the grace is over, and at the end of each turn before: whatever a client does or is answered is in one.
    private func settle() {
        guard let settled = whenSettled else { return }
        if monotonicNanoseconds() < graceEnd, connections.values.contains(where: \.mayAsk) { return }
        graceTimer = nil
        for connection in Array(connections.values) { connection.closeIfIdle(evenIf: hadGrace) }
        whenSettled = nil
        settled()
        if connections.isEmpty { empty() }
    }

    private func empty() {
        guard whenSettled == nil, let done = whenEmpty else { return }
        whenEmpty = nil
        done()
    }

    /// Closes what is left.
    package func closeAll() {
        for connection in Array(connections.values) { connection.close() }
    }

    // MARK: For connections

    /// Nanoseconds, read once a turn.
    var now: Int64 {
        if turnTime == 0 { turnTime = monotonicNanoseconds() }
        return turnTime
    }

    func refuse(_ head: RequestHead, _ peer: Peer) -> Response? {
        guard let refusal = handlers.refuse(head, peer) else { return nil }
        handlers.figures.noteRefusal(refusal.status)
        return refusal
    }

    func refusal(for error: ParseError) -> Response {
        handlers.figures.noteRefusal(error.status)
        return handlers.refusal(error)
    }

    func encode(
        _ response: Response, _ framing: ResponseEncoder.Framing, _ persistence: ResponseEncoder.Persistence,
        into out: inout [UInt8]
    ) {
        encoder.encode(response, framing, persistence, at: wallSeconds, into: &out)
    }

    func dispatch(from connection: Connection) {
        if let far {
            far.dispatch(from: connection)
        } else {
            handlers.handle.value(connection.makeExchange())
        }
    }

    func flushLater(_ connection: Connection) {
        dirty.append(connection)
        loop.workForHooks()
    }

    func resumeSoon(_ connection: Connection) {
        resuming.append(connection)
        loop.workForHooks()
    }

    func forget(_ connection: Connection) {
        guard connections.removeValue(forKey: connection.id) != nil else { return }
        handlers.figures.addConnections(-1)
        if !connection.peer.isLocal {
            perClient[connection.peer.address, default: 1] -= 1
            if perClient[connection.peer.address] == 0 { perClient[connection.peer.address] = nil }
        }
        if connections.isEmpty { empty() }
    }

    // MARK: Turn

    private var wallSecond: Int64 = 0
    private var wallSecondUntil: Int64 = 0

    /// The wall clock's second, asked for ten times a second at most.
    private var wallSeconds: Int64 {
        if now >= wallSecondUntil {
            wallSecond = wallNanoseconds() / 1_000_000_000
            wallSecondUntil = now + 100_000_000
        }
        return wallSecond
    }

    private static let second: Int64 = 1_000_000_000

    /// A turn that is long keeps everything waiting; so does another process that has the core, which only a timer sees.
    private func measureLag(of number: Int) {
        let now = monotonicNanoseconds()
        handlers.figures.noteLag(max(now - nextTick, longestTurn, 0), of: number)
        nextTick = now + Self.second
        longestTurn = 0
    }

    private func endTurn() {
        while !resuming.isEmpty {
            let batch = resuming
            resuming.removeAll(keepingCapacity: true)
            for connection in batch { connection.resume() }
        }
        if !dirty.isEmpty {
            var batch: [Connection] = []
            swap(&batch, &dirty)
            for connection in batch { connection.flush() }
            batch.removeAll(keepingCapacity: batch.count <= 4096)
            if dirty.isEmpty { dirty = batch }
        }
        if turnTime != 0 { longestTurn = max(longestTurn, monotonicNanoseconds() - turnTime) }
        turnTime = 0
        if whenSettled != nil {
            settle()
            // What that leads to may leave something for the hooks.
            if whenSettled == nil { loop.workForHooks() }
        }
    }

    private func accept(_ descriptor: consuming Descriptor) {
        let peer = Peer(of: descriptor.number, isTLS: tls != nil)
        let fits =
            handlers.figures.connections < limits.connections
            && (peer.isLocal || perClient[peer.address, default: 0] < limits.connectionsPerClient)
        guard fits, !isDraining else { return Listener.refuse(descriptor) }
        var one: CInt = 1
        setsockopt(descriptor.number, CInt(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<CInt>.size))
        do throws(LoopError) {
            let connection = try Connection(descriptor, id: nextID, peer: peer, server: self)
            connections[nextID] = connection
            handlers.figures.addConnections(1)
            nextID += 1
            if !peer.isLocal { perClient[peer.address, default: 0] += 1 }
        } catch {
            // No memory for it: with its descriptor it is gone.
        }
    }
}

extension Peer {
    init(of descriptor: CInt, isTLS: Bool) {
        var storage = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let family = withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                getpeername(descriptor, address, &size) == 0 ? CInt(address.pointee.sa_family) : AF_UNIX
            }
        }
        guard family == AF_INET || family == AF_INET6 else {
            self.init(address: "", isLocal: true, isTLS: isTLS)
            return
        }
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        let isLoopback = withUnsafeBytes(of: &storage) { bytes in
            let offset = family == AF_INET ? 4 : 8
            inet_ntop(family, bytes.baseAddress! + offset, &text, socklen_t(text.count))
            return family == AF_INET ? bytes[4] == 127 : bytes[8..<23].allSatisfy { $0 == 0 } && bytes[23] == 1
        }
        let address = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        self.init(address: address, isLocal: isLoopback, isTLS: isTLS)
    }
}
