"""Tasks in Python and in any other language: workers that speak the protocol."""
import concurrent.futures
import os
import pathlib
import subprocess
import time
import unittest

from server import BINARY, PATIENCE, ROOT, Server, ServerTest

TASKS = str(ROOT / "Tests/Workers/tasks.py")
SHELL = str(ROOT / "Tests/Workers/worker.sh")
WITNESS = str(ROOT / "Tests/Workers/witness.py")


class PythonTests(ServerTest):
    arguments = ("--python", TASKS, "--processes", "2", "--threads", "1")

    def run_task(self, task, value=None, query=""):
        return self.server.ask("POST", f"/v1/run/{task}{query}", value or {})

    def test_a_function_is_a_task_with_a_schema(self):
        task = self.server.get("/v1/tasks/crunch").json
        self.assertEqual((task["kind"], task["pools"]), ("cpu", ["process"]))
        self.assertEqual(task["description"], "Sums squares, and says nothing meanwhile.")
        self.assertEqual(task["input"]["properties"]["n"], {"type": "integer", "default": 1000})
        self.assertEqual(self.run_task("crunch", {"n": 4}).json, 14)
        self.assertEqual(self.run_task("empty").body, b"null")

    def test_what_does_not_fit_is_refused_before_a_worker_sees_it(self):
        answer = self.run_task("typed", {"point": {"x": "1"}, "color": "green", "extra": 1})
        self.assertEqual(answer.status, 422)
        self.assertEqual({e["pointer"] for e in answer.json["errors"]}, {"/point/x", "/color", "/extra"})
        self.assertEqual(self.run_task("crunch", {"n": 1.5}).status, 422)

    def test_annotations_become_values(self):
        answer = self.run_task("typed", {"point": {"x": 2}, "color": "red", "more": [1, 2]})
        self.assertEqual(answer.json, {"x": 2, "color": "red", "mode": "a", "more": [1, 2]})

    def test_a_generator_tells_how_far_it_is(self):
        job = self.server.submit("steps", {"count": 3, "pause": 0.12})
        events = list(self.server.events(job))
        self.assertEqual([e["value"] for e in events if e["type"] == "output"], [{"step": i} for i in range(3)])
        self.assertEqual([e["done"] for e in events if e["type"] == "progress"], [1, 2, 3])
        self.assertEqual(events[-1]["result"], {"steps": 3, "job": job, "attempt": 1})

    def test_coroutines_run_many_at_once_in_one_process(self):
        begun = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(50) as clients:
            answers = list(clients.map(lambda _: self.run_task("nap", {"seconds": 0.5}), range(50)))
        self.assertTrue(all(answer.json == {"napped": 0.5} for answer in answers))
        # One after another, or two at a time, would take 12 s and more.
        self.assertLess(time.monotonic() - begun, 6)
        job = self.server.submit("nap")
        self.server.wait(job)
        self.assertEqual(self.server.get(f"/v1/jobs/{job}/log").body, b"awake\n")

    def test_an_error_has_its_name_and_where_it_was_raised(self):
        job = self.server.submit("failing", {"why": "bad url"})
        done = self.server.wait(job)
        self.assertEqual((done["state"], done["attempt"], done["error"]["type"]), ("failed", 2, "ValueError"))
        self.assertIn("in failing", "\n".join(done["error"]["traceback"]))
        self.assertNotIn("_spindle", "\n".join(done["error"]["traceback"]))
        self.assertEqual(self.server.get(f"/v1/jobs/{job}/log").body, b"about to fail\n" * 2)
        self.assertEqual(self.server.wait(self.server.submit("failing", {"never": True}))["attempt"], 1)

    def test_a_cancel_is_not_swallowed_by_except_exception(self):
        for task in ("hanging", "nap"):
            job = self.server.submit(task, {"seconds": 60} if task == "nap" else {})
            self.wait_for(job, "running")
            answer = self.server.ask("POST", f"/v1/jobs/{job}/cancel", headers={"Prefer": "wait=20"})
            self.assertEqual((answer.status, answer.json["cancel"]["how"]), (200, "cooperative"))

    def test_who_swallows_everything_is_ended_by_a_signal(self):
        job = self.server.submit("stubborn")
        # Before, a cancel may still get through.
        next(event for event in self.server.events(job) if event["type"] == "log")
        pid = self.pid(job)
        answer = self.server.ask("POST", f"/v1/jobs/{job}/cancel", {"grace": "100ms"}, {"Prefer": "wait=20"})
        self.assertEqual(answer.json["cancel"]["how"], "sigterm")
        self.assertFalse(pathlib.Path(f"/proc/{pid}").exists())

    def test_a_worker_that_dies_fails_its_job_only(self):
        for how, error in (("kill", ("signal", 9)), ("exit", ("exit_code", 3))):
            answer = self.run_task("dying", {"how": how})
            self.assertEqual((answer.status, answer.json["error"]["type"]), (500, "Crashed"))
            self.assertEqual(answer.json["error"][error[0]], error[1])
        self.assertEqual(self.run_task("crunch", {"n": 2}).json, 1)

    def test_a_result_that_breaks_its_own_schema_fails_the_job(self):
        answer = self.run_task("wrong")
        self.assertEqual(answer.json["error"]["type"], "InvalidOutput")

    def test_a_long_result_comes_by_file(self):
        self.assertEqual(len(self.run_task("big", {"size": 3_000_000}).body), 3_000_002)

    def wait_for(self, job, state):
        headers = {}
        while True:
            found = self.server.ask("GET", f"/v1/jobs/{job}", headers=headers)
            if found.status == 200 and found.json["state"] == state:
                return
            headers = {"Prefer": "wait=5", "If-None-Match": found.headers["etag"]}

    def pid(self, job):
        return next(w["pid"] for w in self.server.get("/v1/pools/process").json["workers"] if w["job"] == job)


class OtherWorkerTests(unittest.TestCase):
    def test_a_worker_in_shell(self):
        config = f'[workers.shell]\ncommand = ["sh", "{SHELL}"]\n'
        server = Server("--config", "c.toml", "--processes", "1", "--threads", "1", files={"c.toml": config})
        self.addCleanup(server.stop)
        job = server.submit("count", {"to": 3})
        events = list(server.events(job))
        self.assertEqual(events[-1]["result"], {"counted": 3})
        self.assertEqual(server.ask("POST", "/v1/run/count", {"to": -1}).status, 422)

    def check(self, *arguments):
        return subprocess.run([BINARY, "worker-check", *arguments], capture_output=True, text=True, timeout=PATIENCE)

    def test_the_workers_that_come_with_spindle_keep_the_protocol(self):
        sdk = str(ROOT / "Sources/Python/spindle.py")
        workers = {
            "shell": (["--run", 'count={"to":3}'], ["sh", SHELL]),
            "python": (["--run", 'crunch={"n":5}', "--run", 'nap={"seconds":0.1}', "--run", 'steps={"count":2}'],
                       ["python3", "-B", sdk, TASKS]),
            "swift": (["--run", 'squares={"n":4}'], [BINARY, "__worker", "."]),
        }
        for name, (calls, command) in workers.items():
            done = self.check(*calls, "--", *command)
            self.assertEqual(done.returncode, 0, f"{name}: {done.stdout}{done.stderr}")

    def test_the_check_names_what_is_wrong(self):
        done = self.check("--", "cat")
        self.assertEqual(done.returncode, 1)
        self.assertIn("failed  it answers ping", done.stdout)

    def test_the_check_believes_no_lie_about_which_call_has_begun_and_what_was_sent(self):
        start = "what it says at descriptor 4 is true from its start on, or it says nothing"
        count, nap = (f"{task} begins and ends as it says at descriptor 4" for task in ("count", "nap"))
        lies = {
            "late": (start, "byte 0 is written to"), "unspoken": (start, "byte 40 is written to"), "neither": (start, "byte 0 is 2"),
            "unsent": (start, "were not sent"), "early": (start, "has not come"), "half": (start, "no whole lines"),
            "overfull": (start, "bytes 40 and 48 say"), "shared": (start, "byte 56 is 2"),
            "heeds": (start, "byte 64 is 2"), "withdrawn": (start, "byte 72 is written to"),
            "never": (count, "byte 8 is 0"), "last": (count, "by that it has not begun"), "stranger": (count, "names call 4711"),
            "place": (count, "byte 8 is 0"), "before": (count, "byte 16"), "after": (count, "byte 16"), "page": (count, "SPINDLE_BEGUN"),
            "turned": (count, "answered call 2 before call 1"), "step": (nap, "byte 32 names call"),
        }
        for lie in ("", "silent", *lies):
            with self.subTest(lie):
                promise, what = lies.get(lie, (None, None))
                tasks = {count: ["count"], nap: ["nap"], start: []}.get(promise, ["count", "nap"])
                done = self.check(*(word for task in tasks for word in ("--run", task + "={}")), "--", "python3", "-I", "-S", WITNESS, lie)
                if promise is None:
                    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                    continue
                self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
                lines = done.stdout.splitlines()
                self.assertIn("failed  " + promise, lines)
                self.assertIn(what, lines[lines.index("failed  " + promise) + 1])
                # Of all else nothing is wrong, and nothing is called so.
                others = [line for line in lines if line.startswith("failed") and "descriptor 4" not in line]
                self.assertEqual(others, [] if lie != "turned" else others)

    def test_a_file_that_cannot_be_loaded_ends_the_start_with_the_reason(self):
        broken = {
            "syntax.py": ("def (", "SyntaxError"), "none.py": ("x = 1\n", "has no tasks"),
            "twice.py": ("import spindle\n@spindle.task\ndef a(): pass\n@spindle.task(name='a')\ndef b(): pass\n",
                         "two tasks named 'a'"),
        }
        for name, (text, reason) in broken.items():
            with self.assertRaises(RuntimeError, msg=name) as caught:
                Server("--python", name, files={name: text})
            self.assertIn(reason, str(caught.exception))
        with self.assertRaisesRegex(RuntimeError, "No such file"):
            Server("--python", "nowhere.py")

    def test_python_path_says_where_the_module_is(self):
        server = Server()
        self.addCleanup(server.stop)
        path = server.command("python-path").stdout.strip()
        done = subprocess.run(["python3", "-c", "import spindle; print(spindle.__file__)"], capture_output=True, text=True,
                              env=dict(os.environ, PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1"))
        self.assertEqual(done.stdout.strip(), path + "/spindle.py")
        source = ROOT / "Sources/Python"
        carried = {name.relative_to(path): name.read_bytes() for name in pathlib.Path(path).rglob("*.py")}
        self.assertEqual(carried, {name.relative_to(source): name.read_bytes() for name in source.rglob("*.py")})


if __name__ == "__main__":
    unittest.main()
