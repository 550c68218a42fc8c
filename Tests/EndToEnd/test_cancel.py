"""The cancel contract, row by row: what the job says, and what the process table says."""
import json
import os
import select
import tempfile
import time

from processes import alive, is_alive, marker, wait_for
from server import ROOT, ServerTest

TASKS = str(ROOT / "Tests/Workers/tasks.py")

# Each starts a child in its group, one in a session of its own, and one that has left its parent.
FAMILY = "sleep {m} & setsid sleep {m} & (setsid sleep {m} &) ; exec sleep {m}"
COMMANDS = "".join(
    f'[commands.{name}]\ncommand = ["sh", "-c", {json.dumps(script)}, "sh", "{{m}}"]\n'
    for name, script in {
        "family": FAMILY.replace("{m}", "$1"),
        "deaf": "trap '' TERM; " + FAMILY.replace("{m}", "$1"),
        # Ends in its own time once it is asked to, and says so.
        "tidy": "trap 'echo asked; read line < \"$1\"; exit 0' TERM; echo ready; while :; do read line < \"$1\"; done",
    }.items())


class CancelContractTests(ServerTest):
    arguments = ("--config", "c.toml", "--python", TASKS, "--demo-faults", "--threads", "1", "--processes", "2")
    files = {"c.toml": COMMANDS}

    def cancel(self, job, grace=None):
        """Cancels and waits; the job, and the seconds that a client saw."""
        begun = time.monotonic()
        body = None if grace is None else {"grace": grace}
        answer = self.server.ask("DELETE", f"/v1/jobs/{job}", body)
        self.assertIn(answer.status, (200, 202), answer.body)
        done = self.server.wait(job)
        self.assertEqual(done["state"], "cancelled")
        return done, time.monotonic() - begun

    def ends(self, how):
        """Cancelled jobs so far that ended this way, by the metrics."""
        name = f'spindle_job_cancel_seconds_count{{how="{how}"}} '
        lines = self.server.get("/metrics").body.decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def worker(self, job):
        """The process number of the worker that runs a job."""
        for event in self.server.events(job):
            if event["type"] == "started":
                return int(event["worker"].rpartition("-")[2])

    def slots_are_free(self):
        pools = {pool["name"]: pool for pool in self.server.get("/v1/pools").json["pools"]}
        self.assertEqual(pools["process"]["busy"], 0)
        self.assertEqual(self.server.ask("POST", "/v1/run/squares?pool=process", {"n": 3}).json, {"sum": 5})

    def test_before_start(self):
        m = marker()
        blockers = [self.server.submit("family", {"m": marker()}) for _ in range(2)]
        job = self.server.submit("family", {"m": m})
        done, _ = self.cancel(job)
        self.assertEqual(done["cancel"]["how"], "before-start")
        self.assertIsNone(done["started_at"])
        self.assertEqual(alive(m), [])
        for blocker in blockers:
            self.cancel(blocker)
        self.assertEqual(alive(m), [])

    def test_cooperative_leaves_the_worker_alive(self):
        for task, value, pool in (
                ("sleep", {"seconds": 60}, "process"), ("primes", {"limit": 10**9}, "process"), ("steps", {"count": 10**6, "pause": 0.01}, None)):
            with self.subTest(task):
                job = self.server.submit(task, value, **({"pool": pool} if pool else {}))
                pid = self.worker(job)
                done, _ = self.cancel(job)
                self.assertEqual(done["cancel"]["how"], "cooperative")
                self.assertTrue(is_alive(pid))
        for pool in ("loop", "thread"):
            with self.subTest(pool):
                job = self.server.submit("sleep", {"seconds": 60}, pool=pool)
                self.assertEqual(self.cancel(job)[0]["cancel"]["how"], "cooperative")
        self.slots_are_free()

    def test_sigterm_ends_a_command_with_all_that_it_has_started(self):
        m, before = marker(), self.ends("sigterm")
        job = self.server.submit("family", {"m": m})
        wait_for(4, m)
        done, took = self.cancel(job)
        self.assertEqual(alive(m), [])
        self.assertEqual(done["cancel"]["how"], "sigterm")
        self.assertLessEqual(done["cancel"]["seconds"], took)
        self.assertEqual(self.ends("sigterm"), before + 1)
        self.slots_are_free()

    def test_a_command_has_its_grace_to_end(self):
        for grace in ("60s", None):
            with self.subTest(grace=grace), tempfile.TemporaryDirectory() as home:
                gate = os.path.join(home, "gate")
                os.mkfifo(gate)
                job = self.server.submit("tidy", {"m": gate})
                events = self.server.events(job)
                pid = next(int(event["worker"].rpartition("-")[2]) for event in events if event["type"] == "started")
                self.assertTrue(any(event.get("text") == "ready" for event in events))
                process = os.pidfd_open(pid)
                self.server.ask("POST", f"/v1/jobs/{job}/cancel", None if grace is None else {"grace": grace})
                self.assertTrue(any(event.get("text") == "asked" for event in events))
                # The two seconds after which it would be killed without a grace go by.
                self.assertEqual(select.select([process], [], [], 2.5)[0], [])
                with open(gate, "w") as opened:
                    opened.write("go\n")
                done = self.server.wait(job)
                os.close(process)
                self.assertEqual((done["state"], done["cancel"]["how"]), ("cancelled", "sigterm"))
                self.assertGreaterEqual(done["cancel"]["seconds"], 2.4)

    def test_sigkill_ends_what_ignores_sigterm_with_all_that_it_has_started(self):
        m, before = marker(), self.ends("sigkill")
        job = self.server.submit("deaf", {"m": m})
        wait_for(4, m)
        done, took = self.cancel(job)
        self.assertEqual(alive(m), [])
        self.assertEqual(done["cancel"]["how"], "sigkill")
        self.assertGreaterEqual(done["cancel"]["seconds"], 2)
        self.assertEqual(self.ends("sigkill"), before + 1)
        print(f"{done['cancel']['seconds']:.3f} s, of which 2 are the grace of SIGTERM: ", end="", flush=True)
        self.slots_are_free()

    def test_a_worker_that_does_not_listen_is_ended_and_replaced(self):
        m = marker()
        for task, value, how in (
                ("fault", {"how": "hang"}, "sigterm"), ("fault", {"how": "spin"}, "sigterm"),
                ("stubborn", {}, "sigterm"), ("deaf_family", {"seconds": m}, "sigkill")):
            with self.subTest(task):
                job = self.server.submit(task, value)
                pid = self.worker(job)
                if task == "fault":
                    next(event for event in self.server.events(job) if event["type"] == "progress")
                else:
                    # Before, a cancel may still get through.
                    next(event for event in self.server.events(job) if event["type"] == "log")
                if task == "deaf_family":
                    wait_for(2, m)
                done, took = self.cancel(job, grace="100ms")
                self.assertEqual(done["cancel"]["how"], how)
                self.assertFalse(is_alive(pid))
                self.assertEqual(alive(m), [])
        self.slots_are_free()
        self.assertEqual(self.server.ask("POST", "/v1/run/crunch", {"n": 4}).json, 14)

    def test_a_timeout_takes_the_same_steps(self):
        for task, least in (("family", 0.2), ("deaf", 2.2)):
            with self.subTest(task):
                m = marker()
                job = self.server.submit(task, {"m": m}, timeout="200ms")
                done = self.server.wait(job)
                self.assertEqual((done["state"], done["error"]["type"]), ("failed", "Timeout"))
                self.assertGreaterEqual(done["usage"]["wall_seconds"], least)
                self.assertEqual(alive(m), [])

    def test_a_client_that_leaves_its_run_takes_all_of_it_with_it(self):
        m = marker()
        connection = self.server.connect()
        connection.request("POST", "/v1/run/family", json.dumps({"m": m}), {
            "Authorization": "Bearer " + self.server.token, "Content-Type": "application/json"})
        wait_for(4, m)
        connection.close()
        wait_for(0, m)
        newest = self.server.get("/v1/jobs?task=family&limit=1").json["jobs"][0]
        self.assertEqual(self.server.wait(newest["id"])["state"], "cancelled")

    def test_the_command_line_says_what_worked(self):
        m = marker()
        job = self.server.submit("family", {"m": m})
        wait_for(4, m)
        said = self.server.command("cancel", job)
        self.assertEqual(said.returncode, 0, said.stderr)
        self.server.wait(job)
        self.assertEqual(alive(m), [])
        events = list(self.server.events(job))
        self.assertEqual(events[-1]["type"], "cancelled")
        self.assertEqual(events[-1]["how"], "sigterm")
