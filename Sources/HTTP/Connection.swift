import EventLoop
import Glibc

/// One client's connection: bytes in, requests to the handler one after another, answers out.
///
/// ```
///   awaiting ──head, let pass──► receiving ──end──► answering ──respond──► awaiting | closing
///      │                             │                  └──beginStream──► streaming ──end──► awaiting | closing
///      ├──head, refused──► refused ──end──► awaiting
///      └──────── bad or late ────────┴──► closing ──flushed──► lingering ──peer done or 2 s──► closed
/// ```
///
/// The right to answer comes into being with a head, and goes with the answer: the end of a request that was refused leads nowhere
/// but to the next one.
///
/// Lives and dies on its server's loop.
final class Connection: ResponseSink, TransportOwner {
    private enum Phase {
        /// The next request's head is not complete, or nothing of it has come.
        case awaiting
        /// A request was let pass; its body comes.
        case receiving
        /// A request is complete and with its handler.
        case answering
        case streaming
        /// A request was answered before its end, which is to be read yet.
        case refused
        /// The last answer is on its way; nothing more is read.
        case closing
        /// Our side is shut; what the client still sends is thrown away, so that it gets to read the answer.
        case lingering
        case closed

        /// Whether the parser is to have what comes in.
        var isReading: Bool { self == .awaiting || self == .receiving || self == .refused }
        /// Whether a handler has the request.
        var isBusy: Bool { self == .answering || self == .streaming }
    }

    let id: UInt64
    let peer: Peer
    /// A cycle while the connection is open: the server lets go of what is closed.
    private let server: HTTPServer
    private var transport: (any Transport)!
    private var parser: RequestParser
    /// Of the request that is being read or answered.
    private(set) var head = RequestHead()
    private var phase = Phase.awaiting
    /// To answer the present request; nil when it is answered, or none has come.
    private var right: AnswerRight?
    private var isFeeding = false
    private var body: [UInt8] = []
    /// Input that came while a request was being answered.
    private var held: [UInt8] = []
    /// Bytes of the input at hand that the parser has not had.
    private var unfed = 0
    private var isPaused = false
    private var closesAfterAnswer = false
    /// The client sends nothing more than has come. Whether it still reads is another question.
    private var isFinished = false
    private var probePause: Int64 = 0
    private var exchange: Exchange?
    private var spareExchange: Exchange?
    private var requests = 0

    private var out: [UInt8] = []
    private var outStart = 0
    private var isDirty = false
    /// Set when the last `write` could not take everything.
    private var isBlocked = false

    private var timer: Timer?
    private var armedUntil = Int64.max
    private var deadline = Int64.max
    private var requestStart: Int64 = 0
    private var received = 0

    init(_ descriptor: consuming Descriptor, id: UInt64, peer: Peer, server: HTTPServer) throws(LoopError) {
        self.id = id
        self.peer = peer
        self.server = server
        parser = RequestParser(limits: server.limits)
        timer = try Timer(on: server.loop) { [unowned self] in timePassed() }
        if let identity = server.tls {
            transport = try TLSTransport(descriptor, identity, on: server.loop, buffer: server.readBuffer, owner: self)
        } else {
            transport = try PlainTransport(descriptor, on: server.loop, buffer: server.readBuffer, owner: self)
        }
        requestStart = server.now
        setDeadline(after: server.times.head)
    }

    // MARK: In

    func transportDidRead(_ bytes: UnsafeBufferPointer<UInt8>) {
        if phase.isReading, held.isEmpty {
            if parser.place == .between {
                requestStart = server.now
                received = 0
            }
            feed(bytes)
        } else if phase.isReading || phase.isBusy {
            // Behind what is held already.
            hold(bytes)
        }
    }

    func transportDidFinish() {
        isFinished = true
        switch phase {
        case .awaiting, .receiving, .refused: if held.isEmpty { waitForMore() }
        case .answering: probeLater()
        case .streaming: exchange?.onFinish?()
        case .lingering: close()
        case .closing, .closed: break
        }
    }

    func transportDidEnd() { close() }

    private func hold(_ bytes: UnsafeBufferPointer<UInt8>) {
        held.append(contentsOf: bytes)
        guard held.count > server.limits.heldBytes, !isPaused else { return }
        isPaused = true
        transport.pauseReading()
    }

    private func feed(_ bytes: UnsafeBufferPointer<UInt8>) {
        isFeeding = true
        defer {
            isFeeding = false
            unfed = 0
        }
        var offset = 0
        while phase.isReading {
            do throws(ParseError) {
                guard let event = try parser.next(bytes, &offset) else { break }
                unfed = bytes.count - offset
                take(event, of: bytes)
            } catch {
                giveUp(on: error)
                return
            }
        }
        if phase.isReading {
            waitForMore()
        } else if offset < bytes.count, phase.isBusy {
            hold(UnsafeBufferPointer(rebasing: bytes[offset...]))
        }
    }

    private func take(_ event: RequestParser.Event, of bytes: UnsafeBufferPointer<UInt8>) {
        switch event {
        case .head: takeHead()
        case .body(let range):
            if body.isEmpty, let length = head.contentLength { body.reserveCapacity(length) }
            body.append(contentsOf: UnsafeBufferPointer(rebasing: bytes[range]))
            received += range.count
        case .end:
            if let right = right.take() {
                dispatch(right)
            } else {
                phase = .awaiting
            }
        }
    }

    private func takeHead() {
        if !isKnownUniquelyReferenced(&head) { head = RequestHead() }
        head.exchange(&parser.head)
        requests += 1
        closesAfterAnswer = !head.keepsAlive || requests >= server.limits.requestsPerConnection
        if let refusal = server.refuse(head, peer) {
            // Nobody wants the body; to read it all the same would cost more than a new connection.
            if head.hasBody { closesAfterAnswer = true }
            write(refusal, AnswerRight(to: head))
            finishAnswer(isComplete: false)
            return
        }
        if head.expectsContinue, head.hasBody {
            out.append(text: "HTTP/1.1 100 Continue\r\n\r\n")
            markDirty()
        }
        right = AnswerRight(to: head)
        phase = .receiving
    }

    private func dispatch(_ right: consuming AnswerRight) {
        self.right = consume right
        phase = .answering
        deadline = .max
        if isFinished { probeLater() }
        server.dispatch(from: self)
    }

    /// Answers what is no request, or never becomes one, and closes.
    private func giveUp(on error: ParseError) {
        closesAfterAnswer = true
        let answer = server.refusal(for: error)
        if let right = right.take() {
            write(answer, right)
        } else if phase == .awaiting {
            write(answer, AnswerRight(toBroken: parser.head))
        }
        finishAnswer(isComplete: false)
    }

    /// The exchange for the request that is complete. The object is used again if nobody kept the last one.
    func makeExchange() -> Exchange {
        if spareExchange != nil, isKnownUniquelyReferenced(&spareExchange) {
            spareExchange!.reopen(self)
        } else {
            spareExchange = Exchange(self, peer: peer)
        }
        exchange = spareExchange
        return spareExchange!
    }

    // MARK: Out

    var unsent: Int { out.count - outStart + transport.backlog }

    func takeBody() -> [UInt8] {
        defer { body = [] }
        return body
    }

    private func persistence(_ minorVersion: UInt8) -> ResponseEncoder.Persistence {
        closesAfterAnswer ? .closes : minorVersion == 0 ? .staysIfTold : .stays
    }

    func respond(_ response: Response) {
        guard phase == .answering, let right = right.take() else { return }
        write(response, right)
        finishAnswer(isComplete: true)
    }

    /// Whether the client has sent more than what is being answered.
    private var hasMore: Bool { unfed > 0 || !held.isEmpty || transport.hasUnread }

    /// A server that stops answers what has come already, and says with the last of these answers that it was the last.
    private var isLastAnswer: Bool { closesAfterAnswer || server.isDraining && !hasMore }

    private func write(_ response: Response, _ right: consuming AnswerRight) {
        closesAfterAnswer = isLastAnswer
        let hasNone = response.status == 204 || response.status == 304
        server.encode(
            response, hasNone ? .none : .length(response.body.count), persistence(right.minorVersion), into: &out)
        if !right.isWithoutBody, !hasNone { out.append(contentsOf: response.body) }
    }

    func beginStream(_ response: Response) {
        guard phase == .answering, let right = right.take() else { return }
        closesAfterAnswer = isLastAnswer || right.minorVersion == 0
        server.encode(
            response, right.minorVersion == 0 ? .close : .chunked, persistence(right.minorVersion), into: &out)
        self.right = consume right
        phase = .streaming
        // Who had finished sending was to be asked whether it is still there: a stream does that with its sign of life.
        if !isBlocked, isFinished { setDeadline(at: server.now) }
        markDirty()
    }

    func send(_ chunk: StreamChunk) {
        guard phase == .streaming, head.method != .head, chunk.payloadCount > 0 else { return }
        // One chunk may be larger than the bound; a reader that has not even taken the one before it is given up.
        guard unsent <= server.limits.streamMaximum else { return close() }
        let range = head.minorVersion == 0 ? chunk.payload : 0..<chunk.bytes.count
        chunk.bytes.withUnsafeBytes { bytes in
            let bytes = UnsafeRawBufferPointer(rebasing: bytes[range])
            var taken = 0
            if unsent == 0, !isDirty {
                taken = transport.write(bytes)
            }
            guard taken < bytes.count else { return }
            if !isDirty { blockWrites() }
            out.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[taken...]))
        }
    }

    func end() {
        guard phase == .streaming, let right = right.take() else { return }
        if right.minorVersion == 1, !right.isWithoutBody { out.append(text: "0\r\n\r\n") }
        finishAnswer(isComplete: true)
    }

    /// - Parameter isComplete: Whether the request has been read to its end.
    private func finishAnswer(isComplete: Bool) {
        exchange = nil
        body.removeAll(keepingCapacity: body.capacity <= 4096)
        markDirty()
        if isLastAnswer {
            phase = .closing
            return
        }
        phase = isComplete ? .awaiting : .refused
        if isFeeding { return }
        guard held.isEmpty else { return server.resumeSoon(self) }
        waitForMore()
        readAgain()
    }

    /// Goes on with input that was held while a request was being answered.
    func resume() {
        guard phase.isReading, !held.isEmpty, !isFeeding else { return }
        var bytes: [UInt8] = []
        swap(&bytes, &held)
        requestStart = server.now
        received = 0
        bytes.withUnsafeBufferPointer { feed($0) }
        if phase.isReading { readAgain() }
    }

    private func readAgain() {
        guard isPaused else { return }
        isPaused = false
        transport.resumeReading()
    }

    private func markDirty() {
        guard !isDirty else { return }
        isDirty = true
        server.flushLater(self)
    }

    /// Writes what is waiting: once a turn, however many answers there are.
    func flush() {
        isDirty = false
        guard phase != .closed else { return }
        let hadMuch = out.count - outStart > server.limits.streamLowWater
        if !isBlocked || transport.backlog == 0 {
            let count = out.count - outStart
            let taken = out.withUnsafeBytes { transport.write(UnsafeRawBufferPointer(rebasing: $0[outStart...])) }
            outStart += taken
            if taken < count { return blockWrites() }
            out.removeAll(keepingCapacity: out.capacity <= 4096 && phase != .streaming)
            outStart = 0
        }
        guard transport.backlog == 0 else { return blockWrites() }
        if phase == .closing { linger() }
        // A stream that had stopped for want of room has it again, without ever having been blocked.
        if hadMuch, phase == .streaming { exchange?.onDrain?() }
    }

    private func blockWrites() {
        isBlocked = true
        setDeadline(after: server.times.stalledWrite)
    }

    func transportIsWritable() {
        guard phase != .closed else { return }
        isBlocked = false
        deadline = .max
        flush()
        guard phase != .closed else { return }
        if phase.isReading, !isBlocked { waitForMore() }
        if phase == .answering, !isBlocked, isFinished { probeLater() }
        if phase == .streaming, unsent <= server.limits.streamLowWater { exchange?.onDrain?() }
    }

    // MARK: Time

    private func waitForMore() {
        if isFinished, !transport.hasUnread { return endOfInput() }
        guard !isBlocked else { return }
        if parser.place == .between {
            setDeadline(after: server.times.keepAlive)
        } else if parser.place == .head {
            setDeadline(at: requestStart + server.times.head)
        } else {
            let earned = Int64(received) * 1_000_000_000 / Int64(server.limits.bodyBytesPerSecond)
            setDeadline(at: requestStart + server.times.body + earned)
        }
    }

    /// Nothing comes any more: everything has been answered, or the last request is cut short.
    private func endOfInput() {
        guard parser.place == .between else { return giveUp(on: ParseError("the request ends too soon")) }
        guard unsent > 0 else {
            transport.finishWriting()
            return close()
        }
        phase = .closing
        markDirty()
    }

    /// Who closes its socket and who has only finished sending look alike, until something is written: who is gone answers
    /// that with a reset. So a client that waits long gets an interim answer now and then, which all of HTTP/1.1 know how
    /// to skip. One of HTTP/1.0 is taken to be there.
    private func probeLater() {
        guard head.minorVersion == 1, !isBlocked else { return }
        probePause = server.times.probe
        setDeadline(after: probePause)
    }

    private func probe() {
        out.append(text: "HTTP/1.1 100 Continue\r\n\r\n")
        markDirty()
        probePause *= 4
        setDeadline(after: probePause)
    }

    /// - Parameter delay: One of the few that all connections share.
    private func setDeadline(after delay: Int64) { setDeadline(at: server.now + delay, isShared: true) }

    /// The timer is armed only when it would fire too late: most deadlines move on before they come.
    private func setDeadline(at time: Int64, isShared: Bool = false) {
        deadline = time
        guard time < armedUntil else { return }
        armedUntil = time
        // Without memory for a timer the connection merely lives longer.
        try? timer?.arm(after: .nanoseconds(max(time - server.now, 0)), common: isShared)
    }

    private func timePassed() {
        armedUntil = .max
        guard deadline != .max else { return }
        let now = server.now
        guard now >= deadline else { return setDeadline(at: deadline) }
        deadline = .max
        if phase.isReading, parser.place != .between, !isBlocked {
            giveUp(on: ParseError(408, "the request took too long"))
        } else if phase == .answering, isFinished, !isBlocked {
            probe()
        } else if phase == .streaming, !isBlocked {
            exchange?.onFinish?()
        } else {
            close()
        }
    }

    // MARK: End

    private func linger() {
        transport.finishWriting()
        if isFinished, !transport.hasUnread { return close() }
        phase = .lingering
        setDeadline(after: 2_000_000_000)
    }

    /// For a server that stops: whether the client may be about to send a request, or waits for its answer. Who reads a
    /// stream knows how to take it up again.
    var mayAsk: Bool {
        switch phase {
        case .awaiting, .receiving, .answering, .refused: true
        case .streaming, .closing, .lingering, .closed: false
        }
    }

    /// Closes a connection on which nothing goes on, and nothing has come.
    ///
    /// - Parameter fresh: Those too that have never sent anything.
    func closeIfIdle(evenIf fresh: Bool) {
        guard phase.isReading, parser.place == .between, unsent == 0, fresh || requests > 0, !hasMore else { return }
        close()
    }

    func close() {
        guard phase != .closed else { return }
        phase = .closed
        transport.close()
        timer = nil
        let exchange = self.exchange
        self.exchange = nil
        spareExchange = nil
        server.forget(self)
        exchange?.close()
    }
}
