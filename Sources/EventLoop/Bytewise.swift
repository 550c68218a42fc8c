/// Texts from outside, asked by their bytes.
///
/// A `Character` takes in what stands beside it: `-` under an accent is no `-`, a line feed behind a carriage return is none,
/// nor is `)` behind an Arabic number sign. The kernel, a shell and the programs that we start see bytes, so who decides about
/// them sees these too. What is asked for is ASCII; nothing else in UTF-8 has such bytes.
extension StringProtocol {
    package func begins(with start: some StringProtocol) -> Bool { utf8.starts(with: start.utf8) }

    package func ends(with end: some StringProtocol) -> Bool { utf8.suffix(end.utf8.count).elementsEqual(end.utf8) }

    package func holds(_ sign: Unicode.Scalar) -> Bool { utf8.contains(UInt8(ascii: sign)) }

    /// What follows `start`; nil for a text that begins otherwise.
    package func rest(after start: some StringProtocol) -> SubSequence? {
        begins(with: start) ? self[utf8.index(startIndex, offsetBy: start.utf8.count)...] : nil
    }

    /// What stands before the first `sign` and what follows it; nil without one.
    package func cut(at sign: Unicode.Scalar) -> (before: SubSequence, after: SubSequence)? {
        utf8.firstIndex(of: UInt8(ascii: sign)).map { (self[..<$0], self[utf8.index(after: $0)...]) }
    }

    /// What stands between signs.
    ///
    /// - Parameters:
    ///   - most: How many parts at most; the last one has the rest.
    ///   - keepingEmpty: Whether nothing between two signs is a part too.
    package func parts(at sign: Unicode.Scalar, most: Int = .max, keepingEmpty: Bool = false) -> [SubSequence] {
        utf8.split(separator: UInt8(ascii: sign), maxSplits: most - 1, omittingEmptySubsequences: !keepingEmpty)
            .map { self[$0.startIndex..<$0.endIndex] }
    }

    /// All but some signs, wherever they stand.
    package func without(_ signs: Unicode.Scalar...) -> String {
        let bytes = signs.map { UInt8(ascii: $0) }
        return String(decoding: utf8.filter { !bytes.contains($0) }, as: UTF8.self)
    }

    /// The letters of ASCII in lower case, all else as it is: the sign of Kelvin is no `k`.
    package var inLowerCase: String {
        String(decoding: utf8.map { $0 >= 0x41 && $0 <= 0x5A ? $0 | 0x20 : $0 }, as: UTF8.self)
    }
}

extension StringProtocol where UTF8View: BidirectionalCollection {
    /// What stands before `end`; nil for a text that ends otherwise.
    package func rest(before end: some StringProtocol) -> SubSequence? {
        ends(with: end) ? self[..<utf8.index(endIndex, offsetBy: -end.utf8.count)] : nil
    }

    /// What stands between two signs at its ends; all of it where they do not stand there.
    package func inside(_ open: Unicode.Scalar, _ close: Unicode.Scalar) -> SubSequence {
        guard utf8.count > 1, utf8.first == UInt8(ascii: open), utf8.last == UInt8(ascii: close) else {
            return self[...]
        }
        return self[utf8.index(after: startIndex)..<utf8.index(before: endIndex)]
    }

    /// What stands before the last `sign` and what follows it; nil without one.
    package func cut(atLast sign: Unicode.Scalar) -> (before: SubSequence, after: SubSequence)? {
        utf8.lastIndex(of: UInt8(ascii: sign)).map { (self[..<$0], self[utf8.index(after: $0)...]) }
    }
}
