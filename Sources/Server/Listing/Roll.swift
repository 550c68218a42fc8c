import Jobs
import Store

/// The accepted jobs in the order of their ids, each with a ``Mark``: lists look through the marks, whatever they ask for.
///
/// ```
///   pages, older ones first        one page
///   ┌─────┬─────┬─────┬─────┐       ids     3  4  7  9 …    in order; those of jobs that are gone, too
///   │     │     │     │     │       marks   ■  0  ■  ■ …    0: the job is gone
///   └─────┴─────┴─────┴─────┘       labels  □  □  □  ■ …    only where any job has one
/// ```
///
/// Each job knows its row, so a change of its state is one word. No page is ever rebuilt with more than its own rows.
struct Roll: ~Copyable {
    /// Jobs whose marks fit and which are not what is wanted, before the rest is left to the next page of the list.
    private static let mostLooks = 20_000

    private var pages: [RollPage] = []
    /// An empty one for the next time: jobs that come and go beside others that stay cost no memory.
    private var spare: RollPage?
    /// Jobs of one queue come in a row.
    private var lastQueue = (name: "", bits: Mark.bits(ofQueue: ""))

    /// Rows that are held, of jobs that are gone too.
    var rows: Int { pages.reduce(0) { $0 + $1.count } }

    // MARK: Changes

    mutating func add(_ job: LiveJob) {
        let mark = mark(of: job)
        count(job, mark, 1)
        let id = job.record.id.rawValue
        if let last = pages.last, last.count < RollPage.capacity, last.lastID < id { return last.append(job, mark) }
        // A submission may overtake another on its way to the disk, by little.
        var index = pages.count - 1
        while index >= 0, pages[index].count > 0, pages[index].ids[0] > id { index -= 1 }
        if index < 0, pages.isEmpty { return append(job, mark) }
        let page = pages[max(index, 0)]
        if page.count == RollPage.capacity, page.alive <= RollPage.capacity / 2 { page.compact() }
        if page.count == RollPage.capacity {
            if page === pages.last, page.lastID < id { return append(job, mark) }
            let upper = page.split(into: freshPage())
            pages.insert(upper, at: max(index, 0) + 1)
            return (upper.ids[0] < id ? upper : page).insert(job, mark)
        }
        page.insert(job, mark)
    }

    /// The job's state has changed.
    func changed(_ job: LiveJob) {
        guard let page = job.page else { return }
        let row = Int(job.row)
        let before = page.marks[row]
        let mark = Mark.moved(before, to: job.record.state)
        page.marks[row] = mark
        count(job, before, -1)
        count(job, mark, 1)
    }

    mutating func remove(_ job: LiveJob) {
        guard let page = job.page else { return }
        count(job, page.marks[Int(job.row)], -1)
        page.leave(job)
        if page.alive == 0 {
            drop(page)
        } else if page.alive < RollPage.capacity / 4, page.alive % 64 == 0 {
            join(page)
        }
    }

    private mutating func append(_ job: LiveJob, _ mark: UInt64) {
        let page = freshPage()
        pages.append(page)
        page.append(job, mark)
    }

    private mutating func freshPage() -> RollPage {
        defer { spare = nil }
        return spare ?? RollPage()
    }

    private mutating func drop(_ page: RollPage) {
        if pages.count > 1 {
            pages.remove(at: index(of: page))
            spare = page
        }
        page.count = 0
    }

    /// Two pages of few jobs become one: the memory of a peak is not kept for those that stay.
    private mutating func join(_ page: RollPage) {
        let index = index(of: page)
        for first in [index - 1, index] where first >= 0 && first + 1 < pages.count {
            let (one, other) = (pages[first], pages[first + 1])
            guard one.alive + other.alive <= RollPage.capacity / 2 else { continue }
            one.compact()
            one.take(other)
            pages.remove(at: first + 1)
            other.count = 0
            spare = other
            return
        }
    }

    private func index(of page: RollPage) -> Int {
        let id = page.ids[0]
        var (low, high) = (0, pages.count)
        while low < high {
            let middle = (low + high) / 2
            if pages[middle].ids[0] < id { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// What the job's task has of jobs that wait or run.
    private func count(_ job: LiveJob, _ mark: UInt64, _ change: Int) {
        if mark & Mark.waiting != 0 { job.entry.waiting += change } else { job.entry.running += change }
    }

    private mutating func mark(of job: LiveJob) -> UInt64 {
        let record = job.record
        if record.queue != lastQueue.name { lastQueue = (record.queue, Mark.bits(ofQueue: record.queue)) }
        return Mark.bit(record.state) | Mark.bits(of: record.pool) | lastQueue.bits | job.entry.mark
    }

    // MARK: Looking

    /// Jobs that match, newest first.
    func newest(_ query: JobQuery) -> JobPage {
        var found: [JobRecord] = []
        let pattern = Mark.Pattern(query.filter)
        var looks = 0
        var index = pages.count
        while index > 0 {
            index -= 1
            let page = pages[index]
            var row = query.before.map { page.rows(below: $0.rawValue) } ?? page.count
            while let next = page.last(of: pattern, below: row) {
                row = next
                let record = page.job(row).record
                if query.filter.matches(record) {
                    found.append(record)
                    if found.count == query.limit { return JobPage(found, resume: record.id) }
                } else {
                    looks += 1
                    if looks == Self.mostLooks { return JobPage(found, resume: record.id) }
                }
            }
        }
        return JobPage(found, resume: nil)
    }

    /// Calls `body` with each job whose attempt is in a pool's hands.
    func forEachRunning(_ body: (LiveJob) -> Void) {
        for page in pages {
            for row in 0..<page.count where page.marks[row] & Mark.running != 0 { body(page.job(row)) }
        }
    }
}
