/// Reads the text of a ``Pattern``.
struct PatternParser {
    indirect enum Node {
        case one(Pattern.Instruction)
        case sequence([Node])
        case either(Node, Node)
        case group(Node, isFirst: Bool)
        /// - Parameter most: nil: without end.
        case repeated(Node, least: Int, most: Int?, isGreedy: Bool)
    }

    private static let deepest = 50
    private static let mostRepeats = 1000

    private let scalars: [Unicode.Scalar]
    private var index = 0
    private var depth = 0
    private var hasGroup = false
    private var ignoresCase = false

    init(_ text: String) { scalars = Array(text.unicodeScalars) }

    mutating func parse() throws(Pattern.Failure) -> Node {
        if take("(?i)") { ignoresCase = true }
        let node = try alternatives()
        guard index == scalars.count else { throw wrong("a parenthesis closes nothing") }
        return node
    }

    private func wrong(_ why: String) -> Pattern.Failure {
        Pattern.Failure(description: "\(why), at character \(index + 1)")
    }

    private var next: Unicode.Scalar? { index < scalars.count ? scalars[index] : nil }

    private mutating func take(_ text: StaticString) -> Bool {
        let wanted = Array(String(describing: text).unicodeScalars)
        guard scalars[index...].starts(with: wanted) else { return false }
        index += wanted.count
        return true
    }

    private mutating func alternatives() throws(Pattern.Failure) -> Node {
        guard depth < Self.deepest else { throw wrong("too many groups in each other") }
        depth += 1
        defer { depth -= 1 }
        var node = try sequence()
        // From the left: the first that fits is preferred.
        while take("|") { node = .either(node, try sequence()) }
        return node
    }

    private mutating func sequence() throws(Pattern.Failure) -> Node {
        var parts: [Node] = []
        while let scalar = next, scalar != "|", scalar != ")" {
            parts.append(try quantified(try atom()))
        }
        return .sequence(parts)
    }

    private mutating func quantified(_ atom: Node) throws(Pattern.Failure) -> Node {
        let bounds: (least: Int, most: Int?)
        switch next {
        case "*": bounds = (0, nil)
        case "+": bounds = (1, nil)
        case "?": bounds = (0, 1)
        case "{":
            guard let counted = try repeats() else { return atom }
            return try lazily(atom, counted.least, counted.most)
        default: return atom
        }
        index += 1
        return try lazily(atom, bounds.least, bounds.most)
    }

    private mutating func lazily(_ atom: Node, _ least: Int, _ most: Int?) throws(Pattern.Failure) -> Node {
        let isLazy = take("?")
        if let scalar = next, scalar == "+" || scalar == "*" || scalar == "?" { throw wrong("nothing to repeat") }
        return .repeated(atom, least: least, most: most, isGreedy: !isLazy)
    }

    /// `{2}`, `{2,}`, `{2,5}`; nil when the brace is none of them and stands for itself.
    private mutating func repeats() throws(Pattern.Failure) -> (least: Int, most: Int?)? {
        guard let close = scalars[index...].firstIndex(of: "}") else { return nil }
        let parts = scalars[(index + 1)..<close].split(separator: ",", omittingEmptySubsequences: false)
        let numbers = parts.map { part in Int(String(String.UnicodeScalarView(part))) }
        guard (1...2).contains(parts.count), let least = numbers[0],
            numbers.count == 1 || parts[1].isEmpty || numbers[1] != nil
        else { return nil }
        let most = numbers.count == 1 ? least : numbers[1]
        guard (0...Self.mostRepeats).contains(least), most.map({ (least...Self.mostRepeats).contains($0) }) ?? true
        else {
            throw wrong("repeated more than \(Self.mostRepeats) times, or backwards")
        }
        index = close + 1
        return (least, most)
    }

    private mutating func atom() throws(Pattern.Failure) -> Node {
        guard let scalar = next else { throw wrong("something is missing") }
        switch scalar {
        case "(": return try group()
        case "[": return .one(.oneOf(try characterClass()))
        case "\\": return try escape()
        case "*", "+", "?": throw wrong("nothing to repeat")
        default: break
        }
        index += 1
        switch scalar {
        case ".": return .one(.any)
        case "^": return .one(.atStart)
        case "$": return .one(.atEnd)
        default: return .one(literal(scalar))
        }
    }

    private func literal(_ scalar: Unicode.Scalar) -> Pattern.Instruction {
        guard ignoresCase, scalar.isASCII, scalar.properties.isAlphabetic else { return .scalar(scalar) }
        var set = ScalarSet(ranges: [scalar.value...scalar.value])
        set.foldCase()
        return .oneOf(set)
    }

    private mutating func group() throws(Pattern.Failure) -> Node {
        index += 1
        var captures = true
        if take("?:") {
            captures = false
        } else if next == "?" {
            let isNamed = (take("?<") || take("?P<")) && next != "=" && next != "!"
            guard isNamed, let end = scalars[index...].firstIndex(of: ">") else {
                throw wrong("look-around and other extensions are not there")
            }
            index = end + 1
        }
        let isFirst = captures && !hasGroup
        if captures { hasGroup = true }
        let inner = try alternatives()
        guard take(")") else { throw wrong("a parenthesis is not closed") }
        return .group(inner, isFirst: isFirst)
    }

    // MARK: Escapes and classes

    private mutating func escape() throws(Pattern.Failure) -> Node {
        if take("\\b") { return .one(.wordBoundary(isWanted: true)) }
        if take("\\B") { return .one(.wordBoundary(isWanted: false)) }
        if let set = takeShorthand() { return .one(.oneOf(set)) }
        return .one(literal(try escapedScalar()))
    }

    private mutating func takeShorthand() -> ScalarSet? {
        let all: [(StaticString, ScalarSet, Bool)] = [
            ("\\d", .digit, false), ("\\D", .digit, true), ("\\w", .word, false), ("\\W", .word, true),
            ("\\s", .space, false), ("\\S", .space, true),
        ]
        for (name, set, isNegated) in all where take(name) {
            return isNegated ? ScalarSet(ranges: set.complement) : set
        }
        return nil
    }

    private mutating func escapedScalar() throws(Pattern.Failure) -> Unicode.Scalar {
        index += 1
        guard let scalar = next else { throw wrong("nothing is escaped") }
        index += 1
        switch scalar {
        case "t": return "\t"
        case "n": return "\n"
        case "r": return "\r"
        case "f": return "\u{0C}"
        case "v": return "\u{0B}"
        case "e": return "\u{1B}"
        case "0": return "\0"
        case "x": return try hexadecimal(2)
        case "u": return try hexadecimal(4)
        default:
            guard !scalar.isASCII || !(ScalarSet.word.contains(scalar)) || scalar == "_" else {
                index -= 1
                throw wrong("\\\(scalar) is not there")
            }
            return scalar
        }
    }

    private mutating func hexadecimal(_ count: Int) throws(Pattern.Failure) -> Unicode.Scalar {
        let digits = scalars[index..<min(index + count, scalars.count)]
        guard digits.count == count, let value = UInt32(String(String.UnicodeScalarView(digits)), radix: 16),
            let scalar = Unicode.Scalar(value)
        else { throw wrong("\(count) hexadecimal digits are missing") }
        index += count
        return scalar
    }

    private mutating func characterClass() throws(Pattern.Failure) -> ScalarSet {
        index += 1
        var set = ScalarSet()
        set.isNegated = take("^")
        var isFirst = true
        while let scalar = next, scalar != "]" || isFirst {
            isFirst = false
            if scalar == "[" { throw wrong("a class in a class is not there; write \\[") }
            if let shorthand = takeShorthand() {
                set.ranges += shorthand.ranges
                continue
            }
            let low = try classScalar()
            guard next == "-", index + 1 < scalars.count, scalars[index + 1] != "]" else {
                set.ranges.append(low.value...low.value)
                continue
            }
            index += 1
            let high = try classScalar()
            guard low <= high else { throw wrong("a range goes backwards") }
            set.ranges.append(low.value...high.value)
        }
        guard take("]") else { throw wrong("a class is not closed") }
        if ignoresCase { set.foldCase() }
        return set
    }

    private mutating func classScalar() throws(Pattern.Failure) -> Unicode.Scalar {
        if next == "\\" { return try escapedScalar() }
        guard let scalar = next else { throw wrong("a class is not closed") }
        index += 1
        return scalar
    }
}
