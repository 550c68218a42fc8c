import Jobs
import Store

/// Lists of live and finished jobs together.
///
/// A page may have fewer jobs than asked for, or none, and still be followed by another one. Over all pages a job that
/// matches all the while is there once, whatever happens to it and to others meanwhile.
final class JobLists {
    private let store: any JobStore
    /// Live jobs that match, newest first.
    var live: (JobQuery) -> JobPage = { _ in JobPage([], resume: nil) }
    private var reads: [Read] = []

    init(_ store: any JobStore) { self.store = store }

    /// One list that waits for the disk. What is read may not have a job that ends meanwhile, and it is not live any more.
    private final class Read {
        let query: JobQuery
        /// Jobs that have ended since, newest first, and no more than the list can have.
        private(set) var left: [JobRecord] = []

        init(_ query: JobQuery) { self.query = query }

        func note(_ record: JobRecord) {
            if let before = query.before, record.id >= before { return }
            guard query.filter.matches(record) else { return }
            left.insert(record, at: left.firstIndex { $0.id < record.id } ?? left.count)
            if left.count > query.limit { left.removeLast() }
        }
    }

    /// A job's end is stored, and it is not live any more.
    func left(_ record: JobRecord) {
        for read in reads { read.note(record) }
    }

    /// One page of jobs that match, newest first.
    func list(_ query: JobQuery, _ then: @escaping (Result<JobPage, StoreFailure>) -> Void) {
        var wanted = query
        // One more than asked for tells whether there is a next page.
        wanted.limit += 1
        let read = Read(wanted)
        reads.append(read)
        store.list(wanted) { [unowned self] found in
            reads.removeAll { $0 === read }
            then(found.map { join(wanted, $0, read.left) })
        }
    }

    private func join(_ wanted: JobQuery, _ finished: JobPage, _ left: [JobRecord]) -> JobPage {
        let live = self.live(wanted)
        var jobs = finished.jobs
        var listed = Set(jobs.map(\.id))
        for record in live.jobs + left where listed.insert(record.id).inserted { jobs.append(record) }
        jobs.sort { $0.id > $1.id }
        // Beyond the place where either search stopped, there may be more.
        let resume = [live.resume, finished.resume].compactMap(\.self).max()
        if let resume { jobs.removeAll { $0.id < resume } }
        guard jobs.count >= wanted.limit else { return JobPage(jobs, resume: resume) }
        jobs.removeSubrange((wanted.limit - 1)...)
        return JobPage(jobs, resume: jobs.last?.id)
    }
}
