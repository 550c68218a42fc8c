import JSON
import Jobs

extension Usage {
    /// The optional member `usage` of a worker's result, with the names of the job's own `usage`.
    ///
    /// - Parameter doubt: Called with what is out of all range, and was cut.
    init(workerReported value: JSONValue?, doubt: (String) -> Void) {
        self.init()
        guard let value else { return }
        func count(_ name: String) -> Int? {
            let member = value[name]
            // What nearly all say, without a fraction in between.
            if case .integer(let given)? = member, Int.counts.contains(given) { return given }
            guard let given = member?.number else { return nil }
            if !(0...Double(Int.counts.upperBound)).contains(given) { doubt("its \(name) is \(given)") }
            return Int(saturating: given).asCount
        }
        let seconds = value["cpu_seconds"]?.number ?? 0
        if !(0...1e9).contains(seconds) { doubt("its cpu_seconds is \(seconds)") }
        cpuNanoseconds = Duration(seconds: min(seconds, 1e9)).nanoseconds
        maxRSSBytes = count("max_rss_bytes")
        voluntarySwitches = count("voluntary_switches") ?? 0
        involuntarySwitches = count("involuntary_switches") ?? 0
    }
}
