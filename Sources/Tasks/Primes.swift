import JSON
import Jobs
import Pools

/// `{"limit":10000000}` → `{"count":664579,"largest":9999991}`: the primes up to and including the limit.
func primesTask() -> TaskDefinition {
    TaskDefinition(
        name: "primes", kind: .cpu, description: "Counts the primes up to a limit",
        input: schema([
            "type": "object", "additionalProperties": false,
            "properties": [
                "limit": ["type": "integer", "minimum": 0, "maximum": 100_000_000_000, "default": 10_000_000]
            ],
        ]),
        output: schema([
            "type": "object",
            "properties": ["count": ["type": "integer"], "largest": ["type": ["integer", "null"]]],
        ]),
        pools: [.thread, .process],
        body: .function(
            blocking: { input, context in
                let (count, largest) = try countPrimes(upTo: integer("limit", of: input, or: 10_000_000), context)
                return object(["count": .integer(count), "largest": largest.map(JSONValue.integer) ?? .null])
            }, async: nil))
}

/// A segmented sieve of Eratosthenes over odd numbers: one segment fits a second-level cache and takes about a millisecond.
private func countPrimes(upTo limit: Int, _ context: any TaskContext) throws -> (count: Int, largest: Int?) {
    guard limit >= 2 else { return (0, nil) }
    let base = smallPrimes(upTo: Int(saturating: Double(limit).squareRoot()) + 1)
    let span = 1 << 19
    var composite = [Bool](repeating: false, count: span / 2)
    var count = 1
    var largest = 2
    var low = 3
    while low <= limit {
        try context.checkpoint()
        let high = min(low + span - 1, limit)
        let slots = (high - low) / 2 + 1
        composite.withUnsafeMutableBufferPointer { marks in
            marks.update(repeating: false)
            for prime in base {
                let square = prime * prime
                if square > high { break }
                var first = max(square, (low + prime - 1) / prime * prime)
                if first & 1 == 0 { first += prime }
                var slot = (first - low) / 2
                while slot < slots {
                    marks[slot] = true
                    slot += prime
                }
            }
            for slot in 0..<slots where !marks[slot] {
                count += 1
                largest = low + 2 * slot
            }
        }
        context.report(Progress(Double(high), of: Double(limit), unit: "numbers", message: "sieving"))
        low += span
    }
    return (count, largest)
}

/// Odd primes up to a limit.
private func smallPrimes(upTo limit: Int) -> [Int] {
    guard limit >= 3 else { return [] }
    var composite = [Bool](repeating: false, count: limit + 1)
    var primes: [Int] = []
    for number in stride(from: 3, through: limit, by: 2) where !composite[number] {
        primes.append(number)
        for multiple in stride(from: number * number, through: limit, by: 2 * number) { composite[multiple] = true }
    }
    return primes
}
