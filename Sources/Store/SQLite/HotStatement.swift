import GRDB
import GRDBSQLite

/// A prepared statement that is bound and run by hand: a job pays for three or four of them, and GRDB's arguments, arrays
/// of boxed values, would cost more than SQLite itself.
///
/// Belongs to the connection that it was made on, and to its queue.
final class HotStatement {
    /// Copies what is bound: nothing has to outlive the call.
    private static let copied = unsafeBitCast(-1, to: sqlite3_destructor_type.self)

    /// Keeps the statement, and finalizes it in time.
    private let owner: Statement
    private let raw: OpaquePointer
    private let connection: OpaquePointer
    private var index: CInt = 0

    init(_ db: Database, _ sql: String) throws {
        owner = try db.makeStatement(sql: sql)
        guard let raw = owner.sqliteStatement as OpaquePointer?, let connection = db.sqliteConnection else {
            throw StoreFailure("a statement could not be prepared")
        }
        self.raw = raw
        self.connection = connection
    }

    // MARK: Values, in the order of the question marks

    func bind(_ number: Int64) {
        index += 1
        sqlite3_bind_int64(raw, index, number)
    }

    func bind(_ number: Int) { bind(Int64(number)) }

    func bind(_ number: Int64?) { if let number { bind(number) } else { bindNull() } }

    func bind(_ text: String) {
        index += 1
        var text = text
        text.withUTF8 { bytes in
            bytes.withMemoryRebound(to: CChar.self) { characters in
                _ = sqlite3_bind_text(raw, index, characters.baseAddress, CInt(characters.count), Self.copied)
            }
        }
    }

    func bind(_ text: String?) { if let text { bind(text) } else { bindNull() } }

    /// UTF-8 as text; nothing for null.
    func bind(utf8 bytes: [UInt8]) {
        guard !bytes.isEmpty else { return bindNull() }
        index += 1
        bytes.withUnsafeBytes { bytes in
            let characters = bytes.bindMemory(to: CChar.self)
            _ = sqlite3_bind_text(raw, index, characters.baseAddress, CInt(characters.count), Self.copied)
        }
    }

    /// Bytes; nothing for null.
    func bind(blob bytes: some Collection<UInt8>) {
        guard !bytes.isEmpty else { return bindNull() }
        index += 1
        _ = bytes.withContiguousStorageIfAvailable { bytes in
            sqlite3_bind_blob(raw, index, bytes.baseAddress, CInt(bytes.count), Self.copied)
        }
    }

    func bindNull() {
        index += 1
        sqlite3_bind_null(raw, index)
    }

    // MARK: Running

    /// Runs it with what has been bound, and forgets that.
    ///
    /// - Returns: How many rows were changed.
    @discardableResult
    func run() throws -> Int {
        index = 0
        let code = sqlite3_step(raw)
        guard code == SQLITE_DONE || code == SQLITE_ROW else {
            let message = String(cString: sqlite3_errmsg(connection))
            let extended = sqlite3_extended_errcode(connection)
            sqlite3_reset(raw)
            throw DatabaseError(resultCode: ResultCode(rawValue: extended), message: message)
        }
        sqlite3_reset(raw)
        return Int(sqlite3_changes(connection))
    }

    /// Runs a query with what has been bound and reads its first row, if there is one.
    func first<Value>(_ read: (OpaquePointer) throws -> Value) throws -> Value? {
        index = 0
        defer { sqlite3_reset(raw) }
        switch sqlite3_step(raw) {
        case SQLITE_ROW: return try read(raw)
        case SQLITE_DONE: return nil
        default:
            throw DatabaseError(
                resultCode: ResultCode(rawValue: sqlite3_extended_errcode(connection)),
                message: String(cString: sqlite3_errmsg(connection)))
        }
    }
}
