import EventLoop
import JSON
import Jobs
import Pools

/// `{"seconds":1.5}` → `{"slept":1.5}`: waits without computing, thousands at once on the loop.
func sleepTask() -> TaskDefinition {
    // Often enough for a progress bar, seldom enough for ten thousand sleepers.
    let step = 0.05
    return TaskDefinition(
        name: "sleep", kind: .io, description: "Waits for some seconds",
        input: schema([
            "type": "object", "additionalProperties": false,
            "properties": ["seconds": ["type": "number", "minimum": 0, "maximum": 86400, "default": 1]],
        ]),
        output: schema(["type": "object", "properties": ["slept": ["type": "number"]]]),
        pools: [.loop, .thread, .process],
        body: .function(
            blocking: { input, context in
                let clock = SleepClock(input)
                while let pause = clock.next(atMost: step) {
                    try context.wait(for: pause)
                    context.report(clock.progress)
                }
                return clock.result
            },
            async: { input, context in
                let clock = SleepClock(input)
                while let pause = clock.next(atMost: step) {
                    try await context.wait(for: pause)
                    context.report(clock.progress)
                }
                return clock.result
            }))
}

private struct SleepClock {
    let seconds: Double
    let start = monotonicNanoseconds()

    init(_ input: JSONValue) { seconds = input["seconds"]?.number ?? 1 }

    private var elapsed: Double { Double(monotonicNanoseconds() - start) / 1e9 }

    /// The next pause; nil when all has been slept.
    func next(atMost step: Double) -> Duration? {
        let left = seconds - elapsed
        return left > 0 ? Duration(seconds: min(left, step)) : nil
    }

    var progress: Progress {
        Progress((min(elapsed, seconds) * 1000).rounded() / 1000, of: seconds, unit: "s")
    }

    var result: [UInt8] { object(["slept": .number(seconds)]) }
}
