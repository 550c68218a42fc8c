"""What really ran, counted where it runs: an append-only file that each attempt marks."""
import collections
import concurrent.futures
import http.client
import os
import pathlib
import random
import signal
import sqlite3
import subprocess
import threading
import unittest

from server import PATIENCE, Server
from waiting import begun, changed

JOBS = int(os.environ.get("SPINDLE_EFFECTS", "2000"))
KILLS = int(os.environ.get("SPINDLE_KILLS", "20"))

TASKS = '''
import asyncio, os, signal, time
import spindle

marks = os.open(os.path.join(os.path.dirname(__file__), "marks"), os.O_WRONLY | os.O_APPEND)

def mark(*words):
    os.write(marks, (" ".join(map(str, (spindle.job(), spindle.attempt(), *words))) + "\\n").encode())

@spindle.task
def quick(how: str = ""):
    mark(how or "ran")
    if how == "exit":
        os._exit(3)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "hang":
        time.sleep(3600)
    return how

@spindle.task
async def nap(how: str = ""):
    mark(how or "ran")
    await asyncio.sleep(0.05)
    if how:
        os._exit(3)
    await asyncio.sleep(0.05)
    mark("done")
    return how

@spindle.task
async def still(how: str = ""):
    mark(how or "ran")
    if how == "hang":
        time.sleep(3600)
    return how
'''


class EffectsTest(unittest.TestCase):
    def serve(self, *arguments, source=TASKS, **options):
        server = Server("--python", "t.py", "--threads", "1", *arguments, files={"t.py": source, "marks": ""}, **options)
        self.addCleanup(server.stop)
        self.marks = pathlib.Path(server.home.name, "marks")
        return server

    def effects(self):
        """job -> [(attempt, what)], in the order in which they happened."""
        found = collections.defaultdict(list)
        for line in self.marks.read_text().splitlines():
            job, attempt, what = line.split()
            found[job].append((int(attempt), what))
        return found

    def submit_all(self, server, inputs, task, **options):
        def submit(value):
            return server.submit(task, value, **options), value
        with concurrent.futures.ThreadPoolExecutor(16) as clients:
            return dict(clients.map(submit, inputs))


class CrashTests(EffectsTest):
    def test_of_quick_tasks_that_kill_their_worker_now_and_then_each_runs_once_and_fails_alone(self):
        server = self.serve("--processes", "2", "--store", "memory")
        # So that it is known to be quick: then calls wait inside a worker, and answers are gathered.
        for _ in range(30):
            server.wait(server.submit("quick"))
        inputs = [{"how": ("exit", "kill")[n // 20 % 2] if n % 20 == 19 else ""} for n in range(JOBS)]
        jobs = self.submit_all(server, inputs, "quick", max_attempts=1)
        done = {job: server.wait(job) for job in jobs}
        effects = self.effects()
        for job, value in jobs.items():
            end = done[job]
            self.assertEqual(len(effects[job]), 1, (job, value, effects[job], end))
            if value["how"]:
                self.assertEqual((end["state"], end["error"]["type"]), ("failed", "Crashed"), (value, end))
            else:
                self.assertEqual((end["state"], end["attempt"]), ("succeeded", 1), end)
        crashes = sum(1 for value in jobs.values() if value["how"])
        print(f"{len(jobs)} jobs, {crashes} workers killed: ", end="", flush=True)

    def test_finished_neighbours_of_a_quick_task_that_hangs_are_answered_in_time(self):
        server = self.serve("--processes", "1", "--store", "memory")
        for _ in range(30):
            server.wait(server.submit("quick"))
        server.ask("PATCH", "/v1/queues/default", {"paused": True})
        before = [server.submit("quick", timeout="3s") for _ in range(4)]
        hangs = server.submit("quick", {"how": "hang"}, timeout="3s")
        behind = [server.submit("quick", timeout="3s") for _ in range(3)]
        server.ask("PATCH", "/v1/queues/default", {"paused": False})
        for job in before:
            end = server.wait(job)
            self.assertEqual((end["state"], end["attempt"]), ("succeeded", 1), end)
        self.assertIn("started", (event["type"] for event in server.events(hangs)))
        end = server.wait(hangs)
        self.assertEqual((end["state"], end["error"]["type"]), ("failed", "Timeout"))
        # What waited behind it has waited longer than its own timeout, and has not begun meanwhile.
        for job in behind:
            self.assertEqual(server.wait(job)["state"], "succeeded")
        self.assertEqual({len(marks) for marks in self.effects().values()}, {1})

    def test_coroutines_beside_a_culprit_run_again_and_are_not_charged(self):
        server = self.serve("--processes", "1", "--store", "memory")
        innocent = [server.submit("nap", max_attempts=2) for _ in range(20)]
        # Each of these is a bystander of the others, too, as often as it happens.
        culprits = [server.submit("nap", {"how": "exit"}, max_attempts=2) for _ in range(4)]
        for job in culprits:
            end = server.wait(job)
            self.assertEqual((end["state"], end["error"]["type"]), ("failed", "Crashed"), end)
        for job in innocent:
            end = server.wait(job)
            self.assertEqual(end["state"], "succeeded", end)
        for job, marks in self.effects().items():
            begun = [attempt for attempt, what in marks if what != "done"]
            self.assertEqual(len(begun), len(set(begun)), f"{job} ran twice under one number: {marks}")

    def test_a_coroutine_beside_a_culprit_that_may_start_only_once_has_started(self):
        server = self.serve("--processes", "1", "--store", "memory")
        jobs = [server.submit("nap", max_attempts=1) for _ in range(5)]
        culprit = server.submit("nap", {"how": "exit"}, max_attempts=1)
        self.assertEqual(server.wait(culprit)["error"]["type"], "Crashed")
        for job in jobs:
            end = server.wait(job)
            begun = [what for _, what in self.effects()[job] if what == "ran"]
            self.assertEqual(len(begun), 1, end)
            if end["state"] == "failed":
                self.assertEqual(end["error"]["type"], "Lost")
                self.assertIn("another job", end["error"]["message"])


class KilledServerTests(EffectsTest):
    def test_no_kill_of_the_server_lets_a_job_run_twice_under_one_number_or_more_often_than_it_may(self):
        server = self.serve("--processes", "2")
        allowed = {}
        for kill in range(KILLS):
            gone = threading.Event()
            clients = [threading.Thread(target=self.submit_until, args=(server, gone, allowed)) for _ in range(4)]
            for client in clients:
                client.start()
            # At a random moment of its work: when so many more effects have happened.
            enough = len(self.marks.read_bytes()) + random.randrange(50, 4000)
            changed(self.marks, lambda: self.marks.stat().st_size >= enough, "no effects")
            gone.set()
            server.kill()
            for client in clients:
                client.join()
            server.start()
        lost = []
        for job in list(allowed):
            end = server.wait(job)
            self.assertIn(end["state"], ("succeeded", "failed"), end)
            if end["state"] == "failed":
                self.assertEqual(end["error"]["type"], "Lost", end)
                lost.append(end)
        effects = self.effects()
        # Between its beginning and its mark a worker can be killed with one call, and with no other.
        unmarked = [end for end in lost if len(effects[end["id"]]) < end["attempt"]]
        self.assertLessEqual(len(unmarked), 2 * KILLS, unmarked)
        for job, maximum in allowed.items():
            numbers = [attempt for attempt, _ in effects[job]]
            self.assertEqual(len(numbers), len(set(numbers)), f"{job} ran twice under one number: {numbers}")
            self.assertLessEqual(len(numbers), maximum, f"{job} ran {numbers}")
        print(f"{KILLS} kills, {len(allowed)} jobs: ", end="", flush=True)

    def test_what_waits_inside_a_pool_when_the_server_is_killed_has_not_started_and_is_not_charged(self):
        self.kill_waiting(self.serve("--processes", "1"))

    @unittest.skipUnless(os.access("/dev/shm", os.W_OK), "has no shared memory")
    def test_so_too_where_the_workers_directories_are_in_shared_memory(self):
        self.kill_waiting(self.serve("--processes", "1", env={"TMPDIR": "/dev/shm"}))

    def kill_waiting(self, server):
        for kills in (1, 2, 3):
            # A worker that stands still has a call in hand and begins none.
            for task, value, options in (("quick", {}, {}), ("sleep", {"seconds": 0}, {"pool": "process", "max_attempts": 2})):
                for pid in [worker["pid"] for worker in server.get("/v1/pools/process").json["workers"]]:
                    os.kill(pid, signal.SIGSTOP)
                self.kill_with(server, kills, [server.submit(task, value, **options)])
            # A coroutine that blocks keeps others from beginning.
            running = server.submit("still", {"how": "hang"})
            begun(server, running)
            self.kill_with(server, kills, [server.submit("still", max_attempts=1 + n % 2) for n in range(12)])
            end = server.wait(running)
            self.assertEqual((end["state"], end["error"]["type"]), ("failed", "Lost"), end)
        for job, marks in self.effects().items():
            self.assertEqual(len(marks), 1, f"{job} ran twice: {marks}")

    def kill_with(self, server, kills, waiting):
        """Kills the server while the store has all of these as running, and again at once; none of them had begun."""
        # What was given went to the disk before this.
        server.submit("squares", {"n": 1}, delay="1h")
        self.assertGreaterEqual(self.given(server), len(waiting))
        server.kill()
        for _ in range(kills - 1):
            # While it starts, or when it has just started.
            self.kill_soon(server)
        server.start()
        for job in waiting:
            end = server.wait(job)
            self.assertEqual((end["state"], end["attempt"]), ("succeeded", 1), (kills, end))

    def given(self, server):
        """Jobs that the store has as running, on disk."""
        store = sqlite3.connect(server.store)
        try:
            return store.execute("SELECT count(*) FROM live WHERE running = 1").fetchone()[0]
        finally:
            store.close()

    def kill_soon(self, server):
        process = subprocess.Popen(server.line, stdout=subprocess.DEVNULL, stderr=server.log, env=server.base, cwd=server.home.name)
        try:
            process.wait(random.random() * 0.25)
        except subprocess.TimeoutExpired:
            pass
        process.kill()
        process.wait(PATIENCE)

    def submit_until(self, server, gone, allowed):
        while not gone.is_set():
            maximum = random.choice((1, 2, 3))
            try:
                answer = server.ask("POST", "/v1/jobs", {"task": "quick", "max_attempts": maximum})
            except OSError:
                return
            except http.client.HTTPException:
                return
            if answer.status == 202:
                allowed[answer.json["id"]] = maximum


class BeginningTests(EffectsTest):
    def test_a_worker_that_imports_for_long_costs_no_job_its_timeout(self):
        source = "import os, time, pathlib\nflag = pathlib.Path(__file__).with_name('slow')\n" \
            "if flag.exists():\n    time.sleep(2)\nflag.touch()\n" + TASKS
        server = self.serve("--processes", "1", "--store", "memory", source=source)
        # The only worker dies; its successor takes longer to start than the next job may run.
        server.wait(server.submit("quick", {"how": "exit"}))
        job = server.submit("quick", timeout="500ms")
        end = server.wait(job)
        self.assertEqual((end["state"], end["attempt"]), ("succeeded", 1), end)

    def test_every_job_that_ran_has_started_somewhere(self):
        server = self.serve("--processes", "2")
        jobs = []
        for pool in ("thread", "process", "loop"):
            task = "sleep" if pool == "loop" else "squares"
            value = {"seconds": 0.001} if pool == "loop" else {"n": 10}
            jobs += [(pool, job) for job in self.submit_all(
                server, [dict(value) for _ in range(300)], task, pool=pool, timeout="20s")]
        for pool, job in jobs:
            end = server.wait(job)
            self.assertEqual((end["state"], end["attempt"]), ("succeeded", 1), end)
            self.assertIsNotNone(end["started_at"])
            events = list(server.events(job))
            kinds = [event["type"] for event in events]
            self.assertEqual(kinds.count("started"), 1, kinds)
            started = events[kinds.index("started")]
            self.assertTrue(started["worker"].startswith({"process": "worker"}.get(pool, pool)), started)
            self.assertLessEqual(end["created_at"], end["started_at"])
            self.assertLessEqual(end["started_at"], end["finished_at"])

    def test_a_worker_that_stands_still_before_it_begins_costs_its_job_nothing(self):
        server = self.serve("--processes", "1", "--store", "memory")
        pid = next(worker["pid"] for worker in server.get("/v1/pools/process").json["workers"]
                   if b"spindle.py" in pathlib.Path(f"/proc/{worker['pid']}/cmdline").read_bytes())
        os.kill(pid, signal.SIGSTOP)
        job = server.submit("quick", timeout="1s")
        # It is queued, whatever the pool has in hand, and begins elsewhere when the worker is given up.
        self.assertEqual(server.get(f"/v1/jobs/{job}").json["state"], "queued")
        end = server.wait(job)
        self.assertEqual((end["state"], end["attempt"]), ("succeeded", 1), end)
        self.assertEqual(len(self.effects()[job]), 1)


if __name__ == "__main__":
    unittest.main()
