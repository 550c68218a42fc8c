import JSON
import Jobs
import Pools

/// `{"n":100}` → `{"sum":328350}`: the sum of i² for i < n. The tiny job of every comparison.
func squaresTask() -> TaskDefinition {
    // Up to here the sum fits 64 bits, and no loop is held longer than a millisecond.
    let largest = 1_000_000
    return TaskDefinition(
        name: "squares", kind: .cpu, description: "Sum of i*i for i below n",
        input: schema([
            "type": "object", "additionalProperties": false,
            "properties": ["n": ["type": "integer", "minimum": 0, "maximum": .integer(largest), "default": 100]],
        ]),
        output: schema(["type": "object", "properties": ["sum": ["type": "integer"]]]),
        pools: [.thread, .process, .loop],
        body: .function(
            blocking: { input, _ in sumOfSquares(below: integer("n", of: input, or: 100)) },
            async: { input, _ in sumOfSquares(below: integer("n", of: input, or: 100)) }))
}

private func sumOfSquares(below n: Int) -> [UInt8] {
    var sum = 0
    for i in 0..<n { sum &+= i &* i }
    var result: [UInt8] = []
    result.reserveCapacity(32)
    result.append("{\"sum\":")
    result.append(integer: sum)
    result.append("}")
    return result
}
