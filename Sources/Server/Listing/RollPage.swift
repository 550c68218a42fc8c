import Jobs
import Store

/// Some rows of the ``Roll``, in the order of their ids.
///
/// Over memory of its own: a look through the marks is a look through nothing else.
final class RollPage {
    /// Rows; what is rebuilt at once.
    static let capacity = 2048

    let ids = UnsafeMutablePointer<UInt64>.allocate(capacity: capacity)
    /// See ``Mark``; 0 for a job that is gone.
    let marks = UnsafeMutablePointer<UInt64>.allocate(capacity: capacity)
    /// Held by the table of live jobs, as long as the mark is not 0.
    private let jobs = UnsafeMutablePointer<Unmanaged<LiveJob>>.allocate(capacity: capacity)
    /// Bits of the labels; from the first job on that has any.
    private var labels: UnsafeMutablePointer<UInt64>?
    var count = 0
    /// Rows whose job is there.
    private(set) var alive = 0

    deinit {
        ids.deallocate()
        marks.deallocate()
        jobs.deallocate()
        labels?.deallocate()
    }

    var lastID: UInt64 { count > 0 ? ids[count - 1] : 0 }

    func job(_ row: Int) -> LiveJob { jobs[row].takeUnretainedValue() }

    // MARK: Rows

    func append(_ job: LiveJob, _ mark: UInt64) {
        put(job, mark, in: count)
        count += 1
    }

    /// - Precondition: There is room for one more.
    func insert(_ job: LiveJob, _ mark: UInt64) {
        var row = count
        while row > 0, ids[row - 1] > job.record.id.rawValue {
            move(row - 1, of: self, to: row)
            row -= 1
        }
        put(job, mark, in: row)
        count += 1
    }

    private func put(_ job: LiveJob, _ mark: UInt64, in row: Int) {
        ids[row] = job.record.id.rawValue
        marks[row] = mark
        jobs[row] = .passUnretained(job)
        job.page = self
        job.row = Int32(truncatingIfNeeded: row)
        alive += 1
        if job.record.labels.isEmpty { labels?[row] = 0 } else { labelled()[row] = Mark.bits(of: job.record.labels) }
    }

    private func labelled() -> UnsafeMutablePointer<UInt64> {
        if let labels { return labels }
        let fresh = UnsafeMutablePointer<UInt64>.allocate(capacity: Self.capacity)
        fresh.initialize(repeating: 0, count: Self.capacity)
        labels = fresh
        return fresh
    }

    private func move(_ from: Int, of other: RollPage, to row: Int) {
        ids[row] = other.ids[from]
        marks[row] = other.marks[from]
        if let bits = other.labels?[from], bits != 0 { labelled()[row] = bits } else { labels?[row] = 0 }
        guard marks[row] != 0 else { return }
        jobs[row] = other.jobs[from]
        let job = job(row)
        job.page = self
        job.row = Int32(truncatingIfNeeded: row)
    }

    func leave(_ job: LiveJob) {
        marks[Int(job.row)] = 0
        job.page = nil
        alive -= 1
    }

    // MARK: Pages

    /// Drops the rows of jobs that are gone.
    func compact() {
        var kept = 0
        for row in 0..<count where marks[row] != 0 {
            if kept < row { move(row, of: self, to: kept) }
            kept += 1
        }
        count = kept
    }

    /// Takes the jobs of a page that follows, and leaves it with none.
    func take(_ other: RollPage) {
        for row in 0..<other.count where other.marks[row] != 0 {
            move(row, of: other, to: count)
            count += 1
        }
        alive += other.alive
        other.alive = 0
    }

    /// Gives the upper half of its rows to an empty page.
    func split(into upper: RollPage) -> RollPage {
        let middle = count / 2
        for row in middle..<count {
            upper.move(row, of: self, to: row - middle)
            guard marks[row] != 0 else { continue }
            upper.alive += 1
            alive -= 1
        }
        upper.count = count - middle
        count = middle
        return upper
    }

    // MARK: Looking

    /// How many rows have a smaller id.
    func rows(below id: UInt64) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if ids[middle] < id { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The last row before `end` whose job may be what is wanted; nil when there is none.
    func last(of pattern: Mark.Pattern, below end: Int) -> Int? {
        if pattern.labels != 0 {
            guard let labels else { return nil }
            for row in stride(from: end - 1, through: 0, by: -1)
            where labels[row] & pattern.labels == pattern.labels && pattern.fits(marks[row]) { return row }
            return nil
        }
        var row = end
        while row > 0 {
            row -= 1
            if pattern.fits(marks[row]) { return row }
        }
        return nil
    }
}
