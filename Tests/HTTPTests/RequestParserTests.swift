import Testing

@testable import HTTP

@Suite struct RequestParserTests {
    @Test func `a request with a body is read as it stands`() {
        let (requests, error) = parse(
            "POST /v1/run/a%20b?x=1&y HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nX-A:  b c \r\n\r\nhello")
        #expect(error == nil)
        #expect(
            requests == [
                ParsedRequest(
                    line: "POST /v1/run/a%20b?x=1&y 1.1", fields: ["host=h", "content-length=5", "x-a=b c"],
                    body: "hello",
                    isComplete: true)
            ])
    }

    @Test func `chunks become one body, extensions and trailers are dropped`() {
        let (requests, error) = parse(
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n00006\r\n world\r\n0\r\nTrailer: x\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n\r\n"
        )
        #expect(error == nil)
        #expect(requests.map(\.body) == ["hello world", ""])
        #expect(requests.filter(\.isComplete).count == 2)
    }

    @Test func `one empty line before a request is forgiven, a second is not`() {
        #expect(parse("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n").requests.count == 1)
        #expect(parse("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n").error?.status == 400)
    }

    @Test func `a connection's wish to close or stay is understood`() throws {
        for (head, stays) in [
            ("HTTP/1.1\r\nHost: h", true), ("HTTP/1.1\r\nHost: h\r\nConnection: Close", false),
            ("HTTP/1.0\r\nHost: h", false), ("HTTP/1.0\r\nHost: h\r\nConnection: x, keep-alive", true),
            ("HTTP/1.1\r\nHost: h\r\nConnection: close, keep-alive", false),
            ("HTTP/1.0\r\nHost: h\r\nConnection: close, keep-alive", false),
            ("HTTP/1.0\r\nHost: h\r\nConnection: close\r\nConnection: keep-alive", false),
        ] {
            var parser = RequestParser()
            let bytes = Array("GET / \(head)\r\n\r\n".utf8)
            var offset = 0
            _ = try bytes.withUnsafeBufferPointer { try parser.next($0, &offset) }
            #expect(parser.head.keepsAlive == stays, "\(head)")
        }
    }

    @Test func `an absolute target names the host and the path`() throws {
        for (target, host, path, query) in [
            ("http://a:1/b/c?d", "a:1", "/b/c", "d"), ("HTTPS://a", "a", "/", ""),
            ("http://[::1]?d/e", "[::1]", "/", "d/e"),
        ] {
            var parser = RequestParser()
            let bytes = Array("GET \(target) HTTP/1.1\r\nHost: other\r\n\r\n".utf8)
            var offset = 0
            _ = try bytes.withUnsafeBufferPointer { try parser.next($0, &offset) }
            let head = parser.head
            #expect([head.host, head.path, head.query].map { head.text($0) } == [host, path, query])
        }
    }

    @Test(arguments: acceptances)
    func `what the grammar allows is read to its end`(_ text: String) {
        let (requests, error) = parse(text)
        #expect(error == nil)
        #expect(requests.allSatisfy { $0.isComplete })
    }

    @Test(arguments: refusals)
    func `what the grammar does not allow is refused`(_ refusal: Refusal) {
        #expect(parse(refusal.text).error?.status == refusal.status, "\(refusal.name)")
    }

    @Test(arguments: refusals.map(\.text) + acceptances)
    func `the same bytes give the same events however they are cut`(_ text: String) {
        let bytes = Array(text.utf8)
        let whole = parse([bytes])
        let single = parse(bytes.map { [$0] })
        #expect(single.requests == whole.requests)
        #expect(single.error == whole.error)
        for cut in stride(from: 1, to: bytes.count, by: max(1, bytes.count / 97)) {
            let halves = parse([Array(bytes[..<cut]), Array(bytes[cut...])])
            #expect(halves.requests == whole.requests, "cut at \(cut)")
            #expect(halves.error == whole.error, "cut at \(cut)")
        }
    }

    @Test func `a value may hold any byte but control characters, wherever in it they stand`() {
        for byte in UInt8.min ... .max where byte != 0x0D {
            let isAllowed = byte >= 0x20 && byte != 0x7F || byte == 0x09
            for place in 0..<19 {
                var value = [UInt8](repeating: UInt8(ascii: "a"), count: 19)
                value[place] = byte
                let head = Array("GET / HTTP/1.1\r\nHost: h\r\nA: ".utf8) + value + Array("\r\n\r\n".utf8)
                #expect((parse([head]).error == nil) == isAllowed, "\(byte) at \(place)")
            }
        }
    }

    @Test func `limits have their own answers`() {
        var limits = Limits()
        limits.bodyBytes = 10
        let host = "HTTP/1.1\r\nHost: h\r\n"
        #expect(parse("GET /\(String(repeating: "a", count: 9000)) \(host)\r\n").error?.status == 414)
        #expect(parse("GET / \(host)A: \(String(repeating: "a", count: 17000))\r\n\r\n").error?.status == 431)
        #expect(parse("GET / \(host)\(String(repeating: "A: b\r\n", count: 65))\r\n").error?.status == 431)
        #expect(parse("POST / \(host)Content-Length: 11\r\n\r\n", limits: limits).error?.status == 413)
        #expect(
            parse("POST / \(host)Transfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n8\r\n", limits: limits).error?
                .status == 413)
    }
}

struct Refusal: Sendable, CustomTestStringConvertible {
    let name: String
    let text: String
    let status: Int
    var testDescription: String { name }

    init(_ name: String, _ text: String, _ status: Int = 400) {
        self.name = name
        self.text = text
        self.status = status
    }
}

/// The MUSTs of RFC 9112 and RFC 9110, and the ways in which proxies and servers have been made to disagree.
let refusals: [Refusal] = {
    let host = "Host: h\r\n"
    func get(_ fields: String) -> String { "GET / HTTP/1.1\r\n\(fields)\r\n" }
    func post(_ fields: String, _ body: String = "") -> String { "POST / HTTP/1.1\r\n\(host)\(fields)\r\n\(body)" }
    let chunked = "Transfer-Encoding: chunked\r\n"
    return [
        Refusal("no Host", get("A: b\r\n")), Refusal("two Hosts", get(host + host)),
        Refusal("Host with a path", get("Host: a/b\r\n")), Refusal("Host with user", get("Host: a@b\r\n")),
        Refusal("bare LF after the request line", "GET / HTTP/1.1\nHost: h\r\n\r\n"),
        Refusal("bare LF after a field", get("Host: h\nA: b\r\n")),
        Refusal("bare CR in a value", get(host + "A: b\rc\r\n")),
        Refusal("folded field", get(host + "A: b\r\n c\r\n")),
        Refusal("space before the colon", get(host + "A : b\r\n")),
        Refusal("empty name", get(host + ": b\r\n")), Refusal("NUL in a value", get(host + "A: b\0c\r\n")),
        Refusal("DEL in a value", get(host + "A: b\u{7F}\r\n")), Refusal("bad name", get(host + "A(): b\r\n")),
        Refusal("no method", " / HTTP/1.1\r\n\(host)\r\n"), Refusal("no target", "GET  HTTP/1.1\r\n\(host)\r\n"),
        Refusal("two spaces", "GET  / HTTP/1.1\r\n\(host)\r\n"),
        Refusal("tab for space", "GET\t/ HTTP/1.1\r\n\(host)\r\n"),
        Refusal("another scheme", "GET ftp://h/ HTTP/1.1\r\n\(host)\r\n"),
        Refusal("a scheme alone", "GET http:// HTTP/1.1\r\n\(host)\r\n"),
        Refusal("no authority", "GET http:///a HTTP/1.1\r\n\(host)\r\n"),
        Refusal("a user in the authority", "GET http://a@h/ HTTP/1.1\r\n\(host)\r\n"),
        Refusal("absolute form without Host", "GET http://h/ HTTP/1.1\r\n\r\n"),
        Refusal("brackets in a path", "GET /[a] HTTP/1.1\r\n\(host)\r\n"),
        Refusal("authority form", "GET h:80 HTTP/1.1\r\n\(host)\r\n"),
        Refusal("star for GET", "GET * HTTP/1.1\r\n\(host)\r\n"),
        Refusal("fragment", "GET /a#b HTTP/1.1\r\n\(host)\r\n"),
        Refusal("control in the target", "GET /a\u{01} HTTP/1.1\r\n\(host)\r\n"),
        Refusal("bad escape", "GET /%zz HTTP/1.1\r\n\(host)\r\n"),
        Refusal("short escape", "GET /%1 HTTP/1.1\r\n\(host)\r\n"),
        Refusal("lower-case version", "GET / http/1.1\r\n\(host)\r\n"), Refusal("no version", "GET /\r\n\(host)\r\n"),
        Refusal("two-digit version", "GET / HTTP/1.10\r\n\(host)\r\n"),
        Refusal("HTTP/2.0", "GET / HTTP/2.0\r\n\(host)\r\n", 505),
        Refusal("HTTP/1.2", "GET / HTTP/1.2\r\n\(host)\r\n", 505),
        Refusal("two Content-Lengths", post("Content-Length: 1\r\nContent-Length: 1\r\n", "a")),
        Refusal("list of Content-Lengths", post("Content-Length: 1, 1\r\n", "a")),
        Refusal("signed Content-Length", post("Content-Length: +1\r\n", "a")),
        Refusal("empty Content-Length", post("Content-Length:\r\n")),
        Refusal("hexadecimal Content-Length", post("Content-Length: 0x1\r\n", "a")),
        Refusal("huge Content-Length", post("Content-Length: 99999999999999999999\r\n"), 413),
        Refusal("both framings", post("Content-Length: 5\r\n" + chunked, "0\r\n\r\n")),
        Refusal("unknown coding", post("Transfer-Encoding: gzip\r\n")),
        Refusal("two codings", post("Transfer-Encoding: gzip, chunked\r\n")),
        Refusal("chunked twice", post(chunked + chunked)),
        Refusal("coding with a parameter", post("Transfer-Encoding: chunked;a=b\r\n")),
        Refusal("chunked in HTTP/1.0", "POST / HTTP/1.0\r\n\(host)\(chunked)\r\n0\r\n\r\n"),
        Refusal("chunk size with 0x", post(chunked, "0x1\r\na\r\n")),
        Refusal("negative chunk size", post(chunked, "-1\r\n")),
        Refusal("empty chunk size", post(chunked, "\r\n")),
        Refusal("space after a chunk size", post(chunked, "1 \r\na\r\n")),
        Refusal("space before a chunk size", post(chunked, " 1\r\na\r\n")),
        Refusal("space in a chunk size", post(chunked, "1 0\r\na\r\n")),
        Refusal("endless blanks in a chunk line", post(chunked, "1" + String(repeating: " ", count: 80))),
        Refusal("bare LF after a chunk size", post(chunked, "1\na\r\n")),
        Refusal("chunk longer than its size", post(chunked, "1\r\nab\r\n")),
        Refusal("endless chunk extension", post(chunked, "1;" + String(repeating: "a", count: 80))),
        Refusal("huge chunk", post(chunked, "fffffffffffffffff\r\n"), 413),
        Refusal("bad trailer", post(chunked, "0\r\nA b\r\n\r\n")),
        Refusal("endless trailer", post(chunked, "0\r\nA: " + String(repeating: "a", count: 3000)), 431),
        Refusal("unknown expectation", post("Expect: 200-ok\r\n"), 417),
    ]
}()

let acceptances = [
    "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: h:80\r\n\r\n",
    "HEAD /?a?b HTTP/1.0\r\nHost: [::1]:1\r\n\r\n", "GET / HTTP/1.0\r\n\r\n",
    "GET HTTP://[::1]:8/a%20b?c HTTP/1.1\r\nHost: h\r\n\r\n", "GET https://h?c HTTP/1.1\r\nHost: h\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3 \t; a = \"b c\" ;d\r\nabc\r\n0;x\r\n\r\n",
    "\r\nGET / HTTP/1.1\r\nHost: h\r\nEmpty:\r\nBytes: \u{E9}\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: h\r\nTRANSFER-ENCODING: Chunked\r\n\r\nA;x=\"y\"\r\n0123456789\r\n0\r\n\r\nPUT /b HTTP/1.1\r\nHost: h\r\n\r\n",
]
