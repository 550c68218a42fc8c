"""Jobs that take too much, or lash out, among jobs that do not."""
import json
import os
import pathlib
import resource
import signal
import threading
import unittest

from processes import alive, marker
from server import Server, ServerTest

EATER = "import sys, time\nkept = bytearray(int(sys.argv[1]) << 20)\ntime.sleep(60)"
# Doubles until there are 2**12, or somebody stops it.
BOMB = "import os, sys, time\nfor _ in range(12): os.fork()\ntime.sleep(int(sys.argv[1]))"
COMMANDS = {
    # The memory is held by a grandchild.
    "eat": ["sh", "-c", f"python3 -c '{EATER}' 300; true"],
    "bomb": ["python3", "-c", BOMB, "{m}"],
    # Theirs are other parents than the job's.
    "eat-apart": ["sh", "-c", f"(python3 -c '{EATER}' 300 &); sleep 60"],
    "swarm": ["sh", "-c", 'i=0; while [ $i -lt 60 ]; do (sleep "$1" &); i=$((i + 1)); done; sleep 60', "sh", "{m}"],
    "swarm-apart": ["sh", "-c", 'i=0; while [ $i -lt 60 ]; do (setsid sleep "$1" &); i=$((i + 1)); done; sleep 60', "sh", "{m}"],
    "lash": ["sh", "-c", "kill -9 0"],
    "spin": ["sh", "-c", "while :; do :; done"],
    "stubborn": ["python3", "-c", "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"],
    "open": ["python3", "-c", "import os\nwhile True: os.dup(1)"],
    "limits": ["sh", "-c", "ulimit -n; ulimit -t; ulimit -c"],
    "flood": ["sh", "-c", 'head -c "$1" /dev/zero | tr "\\\\0" x; echo; echo the end', "sh", "{bytes}"],
}
CONFIG = "".join(f"[commands.{name}]\ncommand = {json.dumps(argv)}\n" for name, argv in COMMANDS.items())


class LimitTests(ServerTest):
    arguments = (
        "--config", "c.toml", "--processes", "3", "--threads", "1", "--demo-faults", "--store", "memory",
        "--memory-limit", "200MiB", "--process-limit", "40", "--cpu-limit", "1s", "--file-limit", "64")
    files = {"c.toml": CONFIG}

    def fails(self, task, value=None, **expected):
        done = self.server.wait(self.server.submit(task, value))
        self.assertEqual(done["state"], "failed", done)
        for name, value in expected.items():
            self.assertEqual(done["error"][name], value, done["error"])
        self.assertGreater(done["usage"]["wall_seconds"], 0)
        return done

    def test_memory_of_a_grandchild_counts(self):
        done = self.fails("eat", type="MemoryLimit")
        self.assertIn("200 MiB", done["error"]["message"])
        self.fails("fault", {"how": "oom"}, type="MemoryLimit")

    def test_a_fork_bomb_is_ended_whole(self):
        m = marker()
        done = self.fails("bomb", {"m": m}, type="ProcessLimit")
        self.assertIn("40 processes", done["error"]["message"])
        self.assertEqual(alive(m), [])
        self.fails("fault", {"how": "fork"}, type="ProcessLimit")

    def test_what_has_lost_its_parent_counts(self):
        self.fails("eat-apart", type="MemoryLimit")
        for task in ("swarm", "swarm-apart"):
            m = marker()
            self.fails(task, {"m": m}, type="ProcessLimit")
            self.assertEqual(alive(m), [])

    def test_who_kills_all_around_kills_itself(self):
        self.fails("lash", type="Crashed", signal=signal.SIGKILL)
        self.fails("fault", {"how": "kill"}, type="Crashed", signal=signal.SIGKILL)
        self.assertEqual(self.server.ask("POST", "/v1/run/squares?pool=process", {"n": 3}).json, {"sum": 5})

    def test_cpu_seconds(self):
        done = self.fails("spin", type="Crashed", signal=signal.SIGXCPU)
        self.assertGreater(done["usage"]["cpu_seconds"], 0.5)
        self.fails("stubborn", type="Crashed", signal=signal.SIGKILL)
        self.fails("fault", {"how": "spin"}, type="Crashed", signal=signal.SIGXCPU)

    def test_descriptors(self):
        done = self.fails("open", type="ExitStatus")
        log = self.server.get(f"/v1/jobs/{done['id']}/log").body.decode()
        self.assertIn("Too many open files", log)
        self.assertEqual(self.server.ask("POST", "/v1/run/limits").json, "64\n1\n0")

    def test_every_job_says_what_it_used(self):
        self.server.ask("POST", "/v1/run/squares?pool=process", {})
        for task, value, pool in (
                ("primes", {"limit": 10**7}, "thread"), ("primes", {"limit": 10**7}, "process"),
                ("sleep", {"seconds": 0.05}, "loop"), ("limits", {}, "process")):
            with self.subTest(task=task, pool=pool):
                usage = self.server.wait(self.server.submit(task, value, pool=pool))["usage"]
                self.assertGreater(usage["wall_seconds"], 0)
                self.assertIn("voluntary_switches", usage)
                if task == "primes":  # the same work on any machine, however long it waits for a core
                    self.assertGreater(usage["cpu_seconds"], 0.002)
                    self.assertLessEqual(usage["cpu_seconds"], usage["wall_seconds"] * 1.1 + 0.01)
                if pool == "process":
                    self.assertGreater(usage["max_rss_bytes"], 1 << 20)


class AllowanceTests(unittest.TestCase):
    PYTHON = """
import resource, time, spindle

def spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
    return time.process_time()

@spindle.task
def turn(seconds: float): return spin(seconds)

@spindle.task
async def together(seconds: float): return spin(seconds)

@spindle.task
def bound() -> int: return resource.getrlimit(resource.RLIMIT_CPU)[0]
"""

    def serve(self, *arguments):
        server = Server(
            "--python", "t.py", "--processes", "1", "--threads", "1", "--demo-faults", "--store", "memory", *arguments,
            files={"t.py": self.PYTHON})
        self.addCleanup(server.stop)
        return server

    def test_what_earlier_calls_took_is_not_charged_to_the_next_one(self):
        server = self.serve("--cpu-limit", "1s")
        for task, value in (
                ("burn", {"milliseconds": 300}), ("turn", {"seconds": 0.3}), ("together", {"seconds": 0.3})):
            with self.subTest(task=task):
                taken = 0
                # Many times what one call may take, by one worker: its clock and the limit's may go apart.
                while taken < 3:
                    done = server.wait(server.submit(task, value, pool="process"))
                    self.assertEqual((done["state"], done["attempt"]), ("succeeded", 1), done)
                    taken = done["result"] if task != "burn" else taken + done["usage"]["cpu_seconds"]
                task, value = ("fault", {"how": "spin"}) if task == "burn" else (task, {"seconds": 60})
                done = server.wait(server.submit(task, value, pool="process", max_attempts=1))
                self.assertEqual((done["error"]["type"], done["error"]["signal"]), ("Crashed", signal.SIGXCPU), done)
                if task != "together":
                    # Its own, and not all that its worker ever took. Coroutines share a thread, and say nothing of it.
                    self.assertLess(done["usage"]["cpu_seconds"], 3)
        died = [line for line in server.get("/metrics").body.decode().splitlines() if 'reason="died"' in line]
        self.assertEqual(died, ['spindle_workers_ended_total{reason="died"} 3'])

    def test_a_forked_worker_has_as_much_for_each_call_as_any_other(self):
        # What its calls took is in whole seconds; the one that has begun is given.
        for preload in ((), ("--preload",)):
            with self.subTest(preload=preload):
                server = self.serve("--cpu-limit", "5s", *preload)
                for _ in range(3):
                    self.assertEqual(server.ask("POST", "/v1/run/bound", {}).json, 6)
                    job = server.submit("turn", {"seconds": 60})
                    self.assertTrue(any(event["type"] == "started" for event in server.events(job)))
                    server.ask("POST", f"/v1/jobs/{job}/signal", {"signal": "KILL"})
                    server.wait(job)

    def test_without_a_limit_the_kernel_has_none(self):
        bound = self.serve().ask("POST", "/v1/run/bound", {}).json
        self.assertEqual(bound, resource.getrlimit(resource.RLIMIT_CPU)[0])


class FaultTests(unittest.TestCase):
    def test_healthy_jobs_do_not_notice_faulty_ones(self):
        server = Server("--config", "c.toml", "--processes", "6", "--threads", "1", "--demo-faults", "--memory-limit", "200MiB",
                        "--process-limit", "100", files={"c.toml": CONFIG})
        self.addCleanup(server.stop)
        m = marker()
        stop, answers = threading.Event(), []

        def healthy():
            while not stop.is_set():
                answers.append(server.ask("POST", "/v1/run/squares?pool=process", {"n": 100}))
        clients = [threading.Thread(target=healthy) for _ in range(4)]
        for client in clients:
            client.start()
        try:
            faulty = [server.submit("fault", {"how": how}, timeout="300ms") for how in (
                "throw", "exit", "segv", "oom", "fork", "kill", "hang", "spin") for _ in range(3)]
            faulty += [server.submit(task, value, timeout="20s") for task, value in (
                ("eat", {}), ("bomb", {"m": m}), ("lash", {})) for _ in range(3)]
            ends = [server.wait(job) for job in faulty]
        finally:
            stop.set()
            for client in clients:
                client.join()
        self.assertEqual({done["state"] for done in ends}, {"failed"})
        self.assertEqual([answer.body for answer in answers if answer.status != 200], [])
        self.assertTrue(all(answer.json == {"sum": 328350} for answer in answers))
        self.assertEqual(alive(m), [])
        print(f"{len(answers)} healthy jobs among {len(ends)} faulty ones: ", end="", flush=True)


class OutputTests(unittest.TestCase):
    BYTES = int(os.environ.get("SPINDLE_OUTPUT_BYTES", 200 << 20))

    def resident(self, server):
        status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) << 10

    def test_a_flood_of_output_costs_no_memory_and_loses_nothing_of_its_end(self):
        server = Server("--config", "c.toml", "--processes", "1", "--threads", "1", "--store", "memory", files={"c.toml": CONFIG})
        self.addCleanup(server.stop)
        # What any job costs is there already.
        server.wait(server.submit("flood", {"bytes": "4000000"}))
        before = self.resident(server)
        job = server.submit("flood", {"bytes": str(self.BYTES)})
        done = server.wait(job)
        self.assertEqual(done["state"], "succeeded")
        grown = self.resident(server) - before
        log = server.get(f"/v1/jobs/{job}/log").body
        print(f"{self.BYTES >> 20} MiB of output: {grown / (1 << 20):.1f} MiB more: ", end="", flush=True)
        self.assertTrue(log.endswith(b"x\nthe end\n"), log[-100:])
        self.assertGreaterEqual(len(log), (1 << 20) - (64 << 10))
        self.assertLess(grown, 4 << 20)
