import Glibc

/// Reads requests, strictly as RFC 9112 has them, from bytes in whatever pieces they come.
///
/// Sans I/O: bytes in, events out. The same bytes give the same events however they were cut. What the grammar does not
/// allow is refused as soon as its first bad byte is seen; a parser that has thrown is not to be fed again.
package struct RequestParser: ~Copyable {
    package enum Event: Equatable {
        /// The head is complete: see ``RequestParser/head``.
        case head
        /// A piece of the body, as a range of the input.
        case body(Range<Int>)
        /// The request is complete; the next byte belongs to the next one.
        case end
    }

    enum State: UInt8 {
        case start, startLF, method, target, version, requestLF
        case fieldStart, fieldName, valueStart, value, fieldLF, headLF
        case body
        case chunkSize, chunkBlank, chunkExtension, chunkLF, chunkData, chunkDataCR, chunkDataLF
        case trailerStart, trailerName, trailerValue, trailerLF, endLF
        case complete
    }

    /// Where the next byte belongs.
    package enum Place: Sendable {
        /// Between requests: nothing of the next one has come.
        case between
        case head, body
    }

    /// The head that was parsed last; complete after ``Event/head``.
    package var head = ParsedHead()
    package private(set) var place = Place.between
    private let limits: Limits
    private var state = State.start
    /// Bytes of the head that earlier inputs held; they stand in `head.storage`.
    private var position = 0
    private var field = ParsedHead.Field(nameStart: 0, nameEnd: 0, valueStart: 0, valueEnd: 0)
    private var emptyLines = 0
    private var isHeadSoFar = false
    private static let headToken: StaticString = "HEAD"
    /// Bytes of the body, or of the present chunk, still to come.
    private var remaining = 0
    private var bodyCount = 0
    private var lineCount = 0
    private var chunkDigits = 0
    private var trailerCount = 0

    package init(limits: Limits = Limits()) {
        self.limits = limits
    }

    /// Reads on from `offset`, moving it past what was used.
    ///
    /// - Returns: What was found, or nil when all of `input` is used and more is needed.
    /// - Throws: ``ParseError``, with the status to answer.
    package mutating func next(_ input: UnsafeBufferPointer<UInt8>, _ offset: inout Int) throws(ParseError) -> Event? {
        if state == .complete { begin() }
        guard offset < input.count || state == .body else { return nil }
        if state.rawValue <= State.headLF.rawValue { return try readHead(input, &offset) }
        if state == .body { return try readBody(input, &offset) }
        return try readChunks(input, &offset)
    }

    private mutating func begin() {
        state = .start
        position = 0
        emptyLines = 0
        bodyCount = 0
        trailerCount = 0
        head.reset()
    }

    // MARK: Head

    private mutating func readHead(
        _ input: UnsafeBufferPointer<UInt8>, _ offset: inout Int
    ) throws(ParseError) -> Event? {
        let start = offset
        var index = offset
        var state = self.state
        place = .head
        // Where a byte at `index` will stand in the head's storage.
        let shift = position - start
        let end = min(input.count, limits.headBytes - shift)
        while index < end {
            let byte = input[index]
            switch state {
            case .fieldName:
                index = Grammar.endOfToken(input, index, end)
                guard index < end else { continue }
                guard input[index] == UInt8(ascii: ":") else { throw badFieldName(input[index]) }
                field.nameEnd = Int32(truncatingIfNeeded: index + shift)
                state = .valueStart
                // As nearly everybody writes it.
                if index + 2 < end, input[index + 1] == UInt8(ascii: " "), input[index + 2] > UInt8(ascii: " "),
                    Grammar.isValue(input[index + 2])
                {
                    index += 2
                    field.valueStart = Int32(truncatingIfNeeded: index + shift)
                    state = .value
                }
            case .value:
                index = Grammar.endOfValue(input, index, end)
                guard index < end else { continue }
                guard input[index] == 0x0D else { throw ParseError("control character in a field's value") }
                field.valueEnd = Int32(truncatingIfNeeded: index + shift)
                state = .fieldLF
                if index + 1 < end, input[index + 1] == 0x0A {
                    try addField()
                    index += 1
                    state = .fieldStart
                }
            case .target:
                try readTarget(input, &index, end, shift)
                guard index < end else { continue }
                head.query = head.path.lowerBound..<index + shift
                state = .version
                lineCount = 0
                if Self.newestLine.stands(in: input, at: index + 1, before: end) {
                    index += Self.newestLine.utf8CodeUnitCount
                    state = .fieldStart
                }
            default:
                state = try step(state, byte, at: index + shift)
                if state == .start, emptyLines > 0 {
                    // An empty line before the request leaves nothing behind.
                    offset = index + 1
                    self.state = .start
                    position = 0
                    head.storage.removeAll(keepingCapacity: true)
                    return try readHead(input, &offset)
                }
                if state == .complete {
                    keep(input, start..<index + 1)
                    offset = index + 1
                    return try finishHead()
                }
            }
            index += 1
        }
        if index + shift >= limits.headBytes { throw ParseError(431, "head over \(limits.headBytes) bytes") }
        keep(input, start..<index)
        self.state = state
        offset = index
        return nil
    }

    /// What nearly always follows the target.
    private static let newestLine: StaticString = "HTTP/1.1\r\n"

    private mutating func readTarget(
        _ input: UnsafeBufferPointer<UInt8>, _ index: inout Int, _ end: Int, _ shift: Int
    ) throws(ParseError) {
        while index < end {
            if !Grammar.isTarget(input[index]) {
                guard Grammar.isTargetExtra(input[index]) else { break }
                head.hasTargetExtra = true
            }
            index += 1
        }
        guard index + shift - head.path.lowerBound <= limits.targetBytes else {
            throw ParseError(414, "target over \(limits.targetBytes) bytes")
        }
        guard index == end || input[index] == UInt8(ascii: " ") else {
            throw ParseError("bad character in the target")
        }
    }

    /// The states of the head in which few bytes are spent.
    private mutating func step(_ state: State, _ byte: UInt8, at place: Int) throws(ParseError) -> State {
        switch state {
        case .start:
            if byte == 0x0D, emptyLines < 1 { return .startLF }
            guard Grammar.isToken(byte) else { throw ParseError("the method is missing") }
            isHeadSoFar = byte == UInt8(ascii: "H")
            return .method
        case .startLF:
            guard byte == 0x0A else { throw ParseError("bare CR") }
            emptyLines += 1
            return .start
        case .method:
            if byte == UInt8(ascii: " ") {
                head.path = place + 1..<place + 1
                // Known early, for the answer to a head that does not get any further.
                if isHeadSoFar, place == 4 { head.method = .head }
                return .target
            }
            guard Grammar.isToken(byte), place < 32 else { throw ParseError("bad method") }
            isHeadSoFar = isHeadSoFar && place < 4 && byte == Self.headToken.utf8Start[place]
            return .method
        case .version: return try stepVersion(byte)
        case .requestLF, .fieldLF:
            guard byte == 0x0A else { throw ParseError("bare CR") }
            if state == .fieldLF { try addField() }
            return .fieldStart
        case .fieldStart:
            if byte == 0x0D { return .headLF }
            guard Grammar.isToken(byte) else {
                throw byte == UInt8(ascii: " ") || byte == 0x09 ? ParseError("folded field") : badFieldName(byte)
            }
            field.nameStart = Int32(truncatingIfNeeded: place)
            return .fieldName
        case .valueStart:
            if byte == UInt8(ascii: " ") || byte == 0x09 { return .valueStart }
            field.valueStart = Int32(truncatingIfNeeded: place)
            if byte == 0x0D {
                field.valueEnd = field.valueStart
                return .fieldLF
            }
            guard Grammar.isValue(byte) else { throw ParseError("control character in a field's value") }
            return .value
        case .headLF:
            guard byte == 0x0A else { throw ParseError("bare CR") }
            return .complete
        case .target, .fieldName, .value, .body, .chunkSize, .chunkBlank, .chunkExtension, .chunkLF, .chunkData,
            .chunkDataCR, .chunkDataLF, .trailerStart, .trailerName, .trailerValue, .trailerLF, .endLF, .complete:
            preconditionFailure("not a state of the head's slow path")
        }
    }

    private mutating func stepVersion(_ byte: UInt8) throws(ParseError) -> State {
        let expected: StaticString = "HTTP/"
        defer { lineCount += 1 }
        switch lineCount {
        case 0..<5:
            guard byte == expected.utf8Start[lineCount] else { throw ParseError("bad protocol version") }
        case 5:
            guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { throw ParseError("bad protocol version") }
            if byte != UInt8(ascii: "1") { head.minorVersion = 255 }
        case 6:
            guard byte == UInt8(ascii: ".") else { throw ParseError("bad protocol version") }
        case 7:
            guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { throw ParseError("bad protocol version") }
            guard head.minorVersion != 255, byte <= UInt8(ascii: "1") else {
                throw ParseError(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
            }
            head.minorVersion = byte - UInt8(ascii: "0")
        default:
            guard byte == 0x0D else { throw byte == 0x0A ? ParseError("bare LF") : ParseError("bad protocol version") }
            return .requestLF
        }
        return .version
    }

    private func badFieldName(_ byte: UInt8) -> ParseError {
        switch byte {
        case UInt8(ascii: " "), 0x09: ParseError("space before the colon of a field")
        case 0x0A: ParseError("bare LF")
        default: ParseError("bad character in a field's name")
        }
    }

    private mutating func keep(_ input: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) {
        head.storage.append(contentsOf: UnsafeBufferPointer(rebasing: input[range]))
        position += range.count
    }

    private mutating func addField() throws(ParseError) {
        guard head.fields.count < limits.fields else { throw ParseError(431, "more than \(limits.fields) fields") }
        head.fields.append(field)
    }

    private mutating func finishHead() throws(ParseError) -> Event {
        try head.complete()
        place = .body
        if head.isChunked {
            startChunkLine()
            return .head
        }
        remaining = head.contentLength ?? 0
        guard remaining <= limits.bodyBytes else { throw ParseError(413, "body over \(limits.bodyBytes) bytes") }
        state = .body
        return .head
    }

    // MARK: Body

    private mutating func readBody(
        _ input: UnsafeBufferPointer<UInt8>, _ offset: inout Int
    ) throws(ParseError) -> Event? {
        guard remaining > 0 else {
            state = .complete
            place = .between
            return .end
        }
        return takeBody(input, &offset)
    }

    private mutating func takeBody(_ input: UnsafeBufferPointer<UInt8>, _ offset: inout Int) -> Event? {
        let count = min(remaining, input.count - offset)
        guard count > 0 else { return nil }
        remaining -= count
        offset += count
        return .body(offset - count..<offset)
    }

    private mutating func startChunkLine() {
        state = .chunkSize
        remaining = 0
        chunkDigits = 0
        lineCount = 0
    }

    private mutating func readChunks(
        _ input: UnsafeBufferPointer<UInt8>, _ offset: inout Int
    ) throws(ParseError) -> Event? {
        while offset < input.count {
            if state == .chunkData {
                if remaining > 0 { return takeBody(input, &offset) }
                state = .chunkDataCR
            }
            let byte = input[offset]
            offset += 1
            if try stepChunk(byte) {
                state = .complete
                place = .between
                return .end
            }
        }
        return nil
    }

    /// - Returns: True when the request is complete.
    private mutating func stepChunk(_ byte: UInt8) throws(ParseError) -> Bool {
        switch state {
        case .chunkSize, .chunkBlank, .chunkExtension:
            lineCount += 1
            guard lineCount <= limits.chunkLineBytes else {
                throw ParseError("chunk line over \(limits.chunkLineBytes) bytes")
            }
            try stepChunkLine(byte)
        case .chunkLF:
            guard byte == 0x0A else { throw ParseError("bare CR") }
            state = remaining == 0 ? .trailerStart : .chunkData
            bodyCount += remaining
            guard bodyCount <= limits.bodyBytes else { throw ParseError(413, "body over \(limits.bodyBytes) bytes") }
        case .chunkDataCR:
            guard byte == 0x0D else { throw ParseError("chunk longer than its size") }
            state = .chunkDataLF
        case .chunkDataLF:
            guard byte == 0x0A else { throw ParseError("bare CR") }
            startChunkLine()
        case .endLF:
            guard byte == 0x0A else { throw ParseError("bare CR") }
            return true
        default:
            trailerCount += 1
            guard trailerCount <= limits.trailerBytes else {
                throw ParseError(431, "trailers over \(limits.trailerBytes) bytes")
            }
            try stepTrailer(byte)
        }
        return false
    }

    private mutating func stepChunkLine(_ byte: UInt8) throws(ParseError) {
        if state == .chunkSize, let digit = Grammar.hexDigit(byte) {
            chunkDigits += 1
            guard chunkDigits <= 15 else { throw ParseError(413, "chunk too large") }
            remaining = remaining << 4 | Int(digit)
            return
        }
        guard chunkDigits > 0 else { throw ParseError("chunk size is no hexadecimal number") }
        if state == .chunkBlank || state == .chunkSize, byte == UInt8(ascii: " ") || byte == 0x09 {
            // Blanks may stand before an extension (RFC 9112, 7.1.1), and only there.
            state = .chunkBlank
        } else if state == .chunkBlank || state == .chunkSize, byte == UInt8(ascii: ";") {
            state = .chunkExtension
        } else if byte == 0x0D, state != .chunkBlank {
            state = .chunkLF
        } else if state != .chunkExtension {
            throw ParseError("chunk size is no hexadecimal number")
        } else {
            guard Grammar.isValue(byte) else { throw ParseError("bad character in a chunk extension") }
        }
    }

    private mutating func stepTrailer(_ byte: UInt8) throws(ParseError) {
        switch state {
        case .trailerStart:
            if byte == 0x0D {
                state = .endLF
            } else {
                guard Grammar.isToken(byte) else { throw ParseError("bad trailer") }
                state = .trailerName
            }
        case .trailerName:
            if byte == UInt8(ascii: ":") {
                state = .trailerValue
            } else {
                guard Grammar.isToken(byte) else { throw ParseError("bad trailer") }
            }
        case .trailerValue:
            if byte == 0x0D {
                state = .trailerLF
            } else {
                guard Grammar.isValue(byte) else { throw ParseError("bad trailer") }
            }
        default:
            guard byte == 0x0A else { throw ParseError("bare CR") }
            state = .trailerStart
        }
    }
}
