import HTTP
import JSON
import Jobs
import Store

/// How events are written on the wire.
enum EventFormat: Equatable {
    /// `text/event-stream`. Source: WHATWG HTML, 9.2 "Server-sent events".
    case sse
    /// `application/x-ndjson`: one object a line.
    case ndjson
    /// `text/plain`: the text of `log` events only.
    case log

    var contentType: StaticString {
        switch self {
        case .sse: "text/event-stream"
        case .ndjson: "application/x-ndjson"
        case .log: "text/plain; charset=utf-8"
        }
    }

    /// What comes before the first event.
    var prelude: [UInt8] {
        switch self {
        case .sse: Array("retry: 2000\n\n".utf8)
        case .ndjson, .log: []
        }
    }

    /// What says that there is nothing to say: a comment, or an empty line.
    var heartbeat: StreamChunk {
        switch self {
        case .sse: Self.comment
        case .ndjson, .log: Self.emptyLine
        }
    }

    private static let comment = StreamChunk(Array(": still here\n\n".utf8))
    private static let emptyLine = StreamChunk([0x0A])

    func append(_ event: JobEvent, of record: JobRecord, to out: inout [UInt8]) {
        frame(seq: event.seq, type: event.type, to: &out) { $0.append(event: event, of: record) }
    }

    /// Puts the frame around one object; for ``log`` there is none, see ``JobStream``.
    func frame(seq: Int?, type: StaticString, to out: inout [UInt8], _ object: (inout [UInt8]) -> Void) {
        switch self {
        case .sse:
            if let seq {
                out.append("id: ")
                out.append(integer: seq)
                out.append("\n")
            }
            out.append("event: ")
            out.append(type)
            out.append("\ndata: ")
            object(&out)
            out.append("\n\n")
        case .ndjson:
            object(&out)
            out.append("\n")
        case .log: break
        }
    }
}
