import Jobs

@testable import Server
@testable import Store

/// A store for tests: what one does not say itself, it does not do.
protocol TestStore: JobStore {}

extension TestStore {
    var durability: Durability { .fsync }
    var refusesJobs: String? { nil }
    func write(_: Change) -> Receipt? { nil }
    func flush() {}
    func keep(_: JobRecord) {}
    func note(_: Identity, _: JobID, at _: Instant) {}
    func earlier(_: Identity) -> Receipt? { nil }
    subscript(_: JobID) -> JobRecord? { nil }
    func find(_ id: JobID, _ then: @escaping (Result<JobRecord?, StoreFailure>) -> Void) { then(.success(self[id])) }
    func list(_: JobQuery, _ then: @escaping (Result<JobPage, StoreFailure>) -> Void) {
        then(.success(JobPage([], resume: nil)))
    }
    func tick(at _: Instant) {}
    func close(inOrder _: Bool, _ done: @escaping () -> Void) { done() }
}
