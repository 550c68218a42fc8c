import Glibc

/// Reads JSON (RFC 8259) strictly: UTF-8 checked, no comments, no trailing commas, no duplicate members.
///
/// The one reader of the house. It borrows the bytes, so it lives inside ``withReader(of:_:)``.
package struct JSONReader {
    /// What somebody else sends may be nested so deep.
    package static let maximumDepth = 64
    /// What we wrap around such values ourselves stays below this.
    package static let envelopedDepth = maximumDepth + 16
    /// A number of more characters than this is refused: there are programs that cannot read it.
    private static let longestNumber = 4096

    let bytes: UnsafeBufferPointer<UInt8>
    package private(set) var offset = 0
    private let limit: Int
    private var depth = 0
    private var deepest = 0

    private init(_ bytes: UnsafeBufferPointer<UInt8>, _ limit: Int) {
        self.bytes = bytes
        self.limit = limit
    }

    /// Reads one text and makes sure that nothing follows it.
    ///
    /// - Parameter depth: Nesting deeper than this is refused.
    package static func withReader<Result>(
        of bytes: [UInt8], depth: Int = maximumDepth, _ body: (inout JSONReader) throws(JSONError) -> Result
    ) throws(JSONError) -> Result {
        try bytes.withUnsafeBufferPointer { (buffer) throws(JSONError) -> Result in
            var reader = JSONReader(buffer, depth)
            reader.skipSpace()
            let result = try body(&reader)
            reader.skipSpace()
            guard reader.offset == buffer.count else { throw reader.error("unexpected text after the value") }
            return result
        }
    }

    /// The whole text as a value.
    package static func value(of bytes: [UInt8], depth: Int = maximumDepth) throws(JSONError) -> JSONValue {
        try withReader(of: bytes, depth: depth) { (reader) throws(JSONError) in try reader.readValue() }
    }

    package func error(_ reason: String) -> JSONError { JSONError(reason, at: offset, in: bytes) }

    // MARK: Values

    /// Reads the value that begins here.
    package mutating func readValue() throws(JSONError) -> JSONValue {
        guard offset < bytes.count else { throw error("a value is missing") }
        switch bytes[offset] {
        case UInt8(ascii: "{"):
            var members: [JSONValue.Member] = []
            try readObject { (key, reader) throws(JSONError) in
                members.append(JSONValue.Member(key, try reader.readValue()))
            }
            return .object(members)
        case UInt8(ascii: "["):
            var elements: [JSONValue] = []
            try readArray { (reader) throws(JSONError) in elements.append(try reader.readValue()) }
            return .array(elements)
        case UInt8(ascii: "\""): return .string(try readString())
        case UInt8(ascii: "t"): return try readWord("true", .bool(true))
        case UInt8(ascii: "f"): return try readWord("false", .bool(false))
        case UInt8(ascii: "n"): return try readWord("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try readNumber()
        default: throw error("unexpected character \(name(of: bytes[offset]))")
        }
    }

    /// Reads an object, calling `member` with the reader at each member's value.
    package mutating func readObject(
        _ member: (String, inout JSONReader) throws(JSONError) -> Void
    ) throws(JSONError) {
        guard offset < bytes.count, bytes[offset] == UInt8(ascii: "{") else { throw error("expected an object") }
        try enter()
        if skip(UInt8(ascii: "}")) { return leave() }
        var known = KnownKeys()
        while true {
            let start = offset
            guard offset < bytes.count, bytes[offset] == UInt8(ascii: "\"") else {
                throw error("expected a member's name in double quotes")
            }
            let key = try readString()
            guard known.insert(key) else { throw JSONError("duplicate member \"\(key)\"", at: start, in: bytes) }
            skipSpace()
            guard skip(UInt8(ascii: ":")) else { throw error("expected ':'") }
            try member(key, &self)
            skipSpace()
            if skip(UInt8(ascii: "}")) { return leave() }
            guard skip(UInt8(ascii: ",")) else { throw error("expected ',' or '}'") }
        }
    }

    /// Reads an array, calling `element` with the reader at each element.
    package mutating func readArray(_ element: (inout JSONReader) throws(JSONError) -> Void) throws(JSONError) {
        guard offset < bytes.count, bytes[offset] == UInt8(ascii: "[") else { throw error("expected an array") }
        try enter()
        if skip(UInt8(ascii: "]")) { return leave() }
        while true {
            try element(&self)
            skipSpace()
            if skip(UInt8(ascii: "]")) { return leave() }
            guard skip(UInt8(ascii: ",")) else { throw error("expected ',' or ']'") }
        }
    }

    /// Whether an object begins here.
    package var startsObject: Bool { offset < bytes.count && bytes[offset] == UInt8(ascii: "{") }

    /// Reads a value without keeping it: where its bytes stand, and how deep it is nested.
    package mutating func readRange() throws(JSONError) -> (bytes: Range<Int>, depth: Int) {
        let start = offset
        deepest = depth
        _ = try readValue()
        return (start..<offset, deepest - depth)
    }

    private mutating func readWord(_ word: StaticString, _ value: JSONValue) throws(JSONError) -> JSONValue {
        let count = word.utf8CodeUnitCount
        guard bytes.count - offset >= count, memcmp(bytes.baseAddress! + offset, word.utf8Start, count) == 0 else {
            throw error("unexpected word; expected \(word)")
        }
        offset += count
        return value
    }

    private mutating func readNumber() throws(JSONError) -> JSONValue {
        let start = offset
        let negative = bytes[offset] == UInt8(ascii: "-")
        if negative { offset += 1 }
        var magnitude: UInt64 = 0
        let firstDigit = offset
        while offset < bytes.count, let digit = digit(bytes[offset]) {
            magnitude = magnitude &* 10 &+ UInt64(digit)
            offset += 1
        }
        let digits = offset - firstDigit
        guard digits > 0 else { throw error("expected a digit") }
        guard digits == 1 || bytes[firstDigit] != UInt8(ascii: "0") else {
            throw JSONError("a number may not begin with 0", at: firstDigit, in: bytes)
        }
        var whole = true
        if skipByte(UInt8(ascii: ".")) {
            whole = false
            try skipDigits()
        }
        var hasPower = false
        if offset < bytes.count, bytes[offset] | 0x20 == UInt8(ascii: "e") {
            whole = false
            hasPower = true
            offset += 1
            if !skipByte(UInt8(ascii: "+")) { _ = skipByte(UInt8(ascii: "-")) }
            try skipDigits()
        }
        // -0 is a number of its own.
        if whole && digits <= 18 && !(negative && magnitude == 0) {
            return .integer(negative ? -Int(magnitude) : Int(magnitude))
        }
        guard offset - start <= Self.longestNumber else {
            throw JSONError("a number of more than \(Self.longestNumber) characters", at: start, in: bytes)
        }
        let text = String(decoding: bytes[start..<offset], as: UTF8.self)
        if whole, magnitude != 0, let exact = Int(text) { return .integer(exact) }
        // So few digits are in range, and need not be made a number to see that.
        guard !hasPower && digits < 300 || Double(text)?.isFinite == true else {
            throw JSONError("number out of range", at: start, in: bytes)
        }
        return .decimal(text)
    }

    private mutating func skipDigits() throws(JSONError) {
        guard offset < bytes.count, digit(bytes[offset]) != nil else { throw error("expected a digit") }
        while offset < bytes.count, digit(bytes[offset]) != nil { offset += 1 }
    }

    // MARK: Strings

    /// Reads a string, with its escapes resolved.
    package mutating func readString() throws(JSONError) -> String {
        guard skipByte(UInt8(ascii: "\"")) else { throw error("expected a string") }
        let start = offset
        var ascii = true
        while offset < bytes.count {
            let byte = bytes[offset]
            if byte == UInt8(ascii: "\"") {
                let text = bytes[start..<offset]
                if !ascii { try checkUTF8(start..<offset) }
                offset += 1
                return String(decoding: text, as: UTF8.self)
            }
            if byte == UInt8(ascii: "\\") { return try readEscaped(from: start) }
            guard byte >= 0x20 else { throw error("control character in a string") }
            if byte >= 0x80 { ascii = false }
            offset += 1
        }
        throw error("the string does not end")
    }

    private mutating func readEscaped(from start: Int) throws(JSONError) -> String {
        var text = Array(bytes[start..<offset])
        var plain = offset
        try checkUTF8(start..<offset)
        while offset < bytes.count {
            let byte = bytes[offset]
            guard byte >= 0x20 else { throw error("control character in a string") }
            if byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\") {
                offset += 1
                continue
            }
            try checkUTF8(plain..<offset)
            text.append(contentsOf: bytes[plain..<offset])
            offset += 1
            if byte == UInt8(ascii: "\"") { return String(decoding: text, as: UTF8.self) }
            try readEscape(into: &text)
            plain = offset
        }
        throw error("the string does not end")
    }

    private mutating func readEscape(into text: inout [UInt8]) throws(JSONError) {
        guard offset < bytes.count else { throw error("the string does not end") }
        let letter = bytes[offset]
        offset += 1
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(letter)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0C)
        case UInt8(ascii: "n"): text.append(0x0A)
        case UInt8(ascii: "r"): text.append(0x0D)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "u"):
            let scalar = try readScalar()
            text.append(contentsOf: Array(String(Character(scalar)).utf8))
        default:
            offset -= 1
            throw error("unknown escape")
        }
    }

    /// The scalar after `\u`, two escapes for one beyond the basic plane.
    private mutating func readScalar() throws(JSONError) -> Unicode.Scalar {
        let first = try readHex()
        if let scalar = Unicode.Scalar(first) { return scalar }
        let rest = offset
        guard first < 0xDC00, skipByte(UInt8(ascii: "\\")), skipByte(UInt8(ascii: "u")) else {
            throw JSONError("half of a surrogate pair", at: rest, in: bytes)
        }
        let second = try readHex()
        guard (0xDC00...0xDFFF).contains(second),
            let scalar = Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00))
        else { throw JSONError("half of a surrogate pair", at: rest, in: bytes) }
        return scalar
    }

    private mutating func readHex() throws(JSONError) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard offset < bytes.count, let digit = hexDigit(bytes[offset]) else {
                throw error("expected four hexadecimal digits")
            }
            value = value << 4 | UInt32(digit)
            offset += 1
        }
        return value
    }

    private func checkUTF8(_ range: Range<Int>) throws(JSONError) {
        guard isValidUTF8(UnsafeBufferPointer(rebasing: bytes[range])) else {
            throw JSONError("invalid UTF-8 in a string", at: range.lowerBound, in: bytes)
        }
    }

    // MARK: Bytes

    package mutating func skipSpace() {
        while offset < bytes.count {
            switch bytes[offset] {
            case 0x20, 0x09, 0x0A, 0x0D: offset += 1
            default: return
            }
        }
    }

    /// Skips `byte` and the space after it.
    private mutating func skip(_ byte: UInt8) -> Bool {
        guard skipByte(byte) else { return false }
        skipSpace()
        return true
    }

    private mutating func skipByte(_ byte: UInt8) -> Bool {
        guard offset < bytes.count, bytes[offset] == byte else { return false }
        offset += 1
        return true
    }

    private mutating func enter() throws(JSONError) {
        guard depth < limit else { throw error("nested deeper than \(limit)") }
        depth += 1
        if depth > deepest { deepest = depth }
        offset += 1
        skipSpace()
    }

    private mutating func leave() { depth -= 1 }
}

private func digit(_ byte: UInt8) -> UInt8? {
    byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") ? byte - UInt8(ascii: "0") : nil
}

private func hexDigit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
}

private func name(of byte: UInt8) -> String {
    byte > 0x20 && byte < 0x7F ? "'\(Character(Unicode.Scalar(byte)))'" : "0x" + String(byte, radix: 16)
}

/// Whether the bytes are well-formed UTF-8 (RFC 3629: no surrogates, nothing overlong, at most U+10FFFF).
package func isValidUTF8(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
    var index = 0
    while index < bytes.count {
        let lead = bytes[index]
        if lead < 0x80 {
            index += 1
            continue
        }
        let length: Int
        let second: ClosedRange<UInt8>
        switch lead {
        case 0xC2...0xDF: (length, second) = (2, 0x80...0xBF)
        case 0xE0: (length, second) = (3, 0xA0...0xBF)
        case 0xED: (length, second) = (3, 0x80...0x9F)
        case 0xE1...0xEF: (length, second) = (3, 0x80...0xBF)
        case 0xF0: (length, second) = (4, 0x90...0xBF)
        case 0xF1...0xF3: (length, second) = (4, 0x80...0xBF)
        case 0xF4: (length, second) = (4, 0x80...0x8F)
        default: return false
        }
        guard index + length <= bytes.count, second.contains(bytes[index + 1]) else { return false }
        for next in index + 2..<max(index + 2, index + length) where bytes[next] & 0xC0 != 0x80 { return false }
        index += length
    }
    return true
}

/// The members that an object has had so far, by their bytes. The first few are looked through, which is faster than
/// hashing them.
private struct KnownKeys {
    private static let few = 8
    private var first = ""
    private var others: [String] = []
    private var many: Set<ExactText> = []
    private var count = 0

    /// - Returns: False when it was there.
    mutating func insert(_ key: String) -> Bool {
        count += 1
        if count == 1 {
            first = key
            return true
        }
        if key.isExactly(first) { return false }
        if many.isEmpty {
            for other in others where key.isExactly(other) { return false }
            others.append(key)
            if count > Self.few { many = Set(others.map(ExactText.init)) }
            return true
        }
        return many.insert(ExactText(key)).inserted
    }
}
