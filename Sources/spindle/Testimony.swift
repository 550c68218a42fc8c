import CSpindle
import EventLoop
import Glibc
import Pools

/// What a worker under test says in the memory that it shares with its server, held against what was seen of it. A server
/// believes it: of a worker that says something wrong there, jobs lose or gain attempts when it dies.
///
/// A worker that says nothing there says nothing wrong.
final class Testimony {
    private typealias Failure = WorkerConversation.Failure

    private struct Call {
        let isBeside: Bool
        let handedOver: Int64
    }

    /// What becomes descriptor 4 of the worker.
    let descriptor: Descriptor
    private let state: WorkerState
    /// Where it says what it has begun for the next server; nil: nowhere.
    private let page: StartPage?
    private let pageDescriptor: Descriptor?
    private let directory: WorkDirectory?
    private var calls: [Int: Call] = [:]
    /// Whether it said so before it answered `initialize`.
    private(set) var speaks = false
    private var speaksToTheNext = false

    /// - Returns: nil when there is no memory.
    init?() {
        guard let descriptor = Descriptor(ifOpen: spindle_shared_memory(WorkerState.size)),
            let state = WorkerState(mapping: descriptor.number)
        else { return nil }
        self.descriptor = descriptor
        self.state = state
        // As with a server: without such memory there is no page.
        directory = spindle_is_in_memory(StartList.root) == 0 ? nil : try? WorkDirectory(below: StartList.root)
        page = directory.flatMap { StartPage(1, in: $0.path) }
        pageDescriptor = if let page { Descriptor(opening: page.path, O_RDONLY) } else { nil }
    }

    /// Names it to a process that is about to be started.
    func putIntoEnvironment() {
        setenv(WorkerState.variable, "\(WorkerState.descriptor)", 1)
        if let page { setenv(StartPage.variable, page.path, 1) } else { unsetenv(StartPage.variable) }
    }

    /// A call is about to be handed over.
    func handOver(_ id: Int, isBeside: Bool) {
        calls[id] = Call(isBeside: isBeside, handedOver: monotonicNanoseconds())
    }

    // MARK: Held against what was seen

    /// As the answer to `initialize` has come: whether it speaks is settled.
    func holdAtStart() throws {
        let spoken = state[.spoken]
        guard spoken <= 1 else { throw Failure(what: "byte 0 is \(spoken), neither 0 nor 1") }
        speaks = spoken == 1
        speaksToTheNext = pageWord(0) == 1
        try hold()
    }

    /// At any moment.
    func hold() throws {
        guard speaks else {
            if let word = WorkerState.Word.allCases.first(where: { state[$0] != 0 }) {
                throw Failure(
                    what: "byte \(8 * word.rawValue) is written to, but byte 0 was not 1 before initialize was answered"
                )
            }
            return
        }
        guard state[.spoken] == 1 else { throw Failure(what: "byte 0 is \(state[.spoken]) now: it is 1 for good") }
        try holdCalls()
        try holdNextServersPage()
        guard state[.shared] <= 1 else {
            throw Failure(what: "byte 56 is \(state[.shared]): it is 0, and 1 from some time on")
        }
        guard state[.heeds] <= 1 else { throw Failure(what: "byte 64 is \(state[.heeds]), neither 0 nor 1") }
        for word in [WorkerState.Word.withdrawn, .withdrawnBeside] where state[word] != 0 {
            throw Failure(what: "byte \(8 * word.rawValue) is written to, which is the server's")
        }
    }

    private func holdCalls() throws {
        for (word, isBeside) in [(WorkerState.Word.begun, false), (.besideBegun, true), (.step, true)] {
            let id = state[word]
            guard id != 0 else { continue }
            guard let call = calls[Int(clamping: id)] else {
                throw Failure(what: "byte \(8 * word.rawValue) names call \(id), which nobody made")
            }
            guard call.isBeside == isBeside else {
                let right = call.isBeside ? "concurrent: it belongs at byte 24" : "of the line: it belongs at byte 8"
                throw Failure(what: "byte \(8 * word.rawValue) names call \(id), which is \(right)")
            }
        }
        // In this order: a call that begins in between has the later time.
        guard let call = calls[Int(clamping: state[.begun])] else { return }
        let since = Int64(clamping: state[.since])
        let now = monotonicNanoseconds()
        guard since >= call.handedOver, since <= now else {
            throw Failure(
                what:
                    "by byte 16 call \(state[.begun]) began at \(since) ns of CLOCK_MONOTONIC, but it was handed over at "
                    + "\(call.handedOver), and now it is \(now)")
        }
    }

    /// What a call says there it says before it says it to this server.
    private func holdNextServersPage() throws {
        guard speaksToTheNext else { return }
        for (word, there) in [(WorkerState.Word.begun, 1), (.besideBegun, 2)] {
            // In this order: what is written there meanwhile may only be later.
            let id = state[word]
            let said = pageWord(there)
            guard said >= id, said == 0 || calls[Int(clamping: said)] != nil else {
                throw Failure(
                    what: "byte \(8 * there) of the file that \(StartPage.variable) names says \(said), and byte "
                        + "\(8 * word.rawValue) of the memory \(id)")
            }
        }
    }

    /// Something of a call was heard that only code of its own can have caused.
    func holdBeginning(of id: Int, heardBy what: String) throws {
        guard speaks, let call = calls[id] else { return }
        let word: WorkerState.Word = call.isBeside ? .besideBegun : .begun
        guard state[word] >= UInt64(clamping: id) else {
            throw Failure(
                what:
                    "\(what) of call \(id) came, but byte \(8 * word.rawValue) is \(state[word]): by that it has not begun"
            )
        }
    }

    /// Holds the ring against all that has come by the channel.
    ///
    /// - Parameter heard: Reads what has come, so far, without waiting.
    func holdRing(_ heard: () throws -> [UInt8]) throws {
        guard speaks else { return }
        // In this order, as the server does: what is sent in between is missed, never taken for unsent.
        let sent = state[.sent]
        let written = state[.written]
        let capacity = UInt64(WorkerState.capacity)
        guard sent <= written, written - sent <= capacity else {
            throw Failure(
                what:
                    "bytes 40 and 48 say that \(written) bytes were put into the ring of \(capacity), and \(sent) of them "
                    + "sent")
        }
        let first = written > capacity ? written - capacity : 0
        guard sent > first, var bytes = state.bytes(first..<sent) else { return }
        guard bytes.last == 0x0A else {
            throw Failure(what: "byte 48 says that \(sent) bytes were sent: these are no whole lines")
        }
        if first > 0 { bytes.removeSubrange(...(bytes.firstIndex(of: 0x0A) ?? 0)) }
        var lines = try heard().split(separator: 0x0A)[...]
        for line in bytes.split(separator: 0x0A) {
            guard let place = lines.firstIndex(of: line) else {
                throw Failure(
                    what: "byte 48 says that this was sent, but it has not come: "
                        + String(decoding: line.prefix(200), as: UTF8.self))
            }
            lines = lines[(place + 1)...]
        }
    }

    /// It has ended in order: nothing runs, and nothing is left to be sent.
    func holdAtEnd() throws {
        guard speaks else { return }
        guard state[.step] == 0 else { throw Failure(what: "byte 32 names call \(state[.step]), but it has ended") }
        guard state[.written] == state[.sent] else {
            throw Failure(
                what:
                    "by bytes 40 and 48 the last \(state[.written] &- state[.sent]) bytes of the ring were not sent, but it "
                    + "has ended")
        }
    }

    private func pageWord(_ number: Int) -> UInt64 {
        var word: UInt64 = 0
        guard pread(pageDescriptor.number, &word, 8, off_t(8 * number)) == 8 else {
            return 0
        }
        return word
    }
}
