import EventLoop
import GRDB
import GRDBSQLite

/// Reads tables and indices from end to end, some rows at a time, and finds where the file is damaged.
///
/// SQLite's own checks look at a whole table at once: they cannot be ended or divided, and while they last the log grows.
struct Walk: Sendable {
    /// One table or index, and by what its rows are in order.
    private struct Path: Sendable {
        let name: String
        let columns: String
        let source: String
        let keys: [String]
        var condition = ""
    }

    /// What is most worth knowing comes first.
    private static let paths = [
        Path(name: "live", columns: "*", source: "live", keys: ["id"]),
        Path(name: "events", columns: "job, last, events", source: "events", keys: ["job", "last"]),
        Path(name: "keys", columns: "number, *", source: "keys", keys: ["number"]),
        Path(name: "sqlite_autoindex_keys_1", columns: "key", source: "keys", keys: ["key"]),
        Path(name: "finished", columns: "*", source: "finished", keys: ["id"]),
        Path(
            name: "finished_by_end", columns: "finished_at, id", source: "finished INDEXED BY finished_by_end",
            keys: ["finished_at", "id"]),
        Path(
            name: "finished_badly", columns: "state, id", source: "finished INDEXED BY finished_badly",
            keys: ["state", "id"], condition: "state <> 'succeeded'"),
    ]

    /// A value that rows are in order by; others than ours are in no order that we know.
    private enum Key: Sendable {
        case integer(Int64)
        case text([UInt8])

        static func isBefore(_ left: [Key], _ right: [Key]) -> Bool {
            for pair in zip(left, right) {
                switch pair {
                case (.integer(let one), .integer(let other)): if one != other { return one < other }
                case (.text(let one), .text(let other)):
                    if one != other { return one.lexicographicallyPrecedes(other) }
                case (.integer, .text): return true
                case (.text, .integer): return false
                }
            }
            return false
        }
    }

    /// Rows between two looks at the clock.
    private static let stride = 32
    private var path = 0
    /// Where the last row stood; nil at the beginning.
    private var last: [Key]?

    var isOver: Bool { path == Self.paths.count }

    /// Reads on.
    ///
    /// - Parameter time: After that many nanoseconds it stops, to go on from there the next time.
    /// - Throws: What is wrong with the file.
    mutating func go(on db: Database, for time: Int64) throws {
        let deadline = monotonicNanoseconds() + time
        while !isOver, monotonicNanoseconds() < deadline {
            if try goOn(db, Self.paths[path], until: deadline) {
                path += 1
                last = nil
            }
        }
    }

    /// - Returns: Whether its end was reached.
    private mutating func goOn(_ db: Database, _ path: Path, until deadline: Int64) throws -> Bool {
        let keys = path.keys.joined(separator: ", ")
        var conditions = path.condition.isEmpty ? [] : [path.condition]
        if last != nil { conditions.append("(\(keys)) > (\(path.keys.map { _ in "?" }.joined(separator: ", ")))") }
        let filter = conditions.isEmpty ? "" : "WHERE \(conditions.joined(separator: " AND ")) "
        let statement = try db.cachedStatement(
            sql: "SELECT \(path.columns) FROM \(path.source) \(filter)ORDER BY \(keys)")
        let raw: OpaquePointer = statement.sqliteStatement
        defer { sqlite3_reset(raw) }
        for (index, key) in (last ?? []).enumerated() { Self.bind(key, at: CInt(index + 1), of: raw) }
        var rows = 0
        while true {
            switch sqlite3_step(raw) {
            case SQLITE_ROW: break
            case SQLITE_DONE: return true
            default: throw DatabaseError(resultCode: db.lastErrorCode, message: db.lastErrorMessage)
            }
            // Behind something foreign nothing can be said of the order.
            guard let here = Self.keys(raw, path.keys.count) else { return true }
            if let last, !Key.isBefore(last, here) { throw StoreFailure.damaged("\(path.name) is out of order") }
            last = here
            rows += 1
            if rows % Self.stride == 0, monotonicNanoseconds() > deadline { return false }
        }
    }

    private static func keys(_ raw: OpaquePointer, _ count: Int) -> [Key]? {
        var keys: [Key] = []
        keys.reserveCapacity(count)
        for column in 0..<CInt(count) {
            switch sqlite3_column_type(raw, column) {
            case SQLITE_INTEGER: keys.append(.integer(sqlite3_column_int64(raw, column)))
            case SQLITE_TEXT:
                let start = sqlite3_column_text(raw, column)
                keys.append(
                    .text(Array(UnsafeBufferPointer(start: start, count: Int(sqlite3_column_bytes(raw, column))))))
            default: return nil
            }
        }
        return keys
    }

    /// Copies what is bound.
    private static let copied = unsafeBitCast(-1, to: sqlite3_destructor_type.self)

    private static func bind(_ key: Key, at index: CInt, of raw: OpaquePointer) {
        switch key {
        case .integer(let number): sqlite3_bind_int64(raw, index, number)
        case .text(let bytes):
            // The address of nothing would be null.
            (bytes + [0]).withUnsafeBytes {
                _ = sqlite3_bind_text(
                    raw, index, $0.bindMemory(to: CChar.self).baseAddress, CInt(bytes.count), copied)
            }
        }
    }
}
