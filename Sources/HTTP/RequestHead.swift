import Glibc

/// A request's method: those that are registered and may be met. Any other token is ``unknown``, and answered 501.
package enum Method: UInt8, Sendable, CaseIterable {
    case get, head, post, put, patch, delete, options, trace, connect, query, unknown

    package var name: String { word.description }

    private var word: StaticString {
        switch self {
        case .get: "GET"
        case .head: "HEAD"
        case .post: "POST"
        case .put: "PUT"
        case .patch: "PATCH"
        case .delete: "DELETE"
        case .options: "OPTIONS"
        case .trace: "TRACE"
        case .connect: "CONNECT"
        case .query: "QUERY"
        case .unknown: "?"
        }
    }

    init(token: UnsafeBufferPointer<UInt8>) {
        self = Method.allCases.first { $0 != .unknown && $0.word.isSame(as: token) } ?? .unknown
    }
}

/// The request line and the fields, as bytes and where they stand. Field names are in lower case.
///
/// A value while it is being parsed; ``RequestHead`` is what is handed on.
package struct ParsedHead: Sendable {
    struct Field: Sendable {
        var nameStart: Int32
        var nameEnd: Int32
        var valueStart: Int32
        var valueEnd: Int32
    }

    var method = Method.unknown
    var minorVersion: UInt8 = 1
    var keepsAlive = true
    var expectsContinue = false
    var isChunked = false
    var contentLength: Int?
    var storage: [UInt8] = []
    var fields: [Field] = []
    var path = 0..<0
    var query = 0..<0
    var host = 0..<0
    /// Whether the target has more than letters, digits and the usual marks.
    var hasTargetExtra = false
    /// Whether something in the path stands for another byte.
    var isPathEscaped = false
    /// One bit for each length that a field's name has: most names that are asked for are not there, and this says so at
    /// once.
    private var nameLengths: UInt64 = 0

    /// Makes the value as good as new, keeping its memory.
    mutating func reset() {
        storage.removeAll(keepingCapacity: true)
        fields.removeAll(keepingCapacity: true)
        method = .unknown
        minorVersion = 1
        keepsAlive = true
        expectsContinue = false
        isChunked = false
        contentLength = nil
        host = 0..<0
        hasTargetExtra = false
        isPathEscaped = false
        nameLengths = 0
    }

    var hasBody: Bool { isChunked || (contentLength ?? 0) > 0 }

    mutating func note(nameOf count: Int) { nameLengths |= 1 << UInt64(count & 63) }

    func mayHave(_ name: StaticString) -> Bool { nameLengths >> UInt64(name.utf8CodeUnitCount & 63) & 1 != 0 }

    func range(of name: StaticString) -> Range<Int>? {
        guard mayHave(name) else { return nil }
        return storage.withUnsafeBufferPointer { bytes in
            for field in fields where matches(field, name, bytes) { return Int(field.valueStart)..<Int(field.valueEnd) }
            return nil
        }
    }

    func matches(_ field: Field, _ name: StaticString, _ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        let count = name.utf8CodeUnitCount
        guard Int(field.nameEnd - field.nameStart) == count else { return false }
        return name.isSame(as: UnsafeBufferPointer(rebasing: bytes[Int(field.nameStart)..<Int(field.nameEnd)]))
    }

    func text(_ range: Range<Int>) -> String { String(decoding: storage[range], as: UTF8.self) }
}

/// The head of one request, complete.
///
/// A class, because it is handed on many times a request: one count to keep instead of two arrays.
// Guard: filled once by its connection before anybody else sees it, and not changed while anybody holds it.
package final class RequestHead: @unchecked Sendable {
    private var parts = ParsedHead()

    init() {}

    /// Takes what was parsed, and gives the memory of the last request in exchange.
    func exchange(_ parsed: inout ParsedHead) { swap(&parts, &parsed) }

    package var method: Method { parts.method }
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    package var minorVersion: UInt8 { parts.minorVersion }
    package var keepsAlive: Bool { parts.keepsAlive }
    package var expectsContinue: Bool { parts.expectsContinue }
    package var contentLength: Int? { parts.contentLength }
    package var hasBody: Bool { parts.isChunked || (parts.contentLength ?? 0) > 0 }
    package var hasQuery: Bool { !parts.query.isEmpty }
    package var isPathEscaped: Bool { parts.isPathEscaped }

    /// The path as it came, percent-encoded; begins with `/`, or is `*`.
    package var pathText: String { parts.text(parts.path) }
    /// What follows the `?`, as it came.
    package var queryText: String { parts.text(parts.query) }
    package var hostText: String { parts.text(parts.host) }

    package func withPath<Result>(_ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result {
        parts.storage.withUnsafeBufferPointer { body(UnsafeBufferPointer(rebasing: $0[parts.path])) }
    }

    package func withQuery<Result>(_ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result {
        parts.storage.withUnsafeBufferPointer { body(UnsafeBufferPointer(rebasing: $0[parts.query])) }
    }

    package func withHost<Result>(_ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result {
        parts.storage.withUnsafeBufferPointer { body(UnsafeBufferPointer(rebasing: $0[parts.host])) }
    }

    /// The value of the first field of this name.
    ///
    /// - Parameter name: In lower case.
    package func value(of name: StaticString) -> String? { parts.range(of: name).map(parts.text) }

    /// The bytes of the first field of this name, without making a string of them.
    package func withValue<Result>(of name: StaticString, _ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result? {
        guard let range = parts.range(of: name) else { return nil }
        return parts.storage.withUnsafeBufferPointer { body(UnsafeBufferPointer(rebasing: $0[range])) }
    }

    package func has(_ name: StaticString) -> Bool { parts.range(of: name) != nil }

    /// All values of this name, as one list.
    package func values(of name: StaticString) -> String? {
        guard parts.mayHave(name) else { return nil }
        let all = parts.storage.withUnsafeBufferPointer { bytes in
            parts.fields.filter { parts.matches($0, name, bytes) }.map {
                parts.text(Int($0.valueStart)..<Int($0.valueEnd))
            }
        }
        return all.isEmpty ? nil : all.joined(separator: ", ")
    }
}

extension StaticString {
    /// Whether the bytes are this word.
    @inline(__always)
    package func isSame(as bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        guard bytes.count == utf8CodeUnitCount, let first = bytes.baseAddress else { return false }
        return memcmp(first, utf8Start, bytes.count) == 0
    }

    func stands(in bytes: UnsafeBufferPointer<UInt8>, at start: Int, before end: Int) -> Bool {
        start + utf8CodeUnitCount <= end && memcmp(bytes.baseAddress! + start, utf8Start, utf8CodeUnitCount) == 0
    }
}
