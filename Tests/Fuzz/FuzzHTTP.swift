/// Whatever the bytes, and wherever they are cut: the same events and the same error.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzHTTP(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count > 1 else { return 0 }
    let input = Array(UnsafeBufferPointer(start: bytes + 1, count: count - 1))
    let cut = Int(bytes[0]) % (input.count + 1)
    let whole = story([input])
    precondition(story([Array(input[..<cut]), Array(input[cut...])]) == whole, "a cut at \(cut) changes what is read")
    precondition(story(input.map { [$0] }) == whole, "single bytes change what is read")
    return 0
}

private func story(_ pieces: [[UInt8]]) -> [String] {
    var parser = RequestParser()
    var events: [String] = []
    var body: [UInt8] = []
    for piece in pieces {
        var offset = 0
        do throws(ParseError) {
            try piece.withUnsafeBufferPointer { (buffer) throws(ParseError) in
                while let event = try parser.next(buffer, &offset) {
                    switch event {
                    case .head: events.append("head \(parser.head.fields.count) \(parser.head.text(parser.head.path))")
                    case .body(let range): body += buffer[range]
                    case .end:
                        events.append("end \(body)")
                        body = []
                    }
                }
            }
        } catch {
            return events + ["error \(error.status) \(error.reason)"]
        }
    }
    return events
}
