import Jobs
import Store

/// The rows of the picture: one for each thing that can run an attempt, the lowest free one for each that starts.
struct Lanes {
    /// Rows of one pool; what exceeds them is drawn in the last one.
    static let perPool = 64

    struct Lane {
        let pool: PoolName
        /// From 1, within the pool.
        let number: Int
        fileprivate(set) var job: LiveJob?
    }

    private(set) var all: [Lane] = []
    private var places = [[Int32]](repeating: [], count: PoolName.allCases.count)

    /// Takes a row for a job that starts.
    mutating func take(_ job: LiveJob) -> Int32 {
        let pool = job.record.pool
        for place in places[pool.index] where all[Int(place)].job == nil {
            all[Int(place)].job = job
            return place
        }
        guard places[pool.index].count < Self.perPool else { return places[pool.index].last! }
        let place = Int32(all.count)
        all.append(Lane(pool: pool, number: places[pool.index].count + 1, job: job))
        places[pool.index].append(place)
        return place
    }

    mutating func free(_ lane: Int32, of job: LiveJob) {
        if all[Int(lane)].job === job { all[Int(lane)].job = nil }
    }
}
