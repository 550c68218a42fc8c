/// What became of the calls that a dead worker had in hand and had not answered: from what it said while it lived, not from
/// what one would expect.
struct Autopsy {
    /// What the worker has said of itself, by the numbers of its calls; they grow in the order of handing over.
    struct Said: Equatable {
        /// The last call of the line that has begun.
        var begun = 0
        /// The last concurrent call that has begun.
        var besideBegun = 0
        /// The concurrent call whose code ran at that moment; 0: none.
        var step = 0
    }

    enum Fate: Equatable {
        /// It ran, and the worker died of it; or nobody can say of which of those that ran.
        case killer
        /// It ran when another one killed the worker.
        case bystander
        /// It never began.
        case returned
        /// It never began, and nothing else was in hand that can have killed the worker: reading it may have.
        case suspect
    }

    private let said: Said?
    private let running: Set<Int>
    private let culprits: Set<Int>
    private let suspect: Int?

    /// - Parameters:
    ///   - line: Calls that wait for each other, in order.
    ///   - beside: Concurrent calls.
    ///   - said: nil: the worker says nothing, so the first in line is taken to run, and all that is concurrent.
    ///   - stopped: Calls that the worker was killed for.
    ///   - diedByItself: Whether nobody else has killed the worker.
    init(line: [Int], beside: [Int], said: Said?, stopped: Set<Int>, diedByItself: Bool) {
        self.said = said
        let ran = said.map { said in line.filter { $0 <= said.begun } } ?? Array(line.prefix(1))
        let ranBeside = said.map { said in beside.filter { $0 <= said.besideBegun } } ?? beside
        running = Set(ran + ranBeside)
        if !stopped.isEmpty {
            // Of those some may have waited behind a loop that does not move: who ran there is no culprit for that.
            culprits = running.intersection(stopped)
        } else {
            var known = Set(ran)
            if let said, ranBeside.contains(said.step) { known.insert(said.step) }
            // Between the steps of coroutines, or in what one of them has started: it may be any of them.
            culprits = known.isEmpty ? Set(ranBeside) : known
        }
        suspect = running.isEmpty && diedByItself ? line.first ?? beside.min() : nil
    }

    /// Whether work may have killed it.
    var ranSomething: Bool { !running.isEmpty }

    func fate(of call: Int) -> Fate {
        if culprits.contains(call) { return .killer }
        if running.contains(call) { return .bystander }
        return call == suspect ? .suspect : .returned
    }
}
