import EventLoop

/// One request and its answer, as a handler holds it. Lives on the handlers' loop.
///
/// A handler either calls ``respond(_:)`` once, or ``beginStream(_:)``, ``send(_:)`` as often as it likes, and ``end()``.
/// Any of them may come later than the handler's return. After the client has left they do nothing.
package final class Exchange {
    /// Valid until the exchange is over.
    package var head: RequestHead { sink?.head ?? RequestHead() }
    package let peer: Peer
    private var onLeave: (() -> Void)?
    private var hasLeft = false
    /// The same as ``whenLeft(_:)`` for an object that would otherwise have to make a closure.
    package var owner: (any ExchangeOwner)?
    /// Called when the client sends nothing more. It may be gone, which the next write finds out: a stream writes something.
    package var onFinish: (() -> Void)?
    /// Called when a stream whose reader was slow has room again.
    package var onDrain: (() -> Void)?
    private var meter: (any AnswerMeter)?
    private var began: Int64 = 0
    /// What carries the answer; nil when the exchange is over.
    private var sink: (any ResponseSink)?

    init(_ sink: any ResponseSink, peer: Peer) {
        self.sink = sink
        self.peer = peer
    }

    func reopen(_ sink: any ResponseSink) {
        self.sink = sink
        hasLeft = false
        meter = nil
    }

    /// Calls `action` once if the client leaves before the answer is complete: at once, if it has left already.
    ///
    /// Whoever answers later than the handler's return says so here, and hears of a client that left meanwhile.
    package func whenLeft(_ action: @escaping () -> Void) {
        if hasLeft { return action() }
        onLeave = action
    }

    /// Moves the request's body out; a second call returns nothing.
    package func takeBody() -> [UInt8] { sink?.takeBody() ?? [] }

    package func respond(_ response: Response) {
        guard let sink = finish() else { return }
        measured(response.status)
        sink.respond(response)
    }

    package func beginStream(_ response: Response) {
        guard let sink else { return }
        measured(response.status)
        sink.beginStream(response)
    }

    /// Tells `meter` of the answer when it begins.
    package func measure(by meter: any AnswerMeter) {
        self.meter = meter
        began = monotonicNanoseconds()
    }

    private func measured(_ status: Int) {
        meter?.answered(status, since: began)
        meter = nil
    }

    package func send(_ chunk: StreamChunk) { sink?.send(chunk) }

    package func end() { finish()?.end() }

    /// Bytes of a stream that the client has not taken yet.
    package var unsent: Int { sink?.unsent ?? 0 }

    /// Says that the client has left.
    func close() {
        guard sink != nil else { return }
        sink = nil
        hasLeft = true
        onDrain = nil
        onFinish = nil
        let onLeave = self.onLeave
        self.onLeave = nil
        let owner = self.owner
        self.owner = nil
        onLeave?()
        owner?.clientDidLeave()
    }

    private func finish() -> (any ResponseSink)? {
        defer {
            sink = nil
            onLeave = nil
            onDrain = nil
            onFinish = nil
            owner = nil
        }
        return sink
    }
}

/// Somebody who answers an exchange and wants to know when nobody waits for the answer any more.
package protocol ExchangeOwner: AnyObject {
    func clientDidLeave()
}

/// Where an exchange's answer goes: a connection of the same loop, or the far end of one on another loop.
protocol ResponseSink: AnyObject {
    var head: RequestHead { get }
    var unsent: Int { get }
    func takeBody() -> [UInt8]
    func respond(_ response: Response)
    func beginStream(_ response: Response)
    func send(_ chunk: StreamChunk)
    func end()
}

/// Who is at the other end of a connection.
package struct Peer: Sendable, Hashable {
    /// The address without the port; empty for a unix socket.
    package let address: String
    /// On this machine: loopback or a unix socket.
    package let isLocal: Bool
    package let isTLS: Bool
    package var isUnix: Bool { address.isEmpty }
}
