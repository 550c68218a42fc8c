import EventLoop
import JSON
import Jobs
import Logging
import Server

/// Logs as JSON lines on stderr: `{"time":…,"level":…,"message":…}`. Control bytes are escaped, so a line is a line.
struct JSONLogHandler: LogHandler {
    private let label: String
    private let writer: LogWriter
    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level

    init(label: String, _ writer: LogWriter, _ level: Logger.Level) {
        logLevel = level
        self.label = label
        self.writer = writer
    }

    subscript(metadataKey key: String) -> Logger.MetadataValue? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var line: [UInt8] = []
        line.append(#"{"time":"#)
        line.append(timestamp: Instant(nanoseconds: wallNanoseconds()))
        line.append(#","level":"#)
        line.append(jsonString: event.level.rawValue)
        line.append(#","message":"#)
        line.append(jsonString: event.message.description)
        for (key, value) in metadata.merging(event.metadata ?? [:], uniquingKeysWith: { $1 }).sorted(by: {
            $0.key < $1.key
        }) {
            line.append(",")
            line.append(jsonString: key)
            line.append(":")
            line.append(jsonString: value.description)
        }
        line.append("}\n")
        writer.write(line)
    }
}
