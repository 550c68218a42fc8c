import EventLoop
import JSON
import Jobs
import Pools

/// `{"milliseconds":5}` → `{"iterations":…}`: keeps a core busy. The load tester's task.
func burnTask() -> TaskDefinition {
    TaskDefinition(
        name: "burn", kind: .cpu, description: "Keeps a core busy for a while",
        input: schema([
            "type": "object", "additionalProperties": false,
            "properties": ["milliseconds": ["type": "number", "minimum": 0, "maximum": 3_600_000, "default": 5]],
        ]),
        output: schema(["type": "object", "properties": ["iterations": ["type": "integer"]]]),
        pools: [.thread, .process],
        body: .function(
            blocking: { input, context in
                let total = (input["milliseconds"]?.number ?? 5) * 1e6
                let start = monotonicNanoseconds()
                var random = SeededRandom(seed: 1)
                var iterations = 0
                var mixed: UInt64 = 0
                while true {
                    let elapsed = Double(monotonicNanoseconds() - start)
                    if elapsed >= total { break }
                    try context.checkpoint()
                    context.report(Progress(elapsed / 1e6, of: total / 1e6, unit: "ms"))
                    for _ in 0..<1000 { mixed ^= random.next() }
                    iterations += 1000
                }
                // Without a use of what was computed the loop could be left out; a zero here is as good as never.
                if mixed == 0 { context.log("a rare number") }
                return object(["iterations": .integer(iterations)])
            }, async: nil))
}
