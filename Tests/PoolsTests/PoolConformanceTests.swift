import EventLoop
import Glibc
import JSON
import Jobs
import Testing

@testable import Pools
@testable import Tasks

/// One suite for every pool: what an attempt may expect, wherever it runs.
@Suite(.serialized) struct PoolConformanceTests {
    static let pools: [PoolName] = [.loop, .thread, .process]

    @Test(arguments: pools)
    func `an attempt that succeeds is reported once, with its result`(_ pool: PoolName) throws {
        let bench = try PoolBench(pool)
        let reports = try bench.run("squares", ["n": 100])
        #expect(reports.ends.count == 1)
        #expect(reports.ends.first?.end == .succeeded)
        #expect(String(decoding: reports.ends[0].value, as: UTF8.self) == "{\"sum\":328350}")
        #expect(reports.ends[0].usage.wallNanoseconds > 0)
    }

    @Test(arguments: pools)
    func `a cancelled attempt ends by itself when it listens`(_ pool: PoolName) throws {
        let bench = try PoolBench(pool)
        let reports = try bench.run("sleep", ["seconds": 60], stopOnFirstProgress: .seconds(30))
        #expect(reports.ends.map(\.end) == [.stopped(.cooperative)])
    }

    @Test(arguments: pools)
    func `progress comes before the end and grows`(_ pool: PoolName) throws {
        let bench = try PoolBench(pool)
        let reports = try bench.run("sleep", ["seconds": 0.35])
        #expect(reports.progress.count >= 2)
        #expect(reports.progress.map(\.done) == reports.progress.map(\.done).sorted())
    }

    @Test(arguments: pools)
    func `many attempts all end, none twice`(_ pool: PoolName) throws {
        let bench = try PoolBench(pool)
        let reports = try bench.runMany("squares", ["n": 10], count: 50)
        #expect(reports.endedIDs.count == 50)
        #expect(Set(reports.endedIDs).count == 50)
    }

    @Test(arguments: pools)
    func `every attempt begins once, before anything else of it is heard`(_ pool: PoolName) throws {
        let bench = try PoolBench(pool)
        let reports = try bench.runMany("sleep", ["seconds": 0.02], count: 20)
        #expect(Set(reports.begun) == Set(reports.endedIDs))
        #expect(reports.begun.count == 20)
        #expect(reports.early.isEmpty, "\(reports.early)")
    }

    @Test func `an answer out of order ends the worker, and what never began comes back`() throws {
        // Says that it is in its first call, and answers the second.
        let script = """
            import json, mmap, os, socket
            channel = socket.socket(fileno=3).makefile("rw")
            words = memoryview(mmap.mmap(int(os.environ["SPINDLE_STATE_FD"]), 36864)).cast("Q")
            words[0] = 1
            calls = []
            def answer(id, result):
                channel.write(json.dumps({"jsonrpc": "2.0", "id": id, "result": result}) + "\\n")
                channel.flush()
            for line in channel:
                message = json.loads(line)
                if message["method"] == "initialize":
                    answer(message["id"], {"protocol": 1, "worker": {}, "tasks": [{"name": "turned"}]})
                elif message["method"] == "run":
                    calls.append(message["id"])
                    words[1] = calls[0]
                    if len(calls) == 2:
                        answer(calls[1], {"value": 1})
            """
        let fleet = WorkerFleet(name: "turned", argv: ["/usr/bin/python3", "-c", script])
        let bench = try PoolBench(.process, fleets: [fleet])
        let task = TaskDefinition(
            name: "turned", kind: .cpu, description: "", input: try JSONSchema(true), pools: [.process],
            body: .worker(fleet: "turned", isConcurrent: false, saysBeginnings: true))
        // Two workers: of three one gets two.
        // All of them wait for the first worker that is ready.
        let reports = try bench.runQuick(task, [[:], [:], [:], [:]])
        #expect(reports.ends.map(\.end) == [.crashed, .returned, .returned, .returned])
        #expect(reports.ends[0].error?.message.contains("before call") == true)
        #expect(reports.begun == reports.endedIDs.prefix(1).map { $0 })
    }

    @Test(arguments: ["exit", "segv"])
    func `a worker that dies ends its own attempt, and the pool goes on`(_ how: String) throws {
        let bench = try PoolBench(.process)
        let reports = try bench.run("fault", ["how": .string(how)])
        #expect(reports.ends.map(\.end) == [.crashed])
        #expect(reports.ends[0].error?.type == "Crashed")
        let error = try #require(reports.ends[0].error)
        // A worker under thread sanitizer ends itself on SIGSEGV, with the sanitizer's own status.
        #expect(how == "segv" ? error.signal == Int(SIGSEGV) || error.exitCode == 66 : error.exitCode == 3)
        #expect(try bench.run("squares", ["n": 2]).ends.map(\.end) == [.succeeded])
    }

    @Test(arguments: ["hang", "spin"])
    func `a worker that does not listen is ended by a signal`(_ how: String) throws {
        let bench = try PoolBench(.process)
        let reports = try bench.run(
            "fault", ["how": .string(how)], stopAfter: .milliseconds(100), grace: .milliseconds(50))
        #expect(reports.ends.map(\.end) == [.stopped(.sigterm)])
    }

    @Test func `an error that a task throws has its name`() throws {
        let reports = try PoolBench(.process).run("fault", ["how": "throw"])
        #expect(reports.ends.map(\.end) == [.failed(canRetry: true)])
        #expect(reports.ends[0].error?.type == "Fault")
    }

    @Test func `a thread that does not listen is given up and replaced`() throws {
        let bench = try PoolBench(.thread)
        let deaf = TaskDefinition(
            name: "deaf", kind: .cpu, description: "Listens to nobody", input: try JSONSchema(true), pools: [.thread],
            body: .function(
                blocking: { _, _ in
                    deafMayEnd.pass()
                    return Array("null".utf8)
                }, async: nil))
        defer { deafMayEnd.open() }
        let reports = try bench.run(deaf, [:], stopAfter: .milliseconds(20), grace: .milliseconds(20))
        #expect(reports.ends.map(\.end) == [.stopped(.abandoned)])
        #expect(try bench.run("squares", ["n": 2]).ends.map(\.end) == [.succeeded])
    }

    @Test func `a primes count is the same in each pool`() throws {
        let results = try [PoolName.thread, .process].map {
            try PoolBench($0).run("primes", ["limit": 1_000_003]).ends[0].value
        }
        #expect(results.allSatisfy { $0 == Array("{\"count\":78499,\"largest\":1000003}".utf8) })
    }
}
