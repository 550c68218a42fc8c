import CSpindle
import Glibc

/// Where one attempt stands in a ``StartList``; nowhere where nobody keeps it.
// Guard: the words are atomic, and their memory is never given back.
package struct StartCell: @unchecked Sendable {
    /// Of the word of a call.
    static let besideOthers: UInt64 = 1 << 62

    let words: UnsafeMutableRawPointer?

    package init() { words = nil }
    init(_ words: UnsafeMutableRawPointer) { self.words = words }

    package var isNone: Bool { words == nil }

    /// From here on it may have effects.
    func begin() { if let words { spindle_store(words, 0) } }

    /// It is in a worker's hands, which says itself when it begins.
    func give(to page: StartPage, as call: Int, isConcurrent: Bool) {
        guard let words else { return }
        spindle_store(words + 24, UInt64(call) | (isConcurrent ? Self.besideOthers : 0))
        spindle_store(words + 16, page.number)
    }

    /// It came back without having begun, whatever its worker's page is later.
    package func keep() { if let words { spindle_store(words + 16, 0) } }
}
