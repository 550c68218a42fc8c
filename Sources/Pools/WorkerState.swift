import CSpindle
import Glibc

/// Memory that a worker shares with its server: where the worker says which call it is in, and where its answers lie until
/// they are sent. Being memory, it costs no system call; being shared, it outlives the worker: what it had said and answered
/// is not lost with it.
///
/// Words of 64 bits in the machine's order, then the outbox, a ring:
///
/// | byte | word | what the worker says with it |
/// | --- | --- | --- |
/// | 0 | `spoken` | 1: it uses this |
/// | 8 | `begun` | the last call of its line that has begun |
/// | 16 | `since` | when that was, in nanoseconds of CLOCK_MONOTONIC |
/// | 24 | `besideBegun` | the last concurrent call that has begun |
/// | 32 | `step` | the concurrent call whose code runs at this moment; 0: none |
/// | 40 | `written` | bytes that were ever put into the outbox |
/// | 48 | `sent` | bytes of them that have been sent: whole lines |
/// | 56 | `shared` | 1: what comes by stdout and stderr may be of calls that have ended |
/// | 64 | `heeds` | 1: before it begins a call, and when it has said so, it looks at the two words below |
/// | 72 | `withdrawn` | by the server: calls of the line up to this one are not to begin any more |
/// | 80 | `withdrawnBeside` | by the server: the same of concurrent calls |
/// | 4096 … | | the outbox, 32 KiB |
///
/// The worker writes all but those two, and the server believes nothing of it: whatever stands there, reading it is harmless.
// Guard: the words are atomic; the outbox is written by the worker alone, and a reader finds out what was overwritten.
package final class WorkerState: @unchecked Sendable {
    /// Names the descriptor to the worker.
    package static let variable = "SPINDLE_STATE_FD"
    package static let descriptor: CInt = 4
    private static let outbox = 4096
    /// What fits into the outbox, in bytes.
    package static let capacity = 32 * 1024
    package static let size = outbox + capacity

    package enum Word: Int, CaseIterable {
        case spoken, begun, since, besideBegun, step, written, sent, shared, heeds, withdrawn, withdrawnBeside
    }

    private let memory: UnsafeMutableRawPointer

    /// Maps what the descriptor leads to; nil when there is no memory, or it is something else.
    package init?(mapping descriptor: CInt) {
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_size == Self.size,
            let memory = mmap(nil, Self.size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), memory != MAP_FAILED
        else { return nil }
        self.memory = memory
    }

    /// Of a worker whose server does not share it.
    init() {
        let memory = mmap(nil, Self.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        precondition(memory != MAP_FAILED, "no memory for an outbox")
        self.memory = memory!
    }

    deinit { munmap(memory, Self.size) }

    package subscript(word: Word) -> UInt64 {
        get { spindle_load(memory + 8 * word.rawValue) }
        set { spindle_store(memory + 8 * word.rawValue, newValue) }
    }

    // MARK: The server's side

    var isSpoken: Bool { self[.spoken] == 1 }
    var heeds: Bool { isSpoken && self[.heeds] == 1 }

    var said: Autopsy.Said {
        Autopsy.Said(
            begun: Int(clamping: self[.begun]), besideBegun: Int(clamping: self[.besideBegun]),
            step: Int(clamping: self[.step]))
    }

    /// Where its unsent bytes lie; empty when there are none.
    var unsent: Range<UInt64> {
        // In this order: what is sent in between is missed, never taken for unsent.
        let sent = self[.sent]
        let written = self[.written]
        return written > sent && written - sent <= UInt64(Self.capacity) ? sent..<written : 0..<0
    }

    /// The bytes that lay there; nil when the worker has gone on and written over them.
    package func bytes(_ range: Range<UInt64>) -> [UInt8]? {
        if range.isEmpty { return [] }
        let start = Int(range.lowerBound % UInt64(Self.capacity))
        let first = min(range.count, Self.capacity - start)
        var bytes = [UInt8](UnsafeRawBufferPointer(start: memory + Self.outbox + start, count: first))
        bytes += UnsafeRawBufferPointer(start: memory + Self.outbox, count: range.count - first)
        let written = self[.written]
        return written >= range.upperBound && written - range.lowerBound <= UInt64(Self.capacity) ? bytes : nil
    }

    // MARK: The worker's side

    /// Puts a line into the outbox, or sends it at once when it is too long for it.
    ///
    /// - Returns: False when the server is gone.
    func post(_ line: [UInt8], to socket: CInt) -> Bool {
        let written = self[.written]
        if line.count > Self.capacity - Int(written - self[.sent]) {
            guard flush(to: socket) else { return false }
            if line.count > Self.capacity { return line.withUnsafeBytes { Self.send($0, to: socket) } }
        }
        let start = Int(written % UInt64(Self.capacity))
        let first = min(line.count, Self.capacity - start)
        line.withUnsafeBytes {
            (memory + Self.outbox + start).copyMemory(from: $0.baseAddress!, byteCount: first)
            if first < $0.count {
                (memory + Self.outbox).copyMemory(from: $0.baseAddress! + first, byteCount: $0.count - first)
            }
        }
        self[.written] = written + UInt64(line.count)
        return true
    }

    var isEmpty: Bool { self[.written] == self[.sent] }

    /// Sends all that is in the outbox.
    ///
    /// - Returns: False when the server is gone.
    func flush(to socket: CInt) -> Bool {
        let (sent, written) = (self[.sent], self[.written])
        guard written > sent else { return true }
        let start = Int(sent % UInt64(Self.capacity))
        let count = Int(written - sent)
        let first = min(count, Self.capacity - start)
        let outbox = memory + Self.outbox
        guard Self.send(UnsafeRawBufferPointer(start: outbox + start, count: first), to: socket),
            Self.send(UnsafeRawBufferPointer(start: outbox, count: count - first), to: socket)
        else { return false }
        self[.sent] = written
        return true
    }

    private static func send(_ bytes: UnsafeRawBufferPointer, to socket: CInt) -> Bool {
        var start = 0
        while start < bytes.count {
            let count = spindle_send(socket, bytes.baseAddress! + start, bytes.count - start)
            if count < 0, errno != EINTR { return false }
            start += max(count, 0)
        }
        return true
    }
}
