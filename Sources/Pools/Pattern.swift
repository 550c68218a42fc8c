/// A regular expression whose matching takes time in proportion to the text, whatever both are.
///
/// It follows all ways at once instead of going back to try the next one. Literals, `.`, classes, `\d \w \s \b`, groups,
/// alternatives, anchors and all greedy and lazy quantifiers are there; look-around and references back, which cannot be
/// matched so, are refused.
///
/// Source: R. Cox, "Regular Expression Matching: the Virtual Machine Approach", 2009 (Pike's machine).
package struct Pattern: Sendable {
    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    /// Of a program with its repetitions written out.
    private static let mostInstructions = 2000

    enum Instruction: Sendable {
        case scalar(Unicode.Scalar)
        case any
        case oneOf(ScalarSet)
        /// The first way is preferred.
        case split(Int, Int)
        case jump(Int)
        /// Notes where the first group begins or ends.
        case mark(isEnd: Bool)
        case atStart, atEnd
        case wordBoundary(isWanted: Bool)
        case match

        func takes(_ scalar: Unicode.Scalar) -> Bool {
            switch self {
            case .scalar(let wanted): scalar == wanted
            case .any: scalar != "\n"
            case .oneOf(let set): set.contains(scalar)
            case .split, .jump, .mark, .atStart, .atEnd, .wordBoundary, .match: false
            }
        }
    }

    private let program: [Instruction]

    /// - Throws: ``Failure`` that says what is wrong and where.
    package init(_ text: String) throws(Failure) {
        var parser = PatternParser(text)
        let tree = try parser.parse()
        var program: [Instruction] = []
        try Self.emit(tree, into: &program)
        program.append(.match)
        self.program = program
    }

    private static func emit(_ node: PatternParser.Node, into program: inout [Instruction]) throws(Failure) {
        guard program.count < mostInstructions else { throw Failure(description: "the pattern is too large") }
        switch node {
        case .one(let instruction): program.append(instruction)
        case .sequence(let parts): for part in parts { try emit(part, into: &program) }
        case .group(let inner, let isFirst):
            if isFirst { program.append(.mark(isEnd: false)) }
            try emit(inner, into: &program)
            if isFirst { program.append(.mark(isEnd: true)) }
        case .either(let left, let right):
            let split = program.count
            program.append(.match)
            try emit(left, into: &program)
            let jump = program.count
            program.append(.match)
            program[split] = .split(split + 1, program.count)
            try emit(right, into: &program)
            program[jump] = .jump(program.count)
        case .repeated(let inner, let least, let most, let isGreedy):
            for _ in 0..<least { try emit(inner, into: &program) }
            if let most {
                for _ in least..<max(most, least) { try emitOptional(inner, isGreedy, loops: false, into: &program) }
            } else {
                try emitOptional(inner, isGreedy, loops: true, into: &program)
            }
        }
    }

    private static func emitOptional(
        _ inner: PatternParser.Node, _ isGreedy: Bool, loops: Bool, into program: inout [Instruction]
    ) throws(Failure) {
        let split = program.count
        program.append(.match)
        try emit(inner, into: &program)
        if loops { program.append(.jump(split)) }
        program[split] = isGreedy ? .split(split + 1, program.count) : .split(program.count, split + 1)
    }

    // MARK: Matching

    /// What the first group holds in the last match; the whole match when there is no group that took part.
    ///
    /// - Parameter steps: Taken from this; what is left is not used up. nil is the answer when it is at an end.
    package func lastMatch(in text: [Unicode.Scalar], steps: inout Int) -> Range<Int>? {
        var found: Range<Int>?
        var from = 0
        while from <= text.count, let match = firstMatch(in: text, from: from, steps: &steps) {
            found = match.group
            from = max(match.whole.upperBound, from + 1)
        }
        return steps > 0 ? found : nil
    }

    private func firstMatch(
        in text: [Unicode.Scalar], from first: Int, steps: inout Int
    ) -> (whole: Range<Int>, group: Range<Int>)? {
        var now = Ways(program.count)
        var next = Ways(program.count)
        var found: (whole: Range<Int>, group: Range<Int>)?
        for position in first...text.count {
            // Once something was found, nothing that begins further right is wanted.
            if found == nil {
                let way = Ways.Way(place: 0, begin: position, start: -1, end: -1)
                now.follow(way, program, at: position, text, &steps)
            } else if now.ways.isEmpty {
                break
            }
            guard steps > 0 else { break }
            let scalar = position < text.count ? text[position] : nil
            for way in now.ways {
                steps -= 1
                if case .match = program[way.place] {
                    let group = way.end >= 0 ? way.start..<way.end : way.begin..<position
                    found = (way.begin..<position, group)
                    break
                }
                guard let scalar, program[way.place].takes(scalar) else { continue }
                let on = Ways.Way(place: way.place + 1, begin: way.begin, start: way.start, end: way.end)
                next.follow(on, program, at: position + 1, text, &steps)
            }
            swap(&now, &next)
            next.clear()
        }
        return found
    }

    /// The open ways at one place of the text, in the order of preference, each place of the program once.
    private struct Ways {
        struct Way {
            let place: Int
            let begin: Int
            let start: Int
            let end: Int
        }

        private(set) var ways: [Way] = []
        /// Ways that are still to be followed to where they take something.
        private var open: [Way] = []
        private var seen: [Int]
        private var round = 1

        init(_ count: Int) { seen = [Int](repeating: 0, count: count) }

        mutating func clear() {
            ways.removeAll(keepingCapacity: true)
            round += 1
        }

        /// Adds all ways that lead on from `way` without taking anything of the text.
        mutating func follow(
            _ way: Way, _ program: [Instruction], at position: Int, _ text: [Unicode.Scalar], _ steps: inout Int
        ) {
            open.append(way)
            while let way = open.popLast() {
                steps -= 1
                guard seen[way.place] != round else { continue }
                seen[way.place] = round
                func go(to place: Int) {
                    open.append(Way(place: place, begin: way.begin, start: way.start, end: way.end))
                }
                switch program[way.place] {
                case .split(let first, let second):
                    go(to: second)
                    go(to: first)
                case .jump(let target): go(to: target)
                case .mark(let isEnd):
                    let (start, end) = isEnd ? (way.start, position) : (position, -1)
                    open.append(Way(place: way.place + 1, begin: way.begin, start: start, end: end))
                case .atStart: if position == 0 { go(to: way.place + 1) }
                case .atEnd: if position == text.count { go(to: way.place + 1) }
                case .wordBoundary(let isWanted):
                    let before = position > 0 && ScalarSet.word.contains(text[position - 1])
                    let after = position < text.count && ScalarSet.word.contains(text[position])
                    if (before != after) == isWanted { go(to: way.place + 1) }
                case .scalar, .any, .oneOf, .match: ways.append(way)
                }
            }
        }
    }
}

/// Scalars that one place of a pattern takes.
struct ScalarSet: Sendable {
    var ranges: [ClosedRange<UInt32>] = []
    var isNegated = false

    static let digit = ScalarSet(ranges: [0x30...0x39])
    static let word = ScalarSet(ranges: [0x30...0x39, 0x41...0x5A, 0x5F...0x5F, 0x61...0x7A])
    static let space = ScalarSet(ranges: [0x09...0x0D, 0x20...0x20])

    func contains(_ scalar: Unicode.Scalar) -> Bool {
        ranges.contains { $0.contains(scalar.value) } != isNegated
    }

    /// What is not in it, as ranges.
    var complement: [ClosedRange<UInt32>] {
        var out: [ClosedRange<UInt32>] = []
        var next: UInt32 = 0
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if range.lowerBound > next { out.append(next...range.lowerBound - 1) }
            next = max(next, range.upperBound + 1)
        }
        return next <= 0x10FFFF ? out + [next...0x10FFFF] : out
    }

    /// Takes both cases of each letter of the alphabet that it takes one of.
    mutating func foldCase() {
        for range in ranges {
            for (from, shift) in [(0x41...0x5A as ClosedRange<UInt32>, 32 as Int32), (0x61...0x7A, -32)]
            where range.overlaps(from) {
                let both = range.clamped(to: from)
                ranges.append(
                    UInt32(Int32(both.lowerBound) + shift)...UInt32(Int32(both.upperBound) + shift))
            }
        }
    }
}
