import EventLoop

/// Carries exchanges between a connection's loop and the handlers' loop, in batches both ways.
///
/// ```
///   connection's loop                     handlers' loop
///   Connection ── request, left, room ──► Carrier ── Exchange ──► handler
///        ▲──────── answer, stream ───────────┘
/// ```
// Guard: set up on the connections' loop before anything is posted; each inbox delivers on the loop it names.
final class FarSide: @unchecked Sendable {
    fileprivate enum ToHandlers: Sendable {
        case request(Carrier)
        case left(Carrier)
        case finished(Carrier)
        case took(Carrier, bytes: Int, unsent: Int)
        case hasRoom(Carrier)
    }

    fileprivate enum ToConnection: Sendable {
        case respond(Carrier, Response)
        case begin(Carrier, Response)
        case send(Carrier, StreamChunk)
        case end(Carrier)
    }

    fileprivate let toHandlers: Inbox<ToHandlers>
    fileprivate let toConnection: Inbox<ToConnection>

    /// Unsent bytes from which on a stream goes on.
    fileprivate let lowWater: Int

    init(on loop: EventLoop, limits: Limits, handlers: HTTPHandlers) {
        lowWater = limits.streamLowWater
        let handle = handlers.handle
        toHandlers = Inbox(on: handle.loop) { batch in
            let handle = handle.value
            for message in batch {
                switch message {
                case .request(let carrier): handle(carrier.open())
                case .left(let carrier): carrier.clientLeft()
                case .finished(let carrier): carrier.clientFinished()
                case .took(let carrier, let bytes, let unsent): carrier.took(bytes, unsent: unsent)
                case .hasRoom(let carrier): carrier.hasRoom()
                }
            }
        }
        toConnection = Inbox(on: loop) { batch in
            for message in batch {
                switch message {
                case .respond(let carrier, let response): carrier.respond(near: response)
                case .begin(let carrier, let response): carrier.begin(near: response)
                case .send(let carrier, let chunk): carrier.send(near: chunk)
                case .end(let carrier): carrier.endNear()
                }
            }
        }
    }

    /// On the connection's loop: hands its request over.
    func dispatch(from connection: Connection) {
        let exchange = connection.makeExchange()
        let carrier = Carrier(connection.head, connection.takeBody(), exchange, self)
        exchange.owner = carrier
        toHandlers.post(.request(carrier))
    }
}

/// One exchange on its way between two loops: the connection's owner there, the handler's sink here.
// Guard: `near` belongs to the connection's loop; `body`, `far`, `onTheWay` and `unsentThere` to the handlers' loop from the
// moment the request is posted.
private final class Carrier: ResponseSink, ExchangeOwner, @unchecked Sendable {
    let head: RequestHead
    private let side: FarSide
    /// The connection's exchange, which holds the carrier as long as it is open.
    private var near: Exchange?
    private let peer: Peer
    private var body: [UInt8]
    private var far: Exchange?
    private var onTheWay = 0
    private var unsentThere = 0

    init(_ head: RequestHead, _ body: [UInt8], _ near: Exchange, _ side: FarSide) {
        self.head = head
        self.body = body
        self.near = near
        self.side = side
        peer = near.peer
    }

    // MARK: On the connection's loop

    func clientDidLeave() {
        near = nil
        side.toHandlers.post(.left(self))
    }

    func respond(near response: Response) {
        let near = self.near
        self.near = nil
        near?.respond(response)
    }

    func begin(near response: Response) {
        near?.onFinish = { [self] in side.toHandlers.post(.finished(self)) }
        near?.onDrain = { [self] in side.toHandlers.post(.hasRoom(self)) }
        near?.beginStream(response)
    }

    func send(near chunk: StreamChunk) {
        guard let near else { return }
        near.send(chunk)
        side.toHandlers.post(.took(self, bytes: chunk.payloadCount, unsent: near.unsent))
    }

    func endNear() {
        let near = self.near
        self.near = nil
        near?.end()
    }

    // MARK: On the handlers' loop

    func open() -> Exchange {
        let exchange = Exchange(self, peer: peer)
        far = exchange
        return exchange
    }

    func clientLeft() {
        far?.close()
        far = nil
    }

    func clientFinished() { far?.onFinish?() }

    func took(_ bytes: Int, unsent: Int) {
        let before = self.unsent
        onTheWay -= bytes
        unsentThere = unsent
        // The connection may have taken all at once, and then it has no drain to tell of.
        if before > side.lowWater, self.unsent <= side.lowWater { far?.onDrain?() }
    }

    func hasRoom() {
        unsentThere = 0
        far?.onDrain?()
    }

    var unsent: Int { onTheWay + unsentThere }

    func takeBody() -> [UInt8] {
        defer { body = [] }
        return body
    }

    func respond(_ response: Response) {
        far = nil
        side.toConnection.post(.respond(self, response))
    }

    func beginStream(_ response: Response) { side.toConnection.post(.begin(self, response)) }

    func send(_ chunk: StreamChunk) {
        onTheWay += chunk.payloadCount
        side.toConnection.post(.send(self, chunk))
    }

    func end() {
        far = nil
        side.toConnection.post(.end(self))
    }
}
