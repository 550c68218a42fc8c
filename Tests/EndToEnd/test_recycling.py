"""Workers that come and go: replaced when they are due, forked or started, and exchanged with the configuration."""
import concurrent.futures
import json
import os
import pathlib
import signal
import threading
import time
import unittest

from processes import is_alive
from server import PATIENCE, ROOT, Server
from waiting import Seen, asking, begun, ended

TASKS = str(ROOT / "Tests/Workers/tasks.py")
PID = "import os, spindle\n\n@spindle.task\ndef pid() -> int:\n    return os.getpid()\n"


class WorkersTest(unittest.TestCase):
    def serve(self, *arguments, **options):
        server = Server("--threads", "1", *arguments, **options)
        self.addCleanup(server.stop)
        return server

    def run_task(self, server, task, value=None):
        answer = server.ask("POST", f"/v1/run/{task}", value or {})
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json

    def workers(self, server, *states):
        pools = {pool["name"]: pool for pool in server.get("/v1/pools").json["pools"]}
        return {worker["pid"] for worker in pools["process"]["workers"] if worker["state"] in states}

    def ended(self, server, reason):
        for line in server.get("/metrics").body.decode().splitlines():
            if line.startswith(f'spindle_workers_ended_total{{reason="{reason}"}} '):
                return float(line.rpartition(" ")[2])
        self.fail("there is no such metric")


class RecyclingTests(WorkersTest):
    def test_by_jobs(self):
        server = self.serve("--python", "t.py", "--processes", "1", "--worker-max-jobs", "10", files={"t.py": PID})
        runs = []
        asking(lambda: runs.append(self.run_task(server, "pid")) or len(set(runs)) > 2, "always the same workers")
        counts = [runs.count(pid) for pid in dict.fromkeys(runs)]
        # A tenth more or less, and what came while the successor started.
        self.assertTrue(all(9 <= count for count in counts[:-1]), counts)
        asking(lambda: self.ended(server, "jobs") >= 2, "the old ones stay")
        self.assertEqual(self.ended(server, "died"), 0)

    def test_by_age(self):
        server = self.serve("--python", "t.py", "--processes", "1", "--worker-max-age", "300ms", files={"t.py": PID})
        first = self.run_task(server, "pid")
        asking(lambda: self.run_task(server, "pid") != first, "the same worker after its time")
        ended(first)

    def test_idle_workers_go_and_come_back_with_work(self):
        server = self.serve("--python", "t.py", "--processes", "2", "--worker-idle", "200ms", files={"t.py": PID})
        first = self.run_task(server, "pid")
        asking(lambda: not self.workers(server, "idle", "busy", "starting", "stopping"), "idle workers stay")
        self.assertFalse(is_alive(first))
        self.assertNotEqual(self.run_task(server, "pid"), first)
        self.assertGreaterEqual(self.ended(server, "idle"), 4)

    def test_by_memory_after_the_job(self):
        source = PID + "\nkept = []\n\n@spindle.task\ndef keep(mib: int) -> int:\n    kept.append(bytearray(mib << 20))\n    return os.getpid()\n"
        server = self.serve("--python", "t.py", "--processes", "1", "--worker-memory", "128MiB", files={"t.py": source})
        first = self.run_task(server, "pid")
        self.assertEqual(self.run_task(server, "keep", {"mib": 200}), first)
        asking(lambda: self.run_task(server, "pid") != first, "the worker stays, with all its memory")
        asking(lambda: self.ended(server, "memory") == 1, "nobody counts it")

    def test_protocol_error(self):
        source = PID + "\n@spindle.task\ndef babble():\n    os.write(int(os.environ['SPINDLE_FD']), b'no json\\n')\n"
        server = self.serve("--python", "t.py", "--processes", "1", files={"t.py": source})
        first = self.run_task(server, "pid")
        done = server.wait(server.submit("babble"))
        self.assertEqual((done["state"], done["error"]["type"]), ("failed", "Crashed"))
        self.assertIn("no JSON", done["error"]["message"])
        self.assertNotEqual(self.run_task(server, "pid"), first)

    def test_a_job_that_kills_three_workers_is_put_aside(self):
        server = self.serve("--python", TASKS, "--processes", "1")
        done = server.wait(server.submit("dying", {"how": "kill"}, max_attempts=10))
        self.assertEqual((done["state"], done["attempt"], done["error"]["type"]), ("failed", 3, "Crashed"))
        self.assertIn("quarantined", done["error"]["message"])
        self.assertEqual(self.run_task(server, "crunch", {"n": 4}), 14)

    def test_workers_that_keep_dying_are_started_ever_more_slowly(self):
        source = (
            "import os, spindle, threading\n\n@spindle.task\ndef nothing():\n    pass\n\n"
            "if 'SPINDLE_CHILD' in os.environ:\n    threading.Timer(0.01, os._exit, (1,)).start()\n")
        server = self.serve("--python", "t.py", "--processes", "1", files={"t.py": source})
        since = time.monotonic()
        asking(lambda: self.ended(server, "died") >= 7, "they do not die")
        # The first three at once, the next ones after 100, 200, 400 ms.
        self.assertGreater(time.monotonic() - since, 0.7)


class ZygoteTests(WorkersTest):
    SOURCE = PID + (
        "\nimported = os.getpid()\n\n@spindle.task\ndef importer() -> int:\n    return imported\n"
        "\n@spindle.task\ndef parent() -> int:\n    return os.getppid()\n"
        "\n@spindle.task\ndef where() -> str:\n    print('printed')\n    return spindle.directory() + ':' + os.getcwd()\n"
        "\n@spindle.task\nasync def nap():\n    import asyncio\n    await asyncio.sleep(0.01)\n    return os.getpid()\n")

    def test_forked_workers_are_workers_like_any_other(self):
        server = self.serve("--python", "t.py", "--processes", "2", "--preload", files={"t.py": self.SOURCE})
        pid = self.run_task(server, "pid")
        self.assertNotIn(self.run_task(server, "importer"), self.workers(server, "idle", "busy"))
        # The server is their parent: it waits for them, and they end with it.
        self.assertEqual(self.run_task(server, "parent"), server.process.pid)
        job = server.submit("where")
        directory, home = server.wait(job)["result"].split(":")
        self.assertTrue(directory.startswith(server.home.name), directory)
        self.assertEqual(home, os.path.realpath(server.home.name))
        self.assertEqual(server.get(f"/v1/jobs/{job}/log").body, b"printed\n")
        with concurrent.futures.ThreadPoolExecutor(8) as clients:
            self.assertLessEqual(len(set(clients.map(lambda _: self.run_task(server, "nap"), range(40)))), 2)
        workers = self.workers(server, "idle", "busy")
        self.assertIn(pid, workers)
        server.kill()
        ended(*workers)

    def test_a_killed_worker_is_noticed_and_replaced_at_once(self):
        server = self.serve("--python", TASKS, "--processes", "2", "--preload", "--store", "memory")
        noticed, replaced = [], []
        for _ in range(30):
            job = server.submit("hanging")
            pid = int(begun(server, job)["worker"].rpartition("-")[2])
            before = self.workers(server, "idle", "busy")
            os.kill(pid, signal.SIGKILL)
            killed = time.monotonic()
            done = server.wait(job)
            noticed.append(time.monotonic() - killed)
            self.assertEqual(done["error"]["signal"], 9)
            asking(lambda: len(self.workers(server, "idle", "busy") - {pid}) >= len(before), "no replacement")
            replaced.append(time.monotonic() - killed)
        noticed.sort()
        replaced.sort()
        print(f"noticed {noticed[15] * 1e3:.1f} ms (most {noticed[-1] * 1e3:.1f}), replaced {replaced[15] * 1e3:.1f} ms"
              f" (most {replaced[-1] * 1e3:.1f}): ", end="", flush=True)

    def test_imports_that_start_threads_are_started_not_forked(self):
        source = PID + "\nimport threading, time\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
        server = self.serve("--python", "t.py", "--processes", "1", "--preload", files={"t.py": source})
        self.run_task(server, "pid")
        self.assertIn("threads", pathlib.Path(server.log.name).read_text())

    def test_a_file_that_cannot_be_imported_ends_the_start_with_the_reason(self):
        with self.assertRaises(RuntimeError) as caught:
            Server("--python", "t.py", "--preload", files={"t.py": "import nothing_of_that_name\n"})
        self.assertIn("nothing_of_that_name", str(caught.exception))


class ReloadTests(WorkersTest):
    CONFIG = '[commands.say]\ncommand = ["echo", "{word}"]\n'

    def source(self, version, more=""):
        return f"import spindle, time\n\n@spindle.task\ndef version() -> int:\n    return {version}\n{more}"

    def write(self, server, name, text):
        fresh = pathlib.Path(server.home.name, name + ".new")
        fresh.write_text(text)
        fresh.rename(pathlib.Path(server.home.name, name))

    def reload(self, server):
        server.process.send_signal(signal.SIGHUP)

    def log(self, server):
        return [json.loads(line) for line in pathlib.Path(server.log.name).read_text().splitlines()]

    def test_no_request_is_lost_while_files_are_exchanged(self):
        for extra in ((), ("--preload",)):
            with self.subTest(extra):
                server = self.serve("--python", "t.py", "--processes", "2", *extra, files={"t.py": self.source(0)})
                stop, seen, failed = threading.Event(), Seen(), []

                def load():
                    while not stop.is_set():
                        answer = server.ask("POST", "/v1/run/version")
                        seen.note(answer.json) if answer.status == 200 else failed.append(answer.json)
                clients = [threading.Thread(target=load) for _ in range(4)]
                for client in clients:
                    client.start()
                try:
                    for version in range(6):
                        if version > 0:
                            self.write(server, "t.py", self.source(version))
                            self.reload(server)
                        seen.until(lambda all: version in all, f"version {version} does not come")
                finally:
                    stop.set()
                    for client in clients:
                        client.join(PATIENCE)
                self.assertEqual(failed, [])
                self.assertEqual(set(seen.all), set(range(6)))
                asking(lambda: not self.workers(server, "stopping"), "old workers stay")
                self.assertEqual(self.ended(server, "died"), 0)

    def test_what_runs_ends_where_it_began(self):
        slow = "\n@spindle.task\ndef slow(path: str) -> int:\n    open(path).read()\n    return version()\n"
        server = self.serve("--python", "t.py", "--processes", "1", files={"t.py": self.source(1, slow)})
        gate = server.home.name + "/gate"
        os.mkfifo(gate)
        job = server.submit("slow", {"path": gate})
        begun(server, job)
        self.write(server, "t.py", self.source(2, slow))
        self.reload(server)
        asking(lambda: any(line["message"] == "workers are ready" for line in self.log(server)[3:]), "no new workers")
        pathlib.Path(gate).write_text("go")
        done = server.wait(job)
        self.assertEqual((done["state"], done["result"], done["attempt"]), ("succeeded", 1, 1))
        self.assertEqual(self.run_task(server, "version"), 2)

    def test_a_long_result_is_read_though_its_worker_and_all_its_fleet_are_gone(self):
        long = "\n@spindle.task\ndef long(path: str) -> str:\n    open(path).read()\n    return 'x' * 40_000_000\n"
        server = self.serve("--python", "t.py", "--processes", "1", files={"t.py": self.source(1, long)})
        gate = server.home.name + "/gate"
        os.mkfifo(gate)
        job = server.submit("long", {"path": gate})
        begun(server, job)
        self.write(server, "t.py", self.source(2, long))
        self.reload(server)
        asking(lambda: any(line["message"] == "workers are ready" for line in self.log(server)[3:]), "no new workers")
        pathlib.Path(gate).write_text("go")
        done = server.wait(job)
        self.assertEqual((done["state"], done["attempt"], len(done["result"])), ("succeeded", 1, 40_000_000))

    def test_commands_and_workers_come_and_go(self):
        server = self.serve("--config", "c.toml", "--processes", "1", files={"c.toml": self.CONFIG, "t.py": self.source(7)})
        self.assertEqual(self.run_task(server, "say", {"word": "one"}), "one")
        sdk = server.command("python-path").stdout.strip()
        self.write(server, "c.toml", (
            '[commands.say]\ncommand = ["echo", "now:", "{word}"]\n[commands.more]\ncommand = ["echo", "more"]\n'
            f'[workers.python]\ncommand = ["python3", "{sdk}/spindle.py", "{server.home.name}/t.py"]\n'
            'max_jobs = 100\nmax_age = "1h"\nidle = "10m"\nmemory = "512MiB"\npreload = true\n'))
        self.reload(server)
        asking(lambda: server.get("/v1/tasks/version").status == 200, "the new workers' task does not come")
        self.assertEqual(self.run_task(server, "say", {"word": "two"}), "now: two")
        self.assertEqual(self.run_task(server, "more"), "more")
        self.assertEqual(self.run_task(server, "version"), 7)
        self.write(server, "c.toml", self.CONFIG)
        self.reload(server)
        asking(lambda: server.get("/v1/tasks/version").status == 404, "the removed workers' task stays")
        self.assertEqual(server.get("/v1/tasks/more").status, 404)
        self.assertEqual(server.ask("POST", "/v1/run/version").status, 422)

    def test_what_is_wrong_changes_nothing(self):
        server = self.serve(
            "--config", "c.toml", "--python", "t.py", "--processes", "1", files={"c.toml": self.CONFIG, "t.py": self.source(1)})
        for name, text, why in (
                ("c.toml", "[commands.say\n", "c.toml"), ("c.toml", self.CONFIG + "[commands.bad]\ncommand = []\n", "commands.bad"),
                ("t.py", "import spindle\nraise ValueError('spoilt')\n", "spoilt")):
            with self.subTest(why):
                lines = len(self.log(server))
                self.write(server, name, text)
                self.reload(server)
                asking(
                    lambda: any(line["level"] == "error" and why in line["why"] for line in self.log(server)[lines:]),
                    "nobody says what is wrong")
                self.assertEqual(self.run_task(server, "version"), 1)
                self.assertEqual(self.run_task(server, "say", {"word": "still"}), "still")
                self.write(server, name, self.CONFIG if name == "c.toml" else self.source(1))

    def test_a_name_that_is_taken_is_refused(self):
        with self.assertRaises(RuntimeError) as caught:
            Server("--python", "t.py", files={"t.py": "import spindle\n\n@spindle.task\ndef squares():\n    pass\n"})
        self.assertIn('"squares"', str(caught.exception))
