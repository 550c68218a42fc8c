import JSON
import Jobs
import Pools

/// `{"samples":1000000,"seed":1}` → `{"pi":3.14…,"inside":…}`: points in a quarter circle, the same for the same seed in
/// every pool.
func piTask() -> TaskDefinition {
    TaskDefinition(
        name: "pi", kind: .cpu, description: "Estimates pi by throwing points at a circle",
        input: schema([
            "type": "object", "additionalProperties": false,
            "properties": [
                "samples": ["type": "integer", "minimum": 1, "maximum": 100_000_000_000, "default": 1_000_000],
                "seed": ["type": "integer", "minimum": 0, "default": 1],
            ],
        ]),
        output: schema([
            "type": "object", "properties": ["pi": ["type": "number"], "inside": ["type": "integer"]],
        ]),
        pools: [.thread, .process],
        body: .function(
            blocking: { input, context in
                let samples = integer("samples", of: input, or: 1_000_000)
                var random = SeededRandom(seed: UInt64(clamping: integer("seed", of: input, or: 1)))
                var inside = 0
                var done = 0
                while done < samples {
                    try context.checkpoint()
                    let batch = min(samples - done, 1 << 18)
                    for _ in 0..<batch {
                        let x = random.fraction()
                        let y = random.fraction()
                        if x * x + y * y < 1 { inside += 1 }
                    }
                    done += batch
                    context.report(Progress(Double(done), of: Double(samples), unit: "samples"))
                }
                return object(["pi": .number(4 * Double(inside) / Double(samples)), "inside": .integer(inside)])
            }, async: nil))
}
