/// What is due when: a binary heap whose overtaken entries are dropped when they come up, or all at once when they are
/// more than half.
struct DueTimes {
    enum Cause: Equatable { case start, retry, timeout }

    struct Entry: Equatable {
        var at: Instant
        let id: JobID
        /// The attempt that was current when the entry was made: the entry counts only while it still is.
        let grant: Int
        let cause: Cause
        /// A time of the day, not so long from now.
        var followsWall = false
    }

    private(set) var heap: [Entry] = []
    private var overtaken = 0

    var next: Instant? { heap.first?.at }

    mutating func insert(_ entry: Entry) {
        heap.append(entry)
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].at < heap[parent].at else { break }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    /// Takes the first entry if its time has come.
    mutating func popDue(at now: Instant) -> Entry? {
        guard let first = heap.first, first.at <= now else { return nil }
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            siftDown(from: 0)
        }
        // The memory of a peak is given back.
        if heap.capacity > 8192, heap.count * 8 < heap.capacity { heap = heap.map { $0 } }
        return first
    }

    /// Notes that one entry no longer matters.
    ///
    /// - Returns: Whether it is time to ``tidy(isLive:)``.
    mutating func overtake() -> Bool {
        overtaken += 1
        return overtaken > 1024 && overtaken * 2 > heap.count
    }

    /// One that no longer mattered came up.
    mutating func passed() { overtaken = max(overtaken - 1, 0) }

    /// The clock has been set: what is due in some time is due in as much time.
    mutating func shift(by step: Duration) {
        for index in heap.indices where !heap[index].followsWall { heap[index].at = heap[index].at + step }
        order()
    }

    /// Drops what no longer matters.
    mutating func tidy(isLive: (Entry) -> Bool) {
        heap = heap.filter(isLive)
        overtaken = 0
        order()
    }

    private mutating func order() {
        for index in stride(from: heap.count / 2 - 1, through: 0, by: -1) { siftDown(from: index) }
    }

    private mutating func siftDown(from start: Int) {
        var parent = start
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < heap.count && heap[child].at < heap[least].at { least = child }
            guard least != parent else { return }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
