/// A request's method. Any other token is ``unknown``, and answered 501.
package enum Method: UInt8, Sendable, CaseIterable {
    case get, head, post, put, patch, delete, options, unknown

    package var name: String {
        switch self {
        case .get: "GET"
        case .head: "HEAD"
        case .post: "POST"
        case .put: "PUT"
        case .patch: "PATCH"
        case .delete: "DELETE"
        case .options: "OPTIONS"
        case .unknown: "?"
        }
    }

    init(token: UnsafeBufferPointer<UInt8>) {
        self = Method.allCases.first { $0 != .unknown && $0.name.utf8.elementsEqual(token) } ?? .unknown
    }
}

/// The request line and the fields, as bytes and where they stand. Field names are in lower case.
package struct RequestHead: Sendable {
    struct Field: Sendable {
        var nameStart: Int32
        var nameEnd: Int32
        var valueStart: Int32
        var valueEnd: Int32
    }

    package internal(set) var method = Method.unknown
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    package internal(set) var minorVersion: UInt8 = 1
    package internal(set) var keepsAlive = true
    package internal(set) var expectsContinue = false
    package internal(set) var isChunked = false
    package internal(set) var contentLength: Int?
    var storage: [UInt8] = []
    var fields: [Field] = []
    package internal(set) var path = 0..<0
    package internal(set) var query = 0..<0
    package internal(set) var host = 0..<0

    package var hasBody: Bool { isChunked || (contentLength ?? 0) > 0 }

    /// The path as it came, percent-encoded; begins with `/`, or is `*`.
    package var pathText: String { text(path) }
    /// What follows the `?`, as it came.
    package var queryText: String { text(query) }
    package var hostText: String { text(host) }

    package func withPath<Result>(_ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result {
        storage.withUnsafeBufferPointer { body(UnsafeBufferPointer(rebasing: $0[path])) }
    }

    package func withHost<Result>(_ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result {
        storage.withUnsafeBufferPointer { body(UnsafeBufferPointer(rebasing: $0[host])) }
    }

    /// The value of the first field of this name.
    ///
    /// - Parameter name: In lower case.
    package func value(of name: StaticString) -> String? {
        range(of: name).map(text)
    }

    /// The bytes of the first field of this name, without making a string of them.
    package func withValue<Result>(of name: StaticString, _ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result? {
        guard let range = range(of: name) else { return nil }
        return storage.withUnsafeBufferPointer { body(UnsafeBufferPointer(rebasing: $0[range])) }
    }

    package func has(_ name: StaticString) -> Bool { range(of: name) != nil }

    /// All values of this name, as one list.
    package func values(of name: StaticString) -> String? {
        let all = fields.filter { matches($0, name) }.map { text(Int($0.valueStart)..<Int($0.valueEnd)) }
        return all.isEmpty ? nil : all.joined(separator: ", ")
    }

    func range(of name: StaticString) -> Range<Int>? {
        for field in fields where matches(field, name) { return Int(field.valueStart)..<Int(field.valueEnd) }
        return nil
    }

    private func matches(_ field: Field, _ name: StaticString) -> Bool {
        let count = name.utf8CodeUnitCount
        guard Int(field.nameEnd - field.nameStart) == count else { return false }
        return storage.withUnsafeBufferPointer { bytes in
            let start = bytes.baseAddress! + Int(field.nameStart)
            for index in 0..<count where start[index] != name.utf8Start[index] { return false }
            return true
        }
    }

    private func text(_ range: Range<Int>) -> String { String(decoding: storage[range], as: UTF8.self) }
}
