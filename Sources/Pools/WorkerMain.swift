import CSpindle
import EventLoop
import Glibc
import JSON
import Jobs

/// A warm worker's own side of the protocol: this same binary, started by the process pool.
///
/// One thread. It reads descriptor 3 when it has nothing to do, and while a task runs it looks there at the task's own
/// checkpoints; so a cancel needs neither a second thread nor a signal.
package final class WorkerMain {
    /// How often a running task looks for messages.
    private static let pollInterval: Int64 = 10_000_000
    private static let descriptor: CInt = 3
    /// Answers to what took less are gathered.
    private static let quickNanoseconds: Int64 = 200_000

    private let tasks: [String: TaskDefinition]
    private var splitter = LineSplitter(maximumBytes: WorkerProtocol.maximumLine)
    private var queue: [Call] = []
    private var queueHead = 0
    /// One message, while it is made.
    private var message: [UInt8] = []
    private let state: WorkerState
    /// Where the next server reads what has begun; nil: nowhere.
    private let page = StartPage.own()
    fileprivate var current: Int?
    private var cancelled: Set<Int> = []
    private var isDraining = false
    private var lastPoll: Int64 = 0
    /// Tasks whose last run was quick.
    private var quick: Set<String> = []
    private var meter = UsageMeter()
    private var cpu = CPUAllowance()

    private struct Call {
        let id: Int
        let task: String
        let input: JSONValue
    }

    package init(tasks: [TaskDefinition]) {
        // Ours by inheritance, and not needed once it is mapped.
        if let given = getenv(WorkerState.variable).flatMap({ CInt(String(cString: $0)) }),
            let inherited = Descriptor(ifOpen: given)
        {
            state = WorkerState(mapping: inherited.number) ?? WorkerState()
        } else {
            state = WorkerState()
        }
        state[.heeds] = 1
        state[.spoken] = 1
        self.tasks = Dictionary(tasks.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// Serves until the server closes the channel or asks to drain.
    package func run() -> Never {
        signal(SIGINT, SIG_IGN)
        while true {
            // The end of one call's measuring is the beginning of the next one's.
            if queueHead < queue.count { meter = UsageMeter() }
            while queueHead < queue.count {
                let call = queue[queueHead]
                queueHead += 1
                perform(call)
            }
            queue.removeAll(keepingCapacity: true)
            queueHead = 0
            flush()
            if isDraining { exit(0) }
            receive(waiting: true)
        }
    }

    // MARK: Messages

    private func receive(waiting: Bool) {
        lastPoll = monotonicNanoseconds()
        withUnsafeTemporaryAllocation(byteCount: 64 * 1024, alignment: 1) { buffer in
            let count = spindle_receive(Self.descriptor, buffer.baseAddress, buffer.count, waiting ? 1 : 0)
            if count == 0 || count < 0 && errno != EAGAIN && errno != EINTR { exit(0) }
            guard count > 0 else { return }
            let bytes = UnsafeBufferPointer(rebasing: buffer[..<count].bindMemory(to: UInt8.self)[...])
            guard splitter.feed(bytes, line: { take($0) }).fits else { exit(1) }
        }
    }

    private func take(_ line: [UInt8]) {
        // The server is the only one who writes here; what is no JSON means that the channel is broken.
        guard let message = try? JSONReader.value(of: line, depth: JSONReader.envelopedDepth) else { exit(1) }
        let id = message["id"]?.integer
        let params = message["params"] ?? .null
        switch message["method"]?.string {
        case "initialize": if let id { initialize(id) }
        case "run":
            guard let id else { return }
            queue.append(Call(id: id, task: params["task"]?.string ?? "", input: params["input"] ?? .null))
        case "cancel": if let id = params["id"]?.integer { cancelled.insert(id) }
        case "ping": if let id { answer(id) { $0.append(#""result":{}"#) } }
        case "drain": isDraining = true
        default:
            if let id {
                answer(id) { $0.append(#""error":{"code":-32601,"message":"unknown method"}"#) }
            }
        }
    }

    private func initialize(_ id: Int) {
        answer(id) {
            $0.append(#""result":{"protocol":1,"worker":{"sdk":"spindle 0.1","language":"swift","pid":"#)
            $0.append(integer: Int(getpid()))
            $0.append(#"},"concurrency":1,"tasks":["#)
            for (index, task) in tasks.values.sorted(by: { $0.name < $1.name }).enumerated() {
                if index > 0 { $0.append(",") }
                $0.append(#"{"name":"#)
                $0.append(jsonString: task.name)
                $0.append(#","kind":"#)
                $0.append(jsonString: task.kind.rawValue)
                $0.append("}")
            }
            $0.append("]}")
        }
        flush()
    }

    fileprivate func notify(_ method: StaticString, _ write: (inout [UInt8]) -> Void) {
        guard let current else { return }
        message.append(#"{"jsonrpc":"2.0","method":""#)
        message.append(method)
        message.append(#"","params":{"id":"#)
        message.append(integer: current)
        write(&message)
        message.append("}}\n")
        post()
        flush()
    }

    private func answer(_ id: Int, _ write: (inout [UInt8]) -> Void) {
        message.append(#"{"jsonrpc":"2.0","id":"#)
        message.append(integer: id)
        message.append(",")
        write(&message)
        message.append("}\n")
        post()
    }

    private func post() {
        guard state.post(message, to: Self.descriptor) else { exit(0) }
        message.removeAll(keepingCapacity: true)
    }

    private func flush() {
        guard state.flush(to: Self.descriptor) else { exit(0) }
    }

    // MARK: Work

    fileprivate func isCancelled(_ id: Int) -> Bool {
        if monotonicNanoseconds() - lastPoll >= Self.pollInterval {
            flush()
            receive(waiting: false)
        }
        return cancelled.contains(id)
    }

    private func perform(_ call: Call) {
        // What has been answered is not to wait for what may take long.
        let wasQuick = quick.contains(call.task)
        if !wasQuick { flush() }
        current = call.id
        defer {
            current = nil
            if !cancelled.isEmpty { cancelled.remove(call.id) }
        }
        guard let task = tasks[call.task], case .function(let body?, _) = task.body else {
            return answerFailure(call.id, TaskFailure(type: "InvalidInput", message: "no such task", canRetry: false))
        }
        let context = Context(worker: self, id: call.id)
        do {
            try context.checkpoint()
            guard begin(call.id) else { return answerWithdrawn(call.id) }
            let value = try body(call.input, context)
            context.finish()
            let usage = meter.read()
            answerSuccess(call.id, value, usage)
            // What took long is answered at once; tiny answers go out together.
            let isQuick = usage.wallNanoseconds < Self.quickNanoseconds
            if isQuick != wasQuick { if isQuick { quick.insert(call.task) } else { quick.remove(call.task) } }
            if !isQuick { flush() }
        } catch is TaskCancelled {
            context.finish()
            _ = meter.read()
            answer(call.id) { $0.append(#""error":{"code":-32800,"message":"cancelled"}"#) }
        } catch {
            context.finish()
            _ = meter.read()
            answerFailure(call.id, error)
        }
    }

    /// From here on its effects are possible, and the server knows.
    ///
    /// - Returns: False when it is not to begin here any more.
    private func begin(_ id: Int) -> Bool {
        guard UInt64(id) > state[.withdrawn] else { return false }
        cpu.renew()
        if let page { spindle_store(page + 8, UInt64(id)) }
        state[.since] = UInt64(monotonicNanoseconds())
        state[.begun] = UInt64(id)
        // Again: now that the server can see that it has begun, it takes it back no more.
        return UInt64(id) > state[.withdrawn]
    }

    private func answerWithdrawn(_ id: Int) {
        answer(id) {
            $0.append(#""error":{"code":"#)
            $0.append(integer: WorkerProtocol.ErrorCode.withdrawn)
            $0.append(#","message":"withdrawn"}"#)
        }
    }

    private func answerSuccess(_ id: Int, _ value: [UInt8], _ usage: Usage) {
        answer(id) {
            $0.append(#""result":{"value":"#)
            $0.append(contentsOf: value)
            $0.append(#","usage":{"cpu_seconds":"#)
            $0.append(seconds: usage.cpuNanoseconds)
            $0.append(#","max_rss_bytes":"#)
            $0.append(integer: usage.maxRSSBytes ?? 0)
            // What is not there is 0.
            if usage.voluntarySwitches > 0 {
                $0.append(#","voluntary_switches":"#)
                $0.append(integer: usage.voluntarySwitches)
            }
            if usage.involuntarySwitches > 0 {
                $0.append(#","involuntary_switches":"#)
                $0.append(integer: usage.involuntarySwitches)
            }
            $0.append("}}")
        }
    }

    private func answerFailure(_ id: Int, _ error: any Error) {
        let result = AttemptResult(failure: error)
        answer(id) {
            $0.append(#""error":{"code":-32000,"message":"#)
            $0.append(jsonString: result.error?.message ?? "")
            $0.append(#","data":{"type":"#)
            $0.append(jsonString: result.error?.type ?? "Error")
            $0.append(result.end == .failed(canRetry: false) ? #","retry":"never"}}"# : #","retry":"default"}}"#)
        }
    }

    private final class Context: TaskContext {
        private let worker: WorkerMain
        private let id: Int
        private var gate = ProgressGate()

        init(worker: WorkerMain, id: Int) {
            self.worker = worker
            self.id = id
        }

        var isCancelled: Bool {
            if gate.holds { tell(gate.due()) }
            return worker.isCancelled(id)
        }

        func report(_ progress: Progress) {
            tell(gate.pass(progress))
        }

        /// What was held back goes out before the answer.
        func finish() { tell(gate.rest()) }

        private func tell(_ progress: Progress?) {
            guard let progress else { return }
            worker.notify("progress") {
                $0.append(#","done":"#)
                $0.append(number: progress.done)
                if let total = progress.total {
                    $0.append(#","total":"#)
                    $0.append(number: total)
                }
                if let unit = progress.unit {
                    $0.append(#","unit":"#)
                    $0.append(jsonString: unit)
                }
                if let message = progress.message {
                    $0.append(#","message":"#)
                    $0.append(jsonString: message)
                }
            }
        }

        func output(_ json: [UInt8]) {
            worker.notify("output") {
                $0.append(#","value":"#)
                $0.append(contentsOf: json)
            }
        }

        func log(_ text: String) {
            worker.notify("log") {
                $0.append(#","level":"info","text":"#)
                $0.append(jsonString: text)
            }
        }

        func wait(for delay: Duration) throws {
            tell(gate.rest())
            let deadline = monotonicNanoseconds() + delay.nanoseconds
            while true {
                try checkpoint()
                let left = deadline - monotonicNanoseconds()
                // A process that stood still may find its time over and a cancel waiting: that was there first.
                guard left > 0 else { return try checkpoint() }
                worker.flush()
                var channel = pollfd(fd: WorkerMain.descriptor, events: Int16(POLLIN), revents: 0)
                poll(&channel, 1, CInt(min((left + 999_999) / 1_000_000, 20)))
                if channel.revents != 0 { worker.receive(waiting: false) }
            }
        }
    }
}
