import GRDB
import GRDBSQLite
import Jobs

/// A row of one of our tables, read by hand from the left to the right.
///
/// SQLite keeps any value in any column, and files are damaged: what is of another type, or out of its range, is an error
/// that names its place, never a trap.
struct StoredRow {
    /// Which columns, of which table, and in which order; the first one is the job's id.
    struct Columns: Sendable {
        let table: String
        let names: [String]
        var list: String { names.joined(separator: ", ") }
    }

    /// Keeps the statement, whose values these are.
    private let owner: Statement
    private let raw: OpaquePointer
    private let columns: Columns
    private var next: CInt = 0
    /// Bytes of texts and of what else was read so far, be it left out.
    private(set) var bytes = 0
    /// Whether the last text was left out, because it is longer than it may be.
    private(set) var hasLeftOut = false

    init(_ owner: Statement, _ raw: OpaquePointer, _ columns: Columns) {
        self.owner = owner
        self.raw = raw
        self.columns = columns
    }

    var table: String { columns.table }

    /// The first column as it stands there: a table's key is an integer whatever happened to the rest.
    var key: Int64 { sqlite3_column_int64(raw, 0) }

    mutating func integer(in range: ClosedRange<Int64> = .min ... .max) throws(StoreFailure) -> Int64 {
        guard sqlite3_column_type(raw, next) == SQLITE_INTEGER else { throw wrong("is no integer") }
        let value = sqlite3_column_int64(raw, next)
        guard range.contains(value) else { throw wrong("is \(value), out of its range") }
        next += 1
        return value
    }

    mutating func integer(in range: ClosedRange<Int>) throws(StoreFailure) -> Int {
        Int(try integer(in: Int64(range.lowerBound)...Int64(range.upperBound)))
    }

    mutating func flag() throws(StoreFailure) -> Bool { try integer(in: 0...1) as Int64 == 1 }

    mutating func id() throws(StoreFailure) -> JobID { JobID(column: try integer()) }

    mutating func integerIfAny(in range: ClosedRange<Int64> = .min ... .max) throws(StoreFailure) -> Int64? {
        isNull ? nil : try integer(in: range)
    }

    mutating func time() throws(StoreFailure) -> Instant { Instant(nanoseconds: try integer()) }

    mutating func timeIfAny() throws(StoreFailure) -> Instant? { isNull ? nil : try time() }

    mutating func text() throws(StoreFailure) -> String {
        String(decoding: try utf8(SQLITE_TEXT, "text"), as: UTF8.self)
    }

    mutating func textIfAny() throws(StoreFailure) -> String? { isNull ? nil : try text() }

    /// Text as its bytes.
    ///
    /// - Parameter longest: What is longer is left out, and empty.
    mutating func bytesOfText(longest: Int = .max) throws(StoreFailure) -> [UInt8] {
        let text = try utf8(SQLITE_TEXT, "text")
        hasLeftOut = text.count > longest
        return hasLeftOut ? [] : Array(text)
    }

    mutating func bytesOfTextIfAny(longest: Int = .max) throws(StoreFailure) -> [UInt8] {
        hasLeftOut = false
        return isNull ? [] : try bytesOfText(longest: longest)
    }

    mutating func blobIfAny() throws(StoreFailure) -> [UInt8] {
        isNull ? [] : Array(try utf8(SQLITE_BLOB, "bytes"))
    }

    /// What `read` makes of a text.
    mutating func parsed<Value>(
        _ what: String, _ read: (String) -> Value?
    ) throws(StoreFailure) -> Value {
        let text = String(decoding: try utf8(SQLITE_TEXT, "text"), as: UTF8.self)
        guard let value = read(text) else {
            next -= 1
            throw wrong("is no \(what)")
        }
        return value
    }

    /// Valid until the statement goes on.
    private mutating func utf8(_ type: CInt, _ name: String) throws(StoreFailure) -> UnsafeRawBufferPointer {
        guard sqlite3_column_type(raw, next) == type else { throw wrong("is no \(name)") }
        let start =
            type == SQLITE_TEXT ? UnsafeRawPointer(sqlite3_column_text(raw, next)) : sqlite3_column_blob(raw, next)
        let count = Int(sqlite3_column_bytes(raw, next))
        next += 1
        bytes += count
        return UnsafeRawBufferPointer(start: start, count: start == nil ? 0 : count)
    }

    /// Whether the next value is null, which is then passed over.
    var isNull: Bool {
        mutating get {
            guard sqlite3_column_type(raw, next) == SQLITE_NULL else { return false }
            next += 1
            return true
        }
    }

    /// An error about the value that is next.
    func wrong(_ why: String) -> StoreFailure {
        let id = sqlite3_column_type(raw, 0) == SQLITE_INTEGER ? JobID(column: sqlite3_column_int64(raw, 0)) : nil
        return .damaged(
            "table \(columns.table), job \(id.map(\.description) ?? "without an id"), column \(columns.names[Int(next)]) \(why)"
        )
    }
}

/// The rows of a query, one after the other, and what is read of each. Belongs to its connection and its queue.
final class StoredRows {
    /// Keeps the statement, and finalizes it in time.
    private let owner: Statement
    private let raw: OpaquePointer
    private let connection: OpaquePointer
    private let columns: StoredRow.Columns

    /// - Parameter rest: Of the query, after the table's name.
    init(
        _ db: Database, _ columns: StoredRow.Columns, _ rest: String,
        _ arguments: StatementArguments = StatementArguments()
    ) throws {
        owner = try db.makeStatement(sql: "SELECT \(columns.list) FROM \(columns.table) \(rest)")
        try owner.setArguments(arguments)
        guard let raw = owner.sqliteStatement as OpaquePointer?, let connection = db.sqliteConnection else {
            throw StoreFailure("a statement could not be prepared")
        }
        self.raw = raw
        self.connection = connection
        self.columns = columns
    }

    /// Valid until the next call.
    func next() throws -> StoredRow? {
        switch sqlite3_step(raw) {
        case SQLITE_ROW: return StoredRow(owner, raw, columns)
        case SQLITE_DONE: return nil
        default:
            throw DatabaseError(
                resultCode: ResultCode(rawValue: sqlite3_extended_errcode(connection)),
                message: String(cString: sqlite3_errmsg(connection)))
        }
    }
}

extension StoreFailure {
    /// Something stands in the file that no server has written.
    static func damaged(_ what: String) -> StoreFailure { StoreFailure(damage: what, isOfDisk: true) }
}
