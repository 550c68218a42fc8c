import EventLoop

/// Carries exchanges between a connection's loop and the handlers' loop, in batches both ways.
///
/// ```
///   connection's loop                    handlers' loop
///   Connection ── request, left, room ──► FarSink ── Exchange ──► handler
///        ▲──────── answer, stream ────────────┘
/// ```
// Guard: `server` and `near` are touched on the connection's loop, `sinks` on the handlers' loop only.
final class FarSide: @unchecked Sendable {
    private enum ToHandlers: Sendable {
        case request(UInt64, RequestHead, [UInt8], Peer)
        case left(UInt64)
        case took(UInt64, bytes: Int, unsent: Int)
        case hasRoom(UInt64)
    }

    private enum ToConnection: Sendable {
        case respond(UInt64, Response)
        case begin(UInt64, Response)
        case send(UInt64, StreamChunk)
        case end(UInt64)
    }

    private unowned let server: HTTPServer
    private let handle: LoopBound<(Exchange) -> Void>
    private var near: [UInt64: Exchange] = [:]
    private var sinks: [UInt64: (sink: FarSink, exchange: Exchange)] = [:]
    private var toHandlers: Inbox<ToHandlers>!
    private var toConnection: Inbox<ToConnection>!

    init(_ server: HTTPServer, handlers: HTTPHandlers) {
        self.server = server
        handle = handlers.handle
        toHandlers = Inbox(on: handlers.handle.loop) { [unowned self] batch in
            for message in batch { receive(message) }
        }
        toConnection = Inbox(on: server.loop) { [unowned self] batch in
            for message in batch { deliver(message) }
        }
    }

    // MARK: On the connection's loop

    func dispatch(from connection: Connection) {
        let id = connection.id
        let exchange = connection.makeExchange()
        exchange.onClose = { [unowned self] in
            near[id] = nil
            toHandlers.post(.left(id))
        }
        exchange.onDrain = { [unowned self] in toHandlers.post(.hasRoom(id)) }
        near[id] = exchange
        toHandlers.post(.request(id, connection.head, connection.takeBody(), connection.peer))
    }

    private func deliver(_ message: ToConnection) {
        switch message {
        case .respond(let id, let response): near.removeValue(forKey: id)?.respond(response)
        case .begin(let id, let response): near[id]?.beginStream(response)
        case .send(let id, let chunk):
            guard let exchange = near[id] else { return }
            exchange.send(chunk)
            toHandlers.post(.took(id, bytes: chunk.payloadCount, unsent: exchange.unsent))
        case .end(let id): near.removeValue(forKey: id)?.end()
        }
    }

    // MARK: On the handlers' loop

    private func receive(_ message: ToHandlers) {
        switch message {
        case .request(let id, let head, let body, let peer):
            let sink = FarSink(id, head, body, self)
            let exchange = Exchange(sink, peer: peer)
            sinks[id] = (sink, exchange)
            handle.value(exchange)
        case .left(let id): sinks.removeValue(forKey: id)?.exchange.close()
        case .took(let id, let bytes, let unsent): sinks[id]?.sink.took(bytes, unsent: unsent)
        case .hasRoom(let id):
            sinks[id]?.sink.took(0, unsent: 0)
            sinks[id]?.exchange.onDrain?()
        }
    }

    /// A connection seen from the handlers' loop.
    private final class FarSink: ResponseSink {
        let id: UInt64
        let head: RequestHead
        private var body: [UInt8]
        private let far: FarSide
        private var onTheWay = 0
        private var unsentThere = 0

        init(_ id: UInt64, _ head: RequestHead, _ body: [UInt8], _ far: FarSide) {
            self.id = id
            self.head = head
            self.body = body
            self.far = far
        }

        var unsent: Int { onTheWay + unsentThere }

        func takeBody() -> [UInt8] {
            defer { body = [] }
            return body
        }

        func respond(_ response: Response) {
            far.sinks[id] = nil
            far.toConnection.post(.respond(id, response))
        }

        func beginStream(_ response: Response) { far.toConnection.post(.begin(id, response)) }

        func send(_ chunk: StreamChunk) {
            onTheWay += chunk.payloadCount
            far.toConnection.post(.send(id, chunk))
        }

        func end() {
            far.sinks[id] = nil
            far.toConnection.post(.end(id))
        }

        func took(_ bytes: Int, unsent: Int) {
            onTheWay -= bytes
            unsentThere = unsent
        }
    }
}
