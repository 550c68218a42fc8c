/// What the complete head says about itself: where its body ends, and whether the connection goes on.
extension ParsedHead {
    /// Checks the head as a whole, once its last byte is there.
    mutating func complete() throws(ParseError) {
        storage.withUnsafeMutableBufferPointer { bytes in
            for field in fields {
                for index in Int(field.nameStart)..<Int(field.nameEnd) {
                    bytes[index] = Grammar.lowercased(bytes[index])
                }
            }
        }
        method = storage.withUnsafeBufferPointer {
            Method(token: UnsafeBufferPointer(rebasing: $0[..<(path.lowerBound - 1)]))
        }
        let authority = try checkTarget()
        var wishes = (close: false, keepAlive: false)
        var hosts = 0
        var codings = 0
        var seen: UInt8 = 0
        for index in fields.indices {
            trimEnd(of: index)
            let count = Int(fields[index].nameEnd - fields[index].nameStart)
            note(nameOf: count)
            switch count {
            case 4 where isNamed(index, "host"):
                hosts += 1
                host = Int(fields[index].valueStart)..<Int(fields[index].valueEnd)
            case 14 where isNamed(index, "content-length"): try readContentLength(fields[index])
            case 17 where isNamed(index, "transfer-encoding"):
                codings += 1
                try readTransferEncoding(fields[index])
            case 10 where isNamed(index, "connection"): readConnection(fields[index], &wishes)
            case 6 where isNamed(index, "expect"): try readExpect(fields[index])
            case let length:
                guard let field = single(index, length) else { break }
                let bit = UInt8(1) << field.rawValue
                guard seen & bit == 0 else { throw ParseError("more than one \(field.name)") }
                seen |= bit
            }
        }
        keepsAlive = !wishes.close && (minorVersion == 1 || wishes.keepAlive)
        // HTTP/1.0 knew no Host; whether that is enough is for the gate to say.
        guard hosts == 1 || hosts == 0 && minorVersion == 0 else {
            throw ParseError(hosts == 0 ? "no Host" : "more than one Host")
        }
        let isHost = storage.withUnsafeBufferPointer { $0[host].allSatisfy(Grammar.isHost) }
        guard isHost else { throw ParseError("bad Host") }
        if let authority { host = authority }
        guard codings <= 1 else { throw ParseError("more than one Transfer-Encoding") }
        guard !isChunked || contentLength == nil else { throw ParseError("Content-Length with Transfer-Encoding") }
    }

    /// Origin form, absolute form, or `*` for OPTIONS; splits the query off.
    ///
    /// - Returns: The authority of an absolute form, which stands for the Host (RFC 9112, 3.2.2).
    private mutating func checkTarget() throws(ParseError) -> Range<Int>? {
        var target = query
        var authority: Range<Int>?
        guard let first = storage[target].first else { throw ParseError("the target is missing") }
        if first == UInt8(ascii: "*") {
            guard target.count == 1, method == .options else { throw ParseError("bad target") }
        } else if first != UInt8(ascii: "/") {
            authority = try self.authority(in: target)
            target = authority!.upperBound..<target.upperBound
        }
        // Nothing is bad in most targets, and few have a query.
        let mark = storage.withUnsafeBufferPointer { $0[target].firstIndex(of: UInt8(ascii: "?")) ?? target.upperBound }
        if hasTargetExtra { try checkExtra(in: target, pathEnd: mark) }
        path = target.lowerBound..<mark
        query = min(mark + 1, target.upperBound)..<target.upperBound
        // No path is the path /: the slash before the authority stands for it.
        if let authority, path.isEmpty { path = authority.lowerBound - 1..<authority.lowerBound }
        return authority
    }

    /// Escapes are whole, and brackets stand in an authority only.
    private mutating func checkExtra(in target: Range<Int>, pathEnd: Int) throws(ParseError) {
        var index = target.lowerBound
        while index < target.upperBound {
            if storage[index] == UInt8(ascii: "%") {
                guard index + 2 < target.upperBound, Grammar.hexDigit(storage[index + 1]) != nil,
                    Grammar.hexDigit(storage[index + 2]) != nil
                else { throw ParseError("bad percent-encoding in the target") }
                if index < pathEnd { isPathEscaped = true }
            } else if storage[index] == UInt8(ascii: "[") || storage[index] == UInt8(ascii: "]") {
                // Of an address in an authority, and of nothing else.
                throw ParseError("bad character in the target")
            }
            index += 1
        }
    }

    /// Where the authority of an absolute form stands.
    private func authority(in target: Range<Int>) throws(ParseError) -> Range<Int> {
        let text = storage[target]
        for scheme in ["http://", "https://"] where text.count > scheme.utf8.count {
            guard zip(text, scheme.utf8).allSatisfy({ Grammar.lowercased($0) == $1 }) else { continue }
            let start = target.lowerBound + scheme.utf8.count
            let end = storage[start..<target.upperBound].firstIndex {
                $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?")
            }
            let authority = start..<(end ?? target.upperBound)
            guard !authority.isEmpty, storage[authority].allSatisfy(Grammar.isHost) else {
                throw ParseError("bad authority in the target")
            }
            return authority
        }
        throw ParseError("the target must begin with /, http:// or https://")
    }

    private mutating func readContentLength(_ field: Field) throws(ParseError) {
        guard contentLength == nil else { throw ParseError("more than one Content-Length") }
        let digits = storage[Int(field.valueStart)..<Int(field.valueEnd)]
        guard !digits.isEmpty, digits.allSatisfy({ $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }) else {
            throw ParseError("Content-Length is no number")
        }
        guard digits.count <= 15 else { throw ParseError(413, "body too large") }
        contentLength = digits.reduce(0) { $0 * 10 + Int($1 - UInt8(ascii: "0")) }
    }

    private mutating func readTransferEncoding(_ field: Field) throws(ParseError) {
        let coding = storage[Int(field.valueStart)..<Int(field.valueEnd)].map(Grammar.lowercased)
        guard coding.elementsEqual("chunked".utf8) else { throw ParseError("unknown Transfer-Encoding") }
        guard minorVersion == 1 else { throw ParseError("Transfer-Encoding in HTTP/1.0") }
        isChunked = true
    }

    /// Whoever says both in one head wants to close (RFC 9112, 9.3).
    private func readConnection(_ field: Field, _ wishes: inout (close: Bool, keepAlive: Bool)) {
        let options = storage[Int(field.valueStart)..<Int(field.valueEnd)].map(Grammar.lowercased)
        for option in options.split(separator: UInt8(ascii: ",")) {
            let name = option.filter { $0 != UInt8(ascii: " ") && $0 != 0x09 }
            if name.elementsEqual("close".utf8) { wishes.close = true }
            if name.elementsEqual("keep-alive".utf8) { wishes.keepAlive = true }
        }
    }

    private mutating func readExpect(_ field: Field) throws(ParseError) {
        let value = storage[Int(field.valueStart)..<Int(field.valueEnd)].map(Grammar.lowercased)
        guard value.elementsEqual("100-continue".utf8) else { throw ParseError(417, "unknown expectation") }
        expectsContinue = minorVersion == 1
    }

    /// Fields that somebody here believes and that have one value: of two, nobody can say which one counts (RFC 9110, 5.3).
    private enum Single: UInt8 {
        case authorization, contentType, cookie, idempotencyKey, lastEventID, origin, site

        var name: String {
            switch self {
            case .authorization: "Authorization"
            case .contentType: "Content-Type"
            case .cookie: "Cookie"
            case .idempotencyKey: "Idempotency-Key"
            case .lastEventID: "Last-Event-ID"
            case .origin: "Origin"
            case .site: "Sec-Fetch-Site"
            }
        }
    }

    private func single(_ index: Int, _ length: Int) -> Single? {
        switch length {
        case 6: isNamed(index, "cookie") ? .cookie : isNamed(index, "origin") ? .origin : nil
        case 12: isNamed(index, "content-type") ? .contentType : nil
        case 13:
            isNamed(index, "authorization") ? .authorization : isNamed(index, "last-event-id") ? .lastEventID : nil
        case 14: isNamed(index, "sec-fetch-site") ? .site : nil
        case 15: isNamed(index, "idempotency-key") ? .idempotencyKey : nil
        default: nil
        }
    }

    private mutating func trimEnd(of index: Int) {
        var end = Int(fields[index].valueEnd)
        while end > Int(fields[index].valueStart), storage[end - 1] == 0x20 || storage[end - 1] == 0x09 { end -= 1 }
        if end != Int(fields[index].valueEnd) { fields[index].valueEnd = Int32(end) }
    }

    private func isNamed(_ index: Int, _ name: StaticString) -> Bool {
        storage.withUnsafeBufferPointer { matches(fields[index], name, $0) }
    }
}
