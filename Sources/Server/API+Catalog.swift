import HTTP
import JSON
import Jobs
import Pools
import Store

/// What there is: tasks, queues, pools.
extension API {
    func listTasks(_ exchange: Exchange, _: String) throws(Problem) {
        list(exchange, "tasks", engine.registry.all) { $0.append(task: $1.task) }
    }

    func showTask(_ exchange: Exchange, _ name: String) throws(Problem) {
        guard let entry = engine.registry[name] else {
            throw .notFound(engine.registry.unknown(name))
        }
        show(exchange) { $0.append(task: entry.task) }
    }

    func listQueues(_ exchange: Exchange, _: String) throws(Problem) {
        let names = Set(engine.scheduler.queueNames + ["default"]).sorted()
        list(exchange, "queues", names) { $0.append(queue: $1, of: self.engine) }
    }

    func showQueue(_ exchange: Exchange, _ name: String) throws(Problem) {
        guard name == "default" || engine.scheduler.queueNames.contains(where: { $0.isExactly(name) }) else {
            throw .notFound("there is no queue \"\(name)\"; a queue exists once a job has named it")
        }
        show(exchange) { $0.append(queue: name, of: engine) }
    }

    func listPools(_ exchange: Exchange, _: String) throws(Problem) {
        list(exchange, "pools", PoolName.allCases) { $0.append(pool: $1, of: self.engine) }
    }

    func showPool(_ exchange: Exchange, _ name: String) throws(Problem) {
        guard let pool = PoolName(rawValue: name) else { throw .notFound("there is no pool \"\(name)\"") }
        show(exchange) { $0.append(pool: pool, of: engine) }
    }

    // MARK: Changing them, until they are changed again

    /// `{"capacity":8}`; null: as configured.
    func changePool(_ exchange: Exchange, _ name: String) throws(Problem) {
        guard let pool = PoolName(rawValue: name).flatMap({ engine.pool($0) }) else {
            throw .notFound("there is no pool \"\(name)\"")
        }
        let members = try Self.object(exchange.takeBody(), knowing: ["capacity"])
        guard let capacity = members["capacity"] else { throw .invalid("/capacity", "is required") }
        let bounds = pool.name == .loop ? 1...100_000 : 1...1024
        let slots = capacity.integer
        guard capacity == .null || slots.map(bounds.contains) == true else {
            throw .invalid(
                "/capacity", "must be a whole number from \(bounds.lowerBound) to \(bounds.upperBound), or null")
        }
        if engine.store.refusesJobs != nil { throw .notStored }
        try engine.set([.poolResized(pool.name, slots)]) { [unowned self] in
            show(exchange) { $0.append(pool: pool.name, of: engine) }
        }
    }

    /// `{"paused":true,"limit":1000}`, either or both; a limit of null: as configured.
    func changeQueue(_ exchange: Exchange, _ name: String) throws(Problem) {
        guard TaskDefinition.isValid(name: name) else { throw .notFound("there is no queue \"\(name)\"") }
        guard engine.scheduler.depth(forSubmissionTo: name) != nil else { throw .tooManyQueues }
        let members = try Self.object(exchange.takeBody(), knowing: ["paused", "limit"])
        var controls: [Control] = []
        if let value = members["limit"] {
            let limit = value.integer
            guard value == .null || limit.map((0...10_000_000).contains) == true else {
                throw .invalid("/limit", "must be a whole number from 0 to 10000000, or null")
            }
            controls.append(.queueLimited(name, limit))
        }
        if let value = members["paused"] {
            guard let paused = value.bool else { throw .invalid("/paused", "expected boolean, got \(value.typeName)") }
            controls.append(.queuePaused(name, paused))
        }
        if engine.store.refusesJobs != nil { throw .notStored }
        try engine.set(controls) { [unowned self] in
            show(exchange) { $0.append(queue: name, of: engine) }
        }
    }

    private func list<Element>(
        _ exchange: Exchange, _ name: StaticString, _ elements: [Element], _ write: (inout [UInt8], Element) -> Void
    ) {
        show(exchange) { body in
            body.append("{\"")
            body.append(name)
            body.append("\":[")
            for (index, element) in elements.enumerated() {
                if index > 0 { body.append(",") }
                write(&body, element)
            }
            body.append("]}")
        }
    }

    private func show(_ exchange: Exchange, _ write: (inout [UInt8]) -> Void) {
        var body: [UInt8] = []
        write(&body)
        body.append("\n")
        exchange.respond(.json(200, body))
    }
}

extension [UInt8] {
    fileprivate mutating func append(task: TaskDefinition) {
        append(#"{"name":"#)
        append(jsonString: task.name)
        append(#","kind":"#)
        append(jsonString: task.kind.rawValue)
        append(#","description":"#)
        append(jsonString: task.description)
        append(#","pools":["#)
        for (index, pool) in task.pools.enumerated() {
            if index > 0 { append(",") }
            append(jsonString: pool.rawValue)
        }
        append(#"],"input":"#)
        task.input.source.write(to: &self)
        append(#","output":"#)
        if let output = task.output { output.source.write(to: &self) } else { append("true") }
        append(#","defaults":{"pool":"#)
        append(jsonString: task.pools[0].rawValue)
        append(#","queue":"default","priority":0,"timeout":"#)
        if let timeout = task.timeout { append(jsonString: timeout.text) } else { append("null") }
        append(#","max_attempts":"#)
        append(integer: task.maxAttempts)
        append("}}")
    }

    mutating func append(queue name: String, of engine: Engine) {
        let oldest = engine.oldestWaiting(in: name)
        append(#"{"name":"#)
        append(jsonString: name)
        append(#","depth":"#)
        append(integer: engine.scheduler.depth(of: name))
        append(#","oldest_seconds":"#)
        if let oldest { append(seconds: (engine.now - oldest).nanoseconds) } else { append("null") }
        append(#","drain_rate":"#)
        append(number: ((engine.queueMeters[name]?.rate ?? 0) * 100).rounded() / 100)
        append(#","paused":"#)
        append(engine.scheduler.isPaused(name) ? "true" : "false")
        append(#","limit":"#)
        append(integer: engine.queueLimit(name))
        append("}")
    }

    fileprivate mutating func append(pool name: PoolName, of engine: Engine) {
        let pool = engine.pool(name)
        let workers = pool?.workers ?? []
        let reason = pool == nil ? "this server has no \(name.rawValue) pool" : pool?.unavailable
        append(#"{"name":"#)
        append(jsonString: name.rawValue)
        append(#","capacity":"#)
        append(integer: engine.scheduler.load(of: name).slots)
        append(#","busy":"#)
        append(integer: Swift.min(engine.scheduler.load(of: name).busy, engine.scheduler.load(of: name).slots))
        append(#","waiting":"#)
        append(integer: engine.scheduler.waiting(for: name))
        append(#","workers":["#)
        for (index, worker) in workers.enumerated() {
            if index > 0 { append(",") }
            append(worker: worker)
        }
        append(#"],"available":"#)
        append(reason == nil ? "true" : "false")
        append(#","reason":"#)
        if let reason { append(jsonString: reason) } else { append("null") }
        append("}")
    }

    private mutating func append(worker: WorkerStatus) {
        append(#"{"id":"#)
        append(jsonString: worker.id)
        append(#","pid":"#)
        if let pid = worker.pid { append(integer: pid) } else { append("null") }
        append(#","state":"#)
        append(jsonString: worker.state.rawValue)
        append(#","job":"#)
        if let job = worker.job { append(jsonString: job.description) } else { append("null") }
        append("}")
    }
}
