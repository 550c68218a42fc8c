import EventLoop
import GRDB
import Jobs

/// One page of a list of finished jobs, read from the disk.
///
/// What no index finds is looked for row by row, for as long as nobody would notice; the next page goes on from there.
struct FinishedList {
    /// Rows that are looked at in one go, and in all.
    private static let stretch = 2_000
    private static let mostRows = 20_000
    /// When the last go begins, in nanoseconds.
    private static let time: Int64 = 8_000_000
    /// After so many bytes of texts the page ends: others wait for their lists too.
    private static let mostBytes = 64 << 20
    /// Where whole ones are wanted: about as many as an answer has room for.
    private static let mostWholeBytes = JobQuery.longestWhole + 1 << 20

    private let query: JobQuery
    /// Whether an index has all that is asked for.
    private let isIndexed: Bool
    private var conditions = ["id < ?", "id >= ?"]
    private var arguments: [any DatabaseValueConvertible] = []
    private var bytes = 0
    private var mostBytes: Int { query.isWhole ? Self.mostWholeBytes : Self.mostBytes }

    init(_ query: JobQuery) {
        self.query = query
        let states = query.filter.states.filter(\.isFinal)
        let isBad = states.count == 1 && states.first != .succeeded
        var rest = query.filter
        rest.states = isBad ? [] : rest.states
        isIndexed = rest.isEmpty
        if !states.isEmpty {
            conditions.append("state IN (\(states.map { "'\($0.rawValue)'" }.sorted().joined(separator: ",")))")
            if isBad { conditions.append("state <> 'succeeded'") }
        }
        for (column, value) in [
            ("task", query.filter.task), ("queue", query.filter.queue), ("pool", query.filter.pool?.rawValue),
        ] {
            guard let value else { continue }
            conditions.append("\(column) = ?")
            arguments.append(value)
        }
        for label in query.filter.labels {
            // A path has no way to say every name: what we write with an escape it does not find.
            let needsEscape: (UInt8) -> Bool = {
                $0 < 0x20 || $0 == 0x7F || $0 == UInt8(ascii: "\\") || $0 == UInt8(ascii: "\"")
            }
            if label.name.utf8.contains(where: needsEscape) {
                conditions.append("EXISTS (SELECT 1 FROM json_each(finished.labels) WHERE key = ? AND value = ?)")
                arguments.append(label.name)
            } else {
                conditions.append("json_extract(labels, ?) = ?")
                arguments.append("$.\"\(label.name)\"")
            }
            arguments.append(label.value)
        }
    }

    mutating func page(_ db: Database) throws -> JobPage {
        var jobs: [JobRecord] = []
        var before = query.before?.column ?? .max
        guard !isIndexed else {
            try read(db, from: .min, before: before, into: &jobs)
            return rounded(jobs, resume: bytes < mostBytes ? nil : jobs.last?.id)
        }
        let deadline = monotonicNanoseconds() + Self.time
        for _ in 0..<Self.mostRows / Self.stretch {
            let first = try Int64.fetchOne(
                db.cachedStatement(sql: "SELECT id FROM finished WHERE id < ? ORDER BY id DESC LIMIT 1 OFFSET ?"),
                arguments: [before, Self.stretch - 1])
            try read(db, from: first ?? .min, before: before, into: &jobs)
            guard bytes < mostBytes else { return rounded(jobs, resume: jobs.last?.id) }
            guard let first, jobs.count <= query.limit else { return rounded(jobs, resume: nil) }
            before = first
            guard monotonicNanoseconds() < deadline else { break }
        }
        return rounded(jobs, resume: JobID(column: before))
    }

    /// One more than asked for tells whether there is more.
    private func rounded(_ jobs: [JobRecord], resume: JobID?) -> JobPage {
        guard jobs.count > query.limit else { return JobPage(jobs, resume: resume) }
        return JobPage(Array(jobs.prefix(query.limit)), resume: jobs[query.limit - 1].id)
    }

    private mutating func read(_ db: Database, from first: Int64, before: Int64, into jobs: inout [JobRecord]) throws {
        let rows = try StoredRows(
            db, Rows.listedColumns, "WHERE \(conditions.joined(separator: " AND ")) ORDER BY id DESC LIMIT ?",
            StatementArguments([before, first] + arguments + [query.limit + 1 - jobs.count]))
        let longest = query.isWhole ? .max : JobQuery.briefBytes
        while bytes < mostBytes, let row = try rows.next() {
            jobs.append(try Rows.finished(row, longest: longest, read: &bytes))
        }
    }
}
