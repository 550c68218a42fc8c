import Jobs
import Store
import Testing

@testable import Server

@Suite struct ErrorGroupsTests {
    private func failed(
        _ number: Int, _ message: String, type: String = "ValueError", traceback: [String] = [], task: String = "t"
    ) -> JobRecord {
        let record = JobRecord(
            id: JobID(rawValue: UInt64(number)), task: task, pool: .process, queue: "default", priority: 0,
            maxAttempts: 1, timeout: nil, key: nil, labels: [], input: [], createdAt: Instant(nanoseconds: 0))
        record.state = .failed
        record.error = JobError(type: type, message: message, traceback: traceback)
        record.finishedAt = Instant(nanoseconds: Int64(number))
        return record
    }

    @Test func `numbers and quoted words do not tell failures apart`() {
        var groups = ErrorGroups()
        groups.note(failed(1, "no file \"a.txt\" in 17 ms"))
        groups.note(failed(2, "no file \"other name\" in 4 ms"))
        groups.note(failed(3, "no folder \"a.txt\" in 17 ms"))
        #expect(groups.all.map(\.count).sorted() == [1, 2])
        let pair = groups.all.first { $0.count == 2 }
        #expect(pair?.message == "no file \"other name\" in 4 ms")
        #expect(pair?.firstSeen.nanoseconds == 1)
        #expect(pair?.lastSeen.nanoseconds == 2)
    }

    @Test func `task, type and the place in the file do`() {
        var groups = ErrorGroups()
        let first = ["Traceback (most recent call last):", "  File \"x.py\", line 3, in f", "    g()", "ValueError: 1"]
        let second = [
            "Traceback (most recent call last):", "  File \"x.py\", line 9, in f", "    g()", "ValueError: 1",
        ]
        groups.note(failed(1, "1", traceback: first))
        groups.note(failed(2, "2", traceback: first))
        groups.note(failed(3, "1", traceback: second))
        groups.note(failed(4, "1", type: "KeyError", traceback: first))
        groups.note(failed(5, "1", traceback: first, task: "other"))
        #expect(groups.all.map(\.count).sorted() == [1, 1, 1, 2])
        #expect(groups.all.contains { $0.place == "File \"x.py\", line 3, in f" })
    }

    @Test func `there are never more than so many, and jobs of each`() {
        var groups = ErrorGroups()
        for number in 0..<(ErrorGroups.most + 100) {
            let letters = String(
                String(number, radix: 26).map {
                    Character(UnicodeScalar(UInt8(ascii: "a") + UInt8($0.hexDigitValue ?? Int($0.asciiValue! - 87))))
                })
            groups.note(failed(number, letters))
        }
        #expect(groups.all.count == ErrorGroups.most)
        #expect(groups.forgotten == 100)
        var many = ErrorGroups()
        for number in 0..<5000 { many.note(failed(number, "again")) }
        #expect(many.all[0].count == 5000)
        #expect(many.all[0].jobs.count < 2 * ErrorGroups.jobsKept)
        #expect(many.all[0].jobs.last?.rawValue == 4999)
    }
}
