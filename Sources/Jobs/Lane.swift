/// The jobs of one queue that wait for one pool: higher priority first, then first in, first out.
struct Lane {
    struct Ticket {
        let id: JobID
        /// Grows over all lanes: tells which of two heads came first.
        let order: UInt64
    }

    private struct Level {
        let priority: Int
        var tickets = FIFO<Ticket>()
        /// Tickets whose job still waits.
        var waiting = 0
    }

    /// Highest priority first; few, because priorities are bounded.
    private var levels: [Level] = []

    /// Jobs that wait.
    private(set) var depth = 0

    /// - Returns: The position, from 1.
    mutating func append(_ id: JobID, priority: Int, order: UInt64) -> Int {
        let index = levelIndex(for: priority)
        levels[index].tickets.append(Ticket(id: id, order: order))
        levels[index].waiting += 1
        depth += 1
        return levels[...index].reduce(0) { $0 + $1.waiting }
    }

    /// Bad tickets that a level may hold beyond those that wait.
    private static let tolerated = 1024

    /// Forgets a waiting job; its ticket is dropped when it comes up, or when most are bad.
    mutating func remove(priority: Int, isGood: (Ticket) -> Bool) {
        let index = levelIndex(for: priority)
        levels[index].waiting -= 1
        depth -= 1
        guard levels[index].tickets.count > 2 * levels[index].waiting + Self.tolerated else { return }
        levels[index].tickets.keep(where: isGood)
    }

    /// Tickets, of jobs that do not wait any more too.
    var tickets: Int { levels.reduce(0) { $0 + $1.tickets.count } }

    /// The first ticket that is still good, with its priority. Drops the others on the way.
    mutating func first(isGood: (Ticket) -> Bool) -> (ticket: Ticket, priority: Int)? {
        for index in levels.indices where levels[index].waiting > 0 {
            if let ticket = head(of: index, isGood) { return (ticket, levels[index].priority) }
        }
        return nil
    }

    /// The first good ticket of each priority. Drops the others on the way: whoever asks again walks over none of them.
    mutating func heads(isGood: (Ticket) -> Bool) -> [JobID] {
        levels.indices.compactMap { levels[$0].waiting == 0 ? nil : head(of: $0, isGood)?.id }
    }

    private mutating func head(of level: Int, _ isGood: (Ticket) -> Bool) -> Ticket? {
        while let ticket = levels[level].tickets.first {
            if isGood(ticket) { return ticket }
            _ = levels[level].tickets.popFirst()
        }
        return nil
    }

    /// Takes the ticket that `first` returned.
    mutating func popFirst(priority: Int) {
        let index = levelIndex(for: priority)
        _ = levels[index].tickets.popFirst()
        levels[index].waiting -= 1
        depth -= 1
    }

    /// How many wait before the ticket with this order, plus one; jobs that were cancelled meanwhile may be among them.
    func position(of order: UInt64, priority: Int) -> Int {
        var ahead = 0
        for level in levels where level.priority >= priority {
            if level.priority > priority {
                ahead += level.waiting
            } else {
                ahead += level.tickets.count(while: { $0.order < order })
            }
        }
        return ahead + 1
    }

    private mutating func levelIndex(for priority: Int) -> Int {
        if let first = levels.first, first.priority == priority { return 0 }
        if let index = levels.firstIndex(where: { $0.priority <= priority }) {
            if levels[index].priority == priority { return index }
            levels.insert(Level(priority: priority), at: index)
            return index
        }
        levels.append(Level(priority: priority))
        return levels.count - 1
    }
}
