import Glibc
import JSON
import Jobs
import Pools

/// `{"how":"segv"}`: fails, in every way in which user code fails. With `--demo-faults` only, in worker processes only.
func faultTask() -> TaskDefinition {
    TaskDefinition(
        name: "fault", kind: .cpu, description: "Fails on purpose: throw, exit, segv, oom, hang or spin",
        input: schema([
            "type": "object", "required": ["how"], "additionalProperties": false,
            "properties": ["how": ["enum": ["throw", "exit", "segv", "oom", "hang", "spin"]]],
        ]),
        pools: [.process],
        body: .function(
            blocking: { input, context in
                switch input["how"]?.string {
                case "exit": exit(3)
                case "segv": kill(getpid(), SIGSEGV)
                case "oom": eatMemory()
                case "hang": while true { pause() }
                case "spin":
                    var spins: UInt64 = 0
                    while true { spins &+= 1 }
                default: break
                }
                throw TaskFailure(type: "Fault", message: "thrown on purpose")
            }, async: nil))
}

/// Takes memory and touches it until somebody stops it.
private func eatMemory() -> Never {
    let bytes = 16 * 1024 * 1024
    while true {
        if let block = malloc(bytes) { memset(block, 1, bytes) }
        usleep(2000)
    }
}
