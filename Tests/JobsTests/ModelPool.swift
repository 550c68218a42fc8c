@testable import Jobs

/// A pool as a machine of its own will: it seats what it is given in any order, lets calls wait in its workers, runs some
/// beside each other, tells later what has happened, and its workers die at any moment, between an effect and its answer
/// too. It knows nothing of what the scheduler believes.
struct ModelPool {
    /// How it tells what a worker has done.
    enum Telling {
        /// As the worker says: what began, what ended, and what never began.
        case said
        /// As somebody would count who only sees answers: the first in line runs, the rest never began, and who was given a
        /// place runs at once.
        case counted
    }

    struct Call {
        let id: JobID
        let attempt: Int
        let grant: Int
        let isLight: Bool
        var isAsked = false
        var isHeld = false
        var hasBegun = false
        var isToldToHaveBegun = false
        /// How its code has ended; its answer may still lie in the worker.
        var end: AttemptEnd?

        var runs: Bool { hasBegun && end == nil }
    }

    enum Report {
        case began(JobID, grant: Int)
        case ended(JobID, grant: Int, AttemptEnd)
    }

    /// What is true, whoever is told of it.
    enum Fact {
        case began(Call)
        case ended(Call, AttemptEnd)
    }

    private struct Worker {
        /// One after the other, answered in order.
        var line: [Call] = []
        /// All at once.
        var beside: [Call] = []

        var isIdle: Bool { line.isEmpty && beside.isEmpty }
    }

    private static let besideEachOther = 3

    let telling: Telling
    private(set) var ahead = 0
    private var waiting: [Call] = []
    private var workers: [Worker] = []
    /// What has been told and not yet been heard.
    private(set) var mail: [Report] = []
    private(set) var facts: [Fact] = []

    init(_ telling: Telling) { self.telling = telling }

    var isEmpty: Bool { waiting.isEmpty && workers.allSatisfy(\.isIdle) && mail.isEmpty }

    // MARK: For the scheduler's side

    mutating func resize(to slots: Int, ahead: Int) {
        self.ahead = ahead
        while workers.count < slots { workers.append(Worker()) }
        while workers.count > slots, let idle = workers.firstIndex(where: \.isIdle) { workers.remove(at: idle) }
    }

    mutating func start(_ id: JobID, attempt: Int, grant: Int, isLight: Bool) {
        waiting.append(Call(id: id, attempt: attempt, grant: grant, isLight: isLight))
    }

    mutating func stop(_ id: JobID, grant: Int) {
        if let place = waiting.firstIndex(where: { $0.id == id && $0.grant == grant }) {
            waiting.remove(at: place)
            mail.append(.ended(id, grant: grant, .stopped(.beforeStart)))
        } else {
            change(id, grant) { $0.isAsked = true }
        }
    }

    mutating func hold(_ id: JobID, grant: Int, _ isHeld: Bool) { change(id, grant) { $0.isHeld = isHeld } }

    mutating func takeMail() -> Report? { mail.isEmpty ? nil : mail.removeFirst() }

    mutating func takeFacts() -> [Fact] {
        defer { facts = [] }
        return facts
    }

    private mutating func change(_ id: JobID, _ grant: Int, _ change: (inout Call) -> Void) {
        for worker in workers.indices {
            for place in workers[worker].line.indices where workers[worker].line[place].id == id {
                change(&workers[worker].line[place])
            }
            for place in workers[worker].beside.indices where workers[worker].beside[place].id == id {
                change(&workers[worker].beside[place])
            }
        }
    }

    // MARK: Its own life

    /// One thing happens in it, or nothing.
    mutating func step(_ random: inout SeededRandom) {
        guard !workers.isEmpty else { return }
        let worker = Int.random(in: workers.indices, using: &random)
        switch Int.random(in: 0..<20, using: &random) {
        case 0..<5: seat(&random)
        case 5..<10: begin(in: worker, &random)
        case 10..<14: finish(in: worker, &random)
        case 14..<18: tell(from: worker, upTo: Int.random(in: 1...4, using: &random))
        case 18: if workers[worker].line.contains(where: \.isAsked) { die(worker, &random) }
        default: if Int.random(in: 0..<3, using: &random) == 0 { die(worker, &random) }
        }
    }

    /// Everything that is in it goes on, and is told, without harm.
    mutating func rest(_ random: inout SeededRandom) {
        for worker in workers.indices {
            seat(&random)
            for place in workers[worker].line.indices { workers[worker].line[place].isHeld = false }
            for place in workers[worker].beside.indices { workers[worker].beside[place].isHeld = false }
            begin(in: worker, &random)
            finish(in: worker, &random)
            tell(from: worker, upTo: .max)
        }
    }

    private mutating func seat(_ random: inout SeededRandom) {
        guard let place = waiting.indices.randomElement(using: &random) else { return }
        let isLight = waiting[place].isLight
        let free = workers.indices.filter {
            isLight ? workers[$0].beside.count < Self.besideEachOther : workers[$0].line.count <= ahead
        }
        guard let worker = free.randomElement(using: &random) else { return }
        let call = waiting.remove(at: place)
        if isLight { workers[worker].beside.append(call) } else { workers[worker].line.append(call) }
    }

    private mutating func begin(in worker: Int, _ random: inout SeededRandom) {
        if let place = workers[worker].line.firstIndex(where: { $0.end == nil }), !workers[worker].line[place].hasBegun
        {
            workers[worker].line[place].hasBegun = true
            facts.append(.began(workers[worker].line[place]))
            if Bool.random(using: &random), telling == .said { Self.tellBeginning(&workers[worker].line[place], &mail) }
        }
        if let place = workers[worker].beside.firstIndex(where: { !$0.hasBegun }) {
            workers[worker].beside[place].hasBegun = true
            facts.append(.began(workers[worker].beside[place]))
            if Bool.random(using: &random) { Self.tellBeginning(&workers[worker].beside[place], &mail) }
        }
    }

    private mutating func finish(in worker: Int, _ random: inout SeededRandom) {
        if let place = workers[worker].line.firstIndex(where: { $0.runs && !$0.isHeld }) {
            let end = someEnd(workers[worker].line[place], &random)
            workers[worker].line[place].end = end
            facts.append(.ended(workers[worker].line[place], end))
        }
        if let place = workers[worker].beside.firstIndex(where: { $0.runs && !$0.isHeld }) {
            let end = someEnd(workers[worker].beside[place], &random)
            workers[worker].beside[place].end = end
            facts.append(.ended(workers[worker].beside[place], end))
        }
    }

    private func someEnd(_ call: Call, _ random: inout SeededRandom) -> AttemptEnd {
        if call.isAsked, Bool.random(using: &random) { return .stopped(.cooperative) }
        switch Int.random(in: 0..<10, using: &random) {
        case 0..<7: return .succeeded
        default: return .failed(canRetry: Bool.random(using: &random))
        }
    }

    private static func tellBeginning(_ call: inout Call, _ mail: inout [Report]) {
        guard !call.isToldToHaveBegun else { return }
        call.isToldToHaveBegun = true
        mail.append(.began(call.id, grant: call.grant))
    }

    /// Answers what has ended, in order, and says what has begun.
    private mutating func tell(from worker: Int, upTo count: Int) {
        var left = count
        while left > 0, var first = workers[worker].line.first, first.hasBegun {
            if telling == .said || first.end == nil { Self.tellBeginning(&first, &mail) }
            workers[worker].line[0] = first
            guard let end = first.end else { break }
            workers[worker].line.removeFirst()
            mail.append(.ended(first.id, grant: first.grant, end))
            left -= 1
        }
        var staying: [Call] = []
        for var call in workers[worker].beside {
            if call.hasBegun { Self.tellBeginning(&call, &mail) }
            if let end = call.end, left > 0 {
                mail.append(.ended(call.id, grant: call.grant, end))
                left -= 1
            } else {
                staying.append(call)
            }
        }
        workers[worker].beside = staying
    }

    // MARK: Its deaths

    private mutating func die(_ number: Int, _ random: inout SeededRandom) {
        var worker = workers[number]
        workers[number] = Worker()
        // With nothing running in it, the next one that it was given may have killed it as it was read.
        let ranNothing = !worker.line.contains(where: \.runs) && !worker.beside.contains(where: \.runs)
        let suspect = ranNothing ? worker.line.firstIndex { !$0.hasBegun } : nil
        for place in worker.line.indices {
            var call = worker.line[place]
            let truth: AttemptEnd =
                call.hasBegun ? call.end ?? deathOf(call) : place == suspect ? deathOf(call) : .returned
            if call.end == nil { facts.append(.ended(call, truth)) }
            if telling == .counted {
                mail.append(.ended(call.id, grant: call.grant, place == 0 ? deathOf(call) : .returned))
            } else {
                if call.hasBegun { Self.tellBeginning(&call, &mail) }
                mail.append(.ended(call.id, grant: call.grant, truth))
            }
        }
        // One of those that ran beside each other has killed it, and may be known.
        let running = worker.beside.indices.filter { worker.beside[$0].runs }
        let culprit = running.randomElement(using: &random)
        for place in worker.beside.indices {
            var call = worker.beside[place]
            if call.hasBegun { Self.tellBeginning(&call, &mail) }
            let truth: AttemptEnd =
                !call.hasBegun ? .returned : call.end ?? (place == culprit ? deathOf(call) : .bystander)
            if call.runs { facts.append(.ended(call, truth)) }
            mail.append(.ended(call.id, grant: call.grant, truth))
        }
        worker.line = []
    }

    private func deathOf(_ call: Call) -> AttemptEnd { call.isAsked ? .stopped(.sigkill) : .crashed }
}
