"""Jobs that a worker was given, behind one that does not end or a loop that does not move: they run elsewhere, once."""
import pathlib
import random
import tempfile
import unittest

from server import Server
from waiting import begun

TASKS = '''
import asyncio, os, time
import spindle

def run(mark, gate):
    if mark is not None:
        descriptor = os.open(mark[0], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{mark[1]}\\n".encode())
        os.close(descriptor)
    while gate is not None and not os.path.exists(gate):
        time.sleep(0.005)
    return os.getpid()

@spindle.task
def inline(mark: list = None, gate: str = None):
    return run(mark, gate)
'''
BESIDE = '''
@spindle.task
async def beside(mark: list = None, gate: str = None, block: float = 0, nap: float = 0):
    time.sleep(block)
    await asyncio.sleep(nap)
    return run(mark, gate)
'''

# Marks a call as begun before it has it, and leaves it to others when it comes.
HESITANT = '''
import json, mmap, os, socket, time

channel = socket.socket(fileno=3)
words = memoryview(mmap.mmap(int(os.environ["SPINDLE_STATE_FD"]), 36864))[:4096].cast("Q")
BESIDE, HEEDS = 3, 8
words[HEEDS] = words[0] = 1

def answer(id, **members):
    channel.sendall(json.dumps({"jsonrpc": "2.0", "id": id, **members}).encode() + b"\\n")

left = set()
for line in channel.makefile("rb"):
    message = json.loads(line)
    method, id = message["method"], message.get("id")
    if method == "initialize":
        answer(id, result={"protocol": 1, "concurrency": 9, "tasks": [{"name": "work"}], "worker": {"sdk": "none", "language": "python"}})
    elif method == "run":
        given = message["params"]["input"]
        if "leave" in given or id in left:
            answer(id, error={"code": -32001, "message": "withdrawn"})
            continue
        words[BESIDE] = id
        if "gate" in given:
            left.add(id + 1)
            words[BESIDE] = id + 1
            while not os.path.exists(given["gate"]):
                time.sleep(0.001)
        answer(id, result={"value": id})
    elif method == "drain":
        break
'''


class StuckTests(unittest.TestCase):
    def setUp(self):
        home = tempfile.TemporaryDirectory()
        self.addCleanup(home.cleanup)
        self.home = pathlib.Path(home.name)
        self.marks = self.home / "marks"
        self.gates = 0

    def serve(self, processes, task, *arguments):
        server = Server("--python", "t.py", "--processes", str(processes), "--threads", "1", *arguments,
                        files={"t.py": TASKS + BESIDE * (task == "beside")})
        self.addCleanup(server.stop)
        # What is known to be quick is given to a worker before it is free.
        for _ in range(50):
            self.assertEqual(server.ask("POST", f"/v1/run/{task}", {}).status, 200)
        return server

    def gate(self):
        self.gates += 1
        gate = self.home / f"gate-{self.gates}"
        self.addCleanup(gate.touch)
        return gate

    def submit(self, server, task, mark=None, gate=None):
        value = {}
        if mark is not None:
            value["mark"] = [str(self.marks), mark]
        if gate is not None:
            value["gate"] = str(gate)
        return server.submit(task, value)

    def ran(self):
        return self.marks.read_text().split() if self.marks.exists() else []

    def all_succeed(self, server, jobs):
        """Each at its first attempt: nobody was charged for another."""
        done = [server.wait(job) for job in jobs]
        self.assertEqual([one for one in done if (one["state"], one["attempt"]) != ("succeeded", 1)], [])

    def workers(self, server):
        return {worker["pid"] for worker in server.get("/v1/pools/process").json["workers"]}

    def test_who_waits_behind_one_that_does_not_end_runs_elsewhere(self):
        for task in ("inline", "beside"):
            with self.subTest(task):
                self.marks.unlink(missing_ok=True)
                server = self.serve(2, task)
                before = self.workers(server)
                # Both workers are, so that some wait in each of them.
                gates = [self.gate(), self.gate()]
                stuck = [self.submit(server, task, gate=gate) for gate in gates]
                for job in stuck:
                    begun(server, job)
                others = [self.submit(server, task, mark=str(number)) for number in range(12)]
                gates[1].touch()
                self.all_succeed(server, (stuck[1], *others))
                self.assertEqual(sorted(map(int, self.ran())), list(range(12)))
                self.assertEqual(server.get(f"/v1/jobs/{stuck[0]}").json["state"], "running")
                gates[0].touch()
                self.all_succeed(server, [stuck[0]])
                self.assertEqual(self.workers(server), before)
                for job in others:
                    self.assertEqual([event["type"] for event in server.events(job)].count("started"), 1)

    def test_the_cancel_of_one_that_waits_there_costs_nobody_anything(self):
        for task in ("inline", "beside"):
            with self.subTest(task):
                self.marks.unlink(missing_ok=True)
                server = self.serve(1, task)
                before = self.workers(server)
                gate = self.gate()
                stuck = self.submit(server, task, gate=gate)
                begun(server, stuck)
                others = [self.submit(server, task, mark=str(number)) for number in range(5)]
                for job in others[1:4]:
                    self.assertIn(server.ask("DELETE", f"/v1/jobs/{job}").status, (200, 202))
                for job in others[1:4]:
                    done = server.wait(job)
                    self.assertEqual((done["state"], done["attempt"], done["cancel"]["how"]), ("cancelled", 0, "before-start"))
                self.assertEqual(self.ran(), [])
                gate.touch()
                self.all_succeed(server, (stuck, others[0], others[4]))
                self.assertEqual(sorted(self.ran()), ["0", "4"])
                self.assertEqual(self.workers(server), before)

    def test_each_runs_once_whatever_is_stuck(self):
        for task in ("inline", "beside"):
            with self.subTest(task):
                self.marks.unlink(missing_ok=True)
                server = self.serve(3, task)
                before = self.workers(server)
                chance = random.Random(1)
                jobs, gates = [], []
                for number in range(400):
                    gate = self.gate() if chance.random() < 0.02 else None
                    jobs.append(self.submit(server, task, mark=str(number), gate=gate))
                    if gate is not None:
                        gates.append(gate)
                    if gates and (len(gates) == 3 or chance.random() < 0.02):
                        gates.pop(0).touch()
                for gate in gates:
                    gate.touch()
                self.all_succeed(server, jobs)
                self.assertEqual(sorted(map(int, self.ran())), list(range(400)))
                self.assertEqual(self.workers(server), before)

    def test_loops_that_block_for_as_long_as_others_wait_for_them_lose_nobody(self):
        server = self.serve(2, "beside")
        before = self.workers(server)
        chance = random.Random(1)
        jobs = []
        for _ in range(20):
            for _ in range(chance.randint(4, 9)):
                how = chance.choice(("block", "block", "block", "nap"))
                time = chance.choice((0, 0.01, 0.19, 0.2, 0.21, 0.25, 0.3, 0.4))
                jobs.append(server.submit("beside", {"mark": [str(self.marks), str(len(jobs))], how: time}))
            # They come as those before them go, or nearly so.
            server.ask("POST", "/v1/run/sleep", {"seconds": chance.uniform(0.3, 0.9)})
        self.all_succeed(server, jobs)
        self.assertEqual(sorted(map(int, self.ran())), list(range(len(jobs))))
        self.assertEqual(self.workers(server), before)

    def test_whoever_comes_after_a_cancel_runs_and_nobody_else_is_charged(self):
        for task in ("inline", "beside"):
            with self.subTest(task):
                self.marks.unlink(missing_ok=True)
                server = self.serve(1, task)
                before = self.workers(server)
                for number in range(20):
                    gate = self.gate()
                    stuck = self.submit(server, task, gate=gate)
                    begun(server, stuck)
                    first, cancelled = self.submit(server, task, mark="first"), self.submit(server, task)
                    # Heard by the worker before it has to give it back, or after that.
                    server.ask("DELETE", f"/v1/jobs/{cancelled}")
                    if number % 2:
                        server.wait(cancelled)
                    gate.touch()
                    last = self.submit(server, task, mark="last")
                    self.all_succeed(server, (stuck, first, last))
                    self.assertIn(server.wait(cancelled)["state"], ("cancelled", "succeeded"))
                self.assertEqual(sorted(self.ran()), ["first"] * 20 + ["last"] * 20)
                self.assertEqual(self.workers(server), before)

    def test_a_function_behind_a_loop_that_does_not_move_runs_elsewhere(self):
        server = self.serve(2, "beside")
        before = self.workers(server)
        gates = [self.gate(), self.gate()]
        # One has its loop blocked, the other its line: what comes now waits for the one or the other.
        stuck = [self.submit(server, task, gate=gate) for task, gate in zip(("beside", "inline"), gates)]
        for job in stuck:
            begun(server, job)
        others = [self.submit(server, "inline", mark=str(number)) for number in range(4)]
        gates[1].touch()
        self.all_succeed(server, (stuck[1], *others))
        self.assertEqual(sorted(self.ran()), ["0", "1", "2", "3"])
        self.assertEqual(server.get(f"/v1/jobs/{stuck[0]}").json["state"], "running")
        gates[0].touch()
        self.all_succeed(server, [stuck[0]])
        self.assertEqual(self.workers(server), before)

    def test_what_waits_behind_a_loop_is_cancelled_without_it_and_has_all_its_time_when_it_begins(self):
        server = self.serve(1, "beside")
        before = self.workers(server)
        gate = self.gate()
        stuck = self.submit(server, "beside", gate=gate)
        begun(server, stuck)
        for task in ("inline", "beside"):
            job = self.submit(server, task, mark="never")
            done = server.ask("POST", f"/v1/jobs/{job}/cancel", {"grace": "0ms"}, {"Prefer": "wait=20"}).json
            self.assertEqual((done["state"], done["attempt"], done["cancel"]["how"]), ("cancelled", 0, "before-start"))
        waiting = [server.submit(task, {"mark": [str(self.marks), task]}, timeout="2s") for task in ("inline", "beside")]
        # Longer than that they wait.
        server.ask("POST", "/v1/run/sleep", {"seconds": 2.5})
        gate.touch()
        self.all_succeed(server, (stuck, *waiting))
        self.assertEqual(sorted(self.ran()), ["beside", "inline"])
        for job in waiting:
            self.assertLess(server.get(f"/v1/jobs/{job}").json["usage"]["wall_seconds"], 2)
        self.assertEqual(self.workers(server), before)

    def test_workers_of_our_own_give_back_what_they_have_not_begun(self):
        server = Server("--processes", "2", "--threads", "1")
        self.addCleanup(server.stop)
        for _ in range(60):
            self.assertEqual(server.ask("POST", "/v1/run/sleep?pool=process", {"seconds": 0}).status, 200)
        before = self.workers(server)
        stuck = [server.submit("sleep", {"seconds": 3600}, pool="process") for _ in range(2)]
        for job in stuck:
            begun(server, job)
        others = [server.submit("sleep", {"seconds": 0}, pool="process") for _ in range(12)]
        self.assertIn(server.ask("DELETE", f"/v1/jobs/{stuck[1]}").status, (200, 202))
        self.all_succeed(server, others)
        self.assertEqual(server.get(f"/v1/jobs/{stuck[0]}").json["state"], "running")
        server.ask("DELETE", f"/v1/jobs/{stuck[0]}")
        self.assertEqual([server.wait(job)["state"] for job in stuck], ["cancelled", "cancelled"])
        self.assertEqual(self.workers(server), before)

    def test_a_worker_that_marks_a_call_and_leaves_it_has_not_run_it_and_may_leave_none_unasked(self):
        (self.home / "hesitant.py").write_text(HESITANT)
        config = f"[workers.w]\ncommand = ['python3', '{self.home}/hesitant.py']\n"
        server = Server("--config", "c.toml", "--processes", "1", "--threads", "1", files={"c.toml": config})
        self.addCleanup(server.stop)
        for attempts, end in ((2, "succeeded"), (1, "failed")):
            gate = self.gate()
            stuck = server.submit("work", {"gate": str(gate)})
            begun(server, stuck)
            marked = server.submit("work", {}, max_attempts=attempts)
            waiting, cancelled = server.submit("work", {}), server.submit("work", {})
            self.assertIn(server.ask("DELETE", f"/v1/jobs/{cancelled}").status, (200, 202))
            begun(server, marked)
            self.assertEqual(server.wait(cancelled)["state"], "cancelled")
            gate.touch()
            done = server.wait(marked)
            self.assertEqual((done["state"], (done["error"] or {}).get("type")), (end, "Lost" if end == "failed" else None))
            self.all_succeed(server, (stuck, waiting))
        done = server.wait(server.submit("work", {"leave": True}))
        self.assertEqual((done["state"], done["error"]["message"]), ("failed", "withdrawn"))


if __name__ == "__main__":
    unittest.main()
