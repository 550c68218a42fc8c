/// An answer, or the beginning of one that streams.
package struct Response: Sendable {
    package var status: Int
    /// nil: there is no content.
    package var contentType: StaticString?
    package var body: [UInt8]
    /// False for most: what this server says is true now, and is to be kept by nobody.
    package var isCacheable = false
    /// Further fields, as they go out: `Name: value\r\n` each.
    private(set) var fields: [UInt8] = []
    /// What the fields of most answers take, in bytes.
    private static let fewFields = 160

    package init(_ status: Int = 200, _ contentType: StaticString? = nil, _ body: [UInt8] = []) {
        self.status = status
        self.contentType = contentType
        self.body = body
    }

    private static let json: StaticString = "application/json"
    var isJSON: Bool { contentType?.utf8Start == Self.json.utf8Start }

    package static func json(_ status: Int = 200, _ body: [UInt8]) -> Response {
        Response(status, json, body)
    }

    /// Adds a field. Line breaks and other control characters in the value become spaces: no value can add a field.
    package mutating func set(_ name: StaticString, _ value: String) {
        add(name)
        for byte in value.utf8 { fields.append(byte < 0x20 || byte == 0x7F ? 0x20 : byte) }
        fields.append(0x0D)
        fields.append(0x0A)
    }

    /// Adds a field whose value is part of the program.
    package mutating func set(_ name: StaticString, _ value: StaticString) {
        add(name)
        fields.append(contentsOf: UnsafeBufferPointer(start: value.utf8Start, count: value.utf8CodeUnitCount))
        fields.append(0x0D)
        fields.append(0x0A)
    }

    /// Adds a field whose value is written in place, and known to be harmless.
    package mutating func set(_ name: StaticString, writing write: (inout [UInt8]) -> Void) {
        add(name)
        write(&fields)
        fields.append(0x0D)
        fields.append(0x0A)
    }

    private mutating func add(_ name: StaticString) {
        if fields.isEmpty { fields.reserveCapacity(Self.fewFields) }
        fields.append(contentsOf: UnsafeBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
        fields.append(UInt8(ascii: ":"))
        fields.append(UInt8(ascii: " "))
    }
}

/// A piece of a streamed body with its chunk framing around it, made once and shared by all connections it goes to.
package struct StreamChunk: Sendable {
    let bytes: [UInt8]
    /// Where the payload stands, for clients that do not know chunks (HTTP/1.0).
    let payload: Range<Int>

    package init(_ payload: some Collection<UInt8>) {
        var bytes = Array(String(payload.count, radix: 16).utf8)
        bytes.reserveCapacity(payload.count + 20)
        bytes.append(0x0D)
        bytes.append(0x0A)
        let start = bytes.count
        bytes.append(contentsOf: payload)
        self.payload = start..<bytes.count
        bytes.append(0x0D)
        bytes.append(0x0A)
        self.bytes = bytes
    }

    package var payloadCount: Int { payload.count }
}

/// The reason phrase of a status.
func reason(_ status: Int) -> StaticString {
    switch status {
    case 100: "Continue"
    case 200: "OK"
    case 202: "Accepted"
    case 204: "No Content"
    case 303: "See Other"
    case 304: "Not Modified"
    case 400: "Bad Request"
    case 401: "Unauthorized"
    case 403: "Forbidden"
    case 404: "Not Found"
    case 405: "Method Not Allowed"
    case 406: "Not Acceptable"
    case 408: "Request Timeout"
    case 409: "Conflict"
    case 410: "Gone"
    case 411: "Length Required"
    case 412: "Precondition Failed"
    case 413: "Content Too Large"
    case 414: "URI Too Long"
    case 415: "Unsupported Media Type"
    case 417: "Expectation Failed"
    case 421: "Misdirected Request"
    case 422: "Unprocessable Content"
    case 429: "Too Many Requests"
    case 431: "Request Header Fields Too Large"
    case 500: "Internal Server Error"
    case 501: "Not Implemented"
    case 503: "Service Unavailable"
    case 504: "Gateway Timeout"
    case 505: "HTTP Version Not Supported"
    case 507: "Insufficient Storage"
    default: "Status"
    }
}
