@testable import HTTP

/// What the parser made of a connection's bytes, in a form that can be compared.
struct ParsedRequest: Equatable {
    var line: String
    var fields: [String]
    var body: String
    var isComplete = false
}

/// Feeds bytes in the given pieces; what was read, and the error that ended it.
func parse(_ pieces: [[UInt8]], limits: Limits = Limits()) -> (requests: [ParsedRequest], error: ParseError?) {
    var parser = RequestParser(limits: limits)
    var requests: [ParsedRequest] = []
    for piece in pieces {
        var offset = 0
        do throws(ParseError) {
            try piece.withUnsafeBufferPointer { (buffer) throws(ParseError) in
                while let event = try parser.next(buffer, &offset) {
                    switch event {
                    case .head: requests.append(ParsedRequest(parser.head))
                    case .body(let range):
                        requests[requests.count - 1].body += String(decoding: buffer[range], as: UTF8.self)
                    case .end: requests[requests.count - 1].isComplete = true
                    }
                }
            }
        } catch {
            return (requests, error)
        }
    }
    return (requests, nil)
}

func parse(_ text: String, limits: Limits = Limits()) -> (requests: [ParsedRequest], error: ParseError?) {
    parse([Array(text.utf8)], limits: limits)
}

extension ParsedRequest {
    init(_ head: ParsedHead) {
        line = "\(head.method.name) \(head.text(head.path))?\(head.text(head.query)) 1.\(head.minorVersion)"
        fields = head.fields.map { field in
            head.text(Int(field.nameStart)..<Int(field.nameEnd)) + "="
                + head.text(Int(field.valueStart)..<Int(field.valueEnd))
        }
        body = ""
    }
}
