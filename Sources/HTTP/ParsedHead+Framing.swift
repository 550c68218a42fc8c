/// What the complete head says about itself: where its body ends, and whether the connection goes on.
extension ParsedHead {
    /// Checks the head as a whole, once its last byte is there.
    mutating func complete() throws(ParseError) {
        for field in fields {
            for index in Int(field.nameStart)..<Int(field.nameEnd) {
                storage[index] = Grammar.lowercased(storage[index])
            }
        }
        method = storage.withUnsafeBufferPointer {
            Method(token: UnsafeBufferPointer(rebasing: $0[..<(path.lowerBound - 1)]))
        }
        keepsAlive = minorVersion == 1
        try checkTarget()
        var hosts = 0
        var codings = 0
        for index in fields.indices {
            trimEnd(of: index)
            switch Int(fields[index].nameEnd - fields[index].nameStart) {
            case 4 where isNamed(index, "host"):
                hosts += 1
                host = Int(fields[index].valueStart)..<Int(fields[index].valueEnd)
            case 14 where isNamed(index, "content-length"): try readContentLength(fields[index])
            case 17 where isNamed(index, "transfer-encoding"):
                codings += 1
                try readTransferEncoding(fields[index])
            case 10 where isNamed(index, "connection"): readConnection(fields[index])
            case 6 where isNamed(index, "expect"): try readExpect(fields[index])
            default: break
            }
        }
        guard hosts == 1 else { throw ParseError(hosts == 0 ? "no Host" : "more than one Host") }
        guard storage[host].allSatisfy(Grammar.isHost) else { throw ParseError("bad Host") }
        guard codings <= 1 else { throw ParseError("more than one Transfer-Encoding") }
        guard !isChunked || contentLength == nil else { throw ParseError("Content-Length with Transfer-Encoding") }
    }

    /// Origin form, or `*` for OPTIONS; splits the query off.
    private mutating func checkTarget() throws(ParseError) {
        let target = query
        guard let first = storage[target].first else { throw ParseError("the target is missing") }
        if first == UInt8(ascii: "*") {
            guard target.count == 1, method == .options else { throw ParseError("bad target") }
        } else {
            guard first == UInt8(ascii: "/") else { throw ParseError("the target must begin with /") }
        }
        var mark = target.upperBound
        var index = target.lowerBound
        while index < target.upperBound {
            if storage[index] == UInt8(ascii: "%") {
                guard index + 2 < target.upperBound, Grammar.hexDigit(storage[index + 1]) != nil,
                    Grammar.hexDigit(storage[index + 2]) != nil
                else { throw ParseError("bad percent-encoding in the target") }
            } else if storage[index] == UInt8(ascii: "?"), mark == target.upperBound {
                mark = index
            }
            index += 1
        }
        path = target.lowerBound..<mark
        query = min(mark + 1, target.upperBound)..<target.upperBound
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

    private mutating func readConnection(_ field: Field) {
        let options = storage[Int(field.valueStart)..<Int(field.valueEnd)].map(Grammar.lowercased)
        for option in options.split(separator: UInt8(ascii: ",")) {
            let name = option.filter { $0 != UInt8(ascii: " ") && $0 != 0x09 }
            if name.elementsEqual("close".utf8) { keepsAlive = false }
            if name.elementsEqual("keep-alive".utf8), minorVersion == 0 { keepsAlive = true }
        }
    }

    private mutating func readExpect(_ field: Field) throws(ParseError) {
        let value = storage[Int(field.valueStart)..<Int(field.valueEnd)].map(Grammar.lowercased)
        guard value.elementsEqual("100-continue".utf8) else { throw ParseError(417, "unknown expectation") }
        expectsContinue = minorVersion == 1
    }

    private mutating func trimEnd(of index: Int) {
        var end = Int(fields[index].valueEnd)
        while end > Int(fields[index].valueStart), storage[end - 1] == 0x20 || storage[end - 1] == 0x09 { end -= 1 }
        fields[index].valueEnd = Int32(end)
    }

    private func isNamed(_ index: Int, _ name: StaticString) -> Bool {
        let start = Int(fields[index].nameStart)
        for offset in 0..<name.utf8CodeUnitCount where storage[start + offset] != name.utf8Start[offset] {
            return false
        }
        return true
    }
}
