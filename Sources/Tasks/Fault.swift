import Glibc
import JSON
import Jobs
import Pools

/// `{"how":"segv"}`: fails, in every way in which user code fails. With `--demo-faults` only, in worker processes only.
func faultTask() -> TaskDefinition {
    TaskDefinition(
        name: "fault", kind: .cpu, description: "Fails on purpose: throw, exit, segv, oom, fork, kill, hang or spin",
        input: schema([
            "type": "object", "required": ["how"], "additionalProperties": false,
            "properties": ["how": ["enum": ["throw", "exit", "segv", "oom", "fork", "kill", "hang", "spin"]]],
        ]),
        pools: [.process],
        body: .function(
            blocking: { input, context in
                // From here on it is at it.
                context.report(Progress(0, of: 1, message: input["how"]?.string))
                switch input["how"]?.string {
                case "exit": exit(3)
                case "segv": kill(getpid(), SIGSEGV)
                case "oom": eatMemory()
                case "fork": startManyProcesses()
                case "kill": kill(0, SIGKILL)
                case "hang": while true { pause() }
                case "spin":
                    var spins: UInt64 = 0
                    while true { spins &+= 1 }
                default: break
                }
                throw TaskFailure(type: "Fault", message: "thrown on purpose")
            }, async: nil))
}

/// `MADV_POPULATE_WRITE` (madvise(2), Linux 5.14).
private let populateForWriting: CInt = 23

/// Takes memory and touches it until somebody stops it.
private func eatMemory() -> Never {
    let bytes = 16 * 1024 * 1024
    while true {
        // By mapping: what nobody reads could otherwise be left out by the compiler.
        let block = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if let block, block != MAP_FAILED { madvise(block, bytes, populateForWriting) }
        usleep(2000)
    }
}

/// Starts processes, thousands of them, until somebody stops it.
private func startManyProcesses() -> Never {
    let words: [String] = ["sleep", "60"]
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
    arguments.append(nil)
    var pid: pid_t = 0
    // Bounded, because the limit that is to stop it may be switched off.
    for _ in 0..<4000 where posix_spawnp(&pid, "sleep", nil, nil, &arguments, environ) != 0 { break }
    while true { pause() }
}
