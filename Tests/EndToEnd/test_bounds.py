"""What the server holds has bounds, and whoever reaches one is told so."""
import json
import pathlib
import subprocess
import unittest

from server import BINARY, Server, ServerTest


class QueueBoundTest(ServerTest):
    """The bound of a queue counts all that waits, whatever it waits for."""

    def fill(self, queue, bound, **options):
        """Submits until refused; how many were taken, and the refusal."""
        self.assertEqual(self.server.ask("PATCH", f"/v1/queues/{queue}", {"limit": bound}).status, 200)
        for taken in range(bound + 5):
            answer = self.server.ask("POST", "/v1/jobs", {
                "task": "sleep", "input": {"seconds": 600}, "queue": queue, "max_attempts": 3, **options})
            if answer.status != 202:
                return taken, answer
        self.fail("never refused")

    def test_scheduled_jobs_count(self):
        taken, refusal = self.fill("later", 7, delay="1h")
        self.assertEqual((taken, refusal.status), (7, 429))
        self.assertEqual(refusal.json["type"], "/problems/queue-full")
        self.assertGreaterEqual(int(refusal.headers["retry-after"]), 1)

    def test_blocked_jobs_count(self):
        taken, refusal = self.fill("alone", 7, key="alone", pool="loop")
        self.assertEqual((taken, refusal.status), (8, 429), "one runs and seven wait for its key")

    def test_queued_jobs_count(self):
        self.server.ask("PATCH", "/v1/queues/held", {"paused": True})
        taken, refusal = self.fill("held", 7)
        self.assertEqual((taken, refusal.status), (7, 429))

    def test_what_is_cancelled_counts_no_more(self):
        self.fill("freed", 3, delay="1h")
        for job in self.server.get("/v1/jobs?queue=freed").json["jobs"]:
            self.server.ask("POST", f"/v1/jobs/{job['id']}/cancel")
        self.assertEqual(self.fill("freed", 3, delay="1h")[0], 3)


class QueueNameTest(ServerTest):
    arguments = ("--store", "memory", "--no-auth", "--threads", "1", "--processes", "1")

    def test_names_of_empty_queues_are_free_again(self):
        connection = self.server.connect()
        for number in range(1100):
            connection.request("POST", f"/v1/run/squares?queue=queue-{number}&pool=thread", "{\"n\":1}",
                               {"Content-Type": "application/json"})
            answer = connection.getresponse()
            body = answer.read()
            self.assertEqual(answer.status, 200, (number, body))
        connection.close()
        self.assertLessEqual(len(self.server.get("/v1/queues").json["queues"]), 1001)


class LiveBytesTest(unittest.TestCase):
    INPUT = {"n": 1}

    def fill(self, server, **options):
        """Submits jobs of about 100 kB each until refused; their ids, and the refusal."""
        ids = []
        while len(ids) < 100:
            answer = server.ask("POST", "/v1/jobs", {
                "task": "take", "input": {"text": "x" * 100_000}, "queue": f"queue-{len(ids) % 7}", **options})
            if answer.status != 202:
                return ids, answer
            ids.append(answer.json["id"])
        self.fail("never refused")

    def check(self, refusal):
        self.assertEqual(refusal.status, 429, refusal.body)
        self.assertEqual(refusal.json["type"], "/problems/memory-full")
        self.assertIn("--live-bytes", refusal.json["detail"])
        self.assertGreaterEqual(int(refusal.headers["retry-after"]), 1)
        self.assertIn("live-bytes", refusal.headers["ratelimit-policy"])

    def test_jobs_over_the_bound_are_refused_wherever_they_wait_and_after_a_restart_too(self):
        configuration = """
            live_bytes = "1MiB"
            [commands.take]
            command = ["true"]
            input = { type = "object" }
            """
        server = Server("--config", "spindle.toml", files={"spindle.toml": configuration})
        try:
            ids, refusal = self.fill(server, delay="1h")
            self.check(refusal)
            self.assertEqual(len(ids), 10)
            held = self.metric(server, "spindle_live_bytes")
            self.assertGreater(held, 1_000_000)
            self.assertEqual(self.metric(server, "spindle_live_bytes_limit"), 1 << 20)
            server.kill()
            server.start()
            # What was found on disk counts as what came in does.
            self.assertAlmostEqual(self.metric(server, "spindle_live_bytes"), held, delta=2000)
            again, refusal = self.fill(server, delay="1h")
            self.assertEqual(again, [])
            self.check(refusal)
            for job in ids[:4]:
                self.assertEqual(server.ask("POST", f"/v1/jobs/{job}/cancel").status, 200)
            self.assertEqual(len(self.fill(server, delay="1h")[0]), 4)
            for job in server.get("/v1/jobs?state=scheduled&limit=100").json["jobs"]:
                server.ask("POST", f"/v1/jobs/{job['id']}/cancel")
            self.assertEqual(self.metric(server, "spindle_live_bytes"), 0)
        finally:
            server.stop()

    def metric(self, server, name):
        for line in server.get("/metrics").body.decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        self.fail(f"no {name}")

    def test_what_running_jobs_say_counts_too(self):
        configuration = """
            [commands.talk]
            command = ["sh", "-c", "head -c 300000 /dev/zero | tr '\\\\0' x | fold -w 1000; echo; echo done; sleep 600"]
            """
        with self.subTest():
            server = Server("--config", "spindle.toml", "--live-bytes", "500KiB", files={"spindle.toml": configuration})
            try:
                job = server.submit("talk")
                for event in server.events(job):
                    if event["type"] == "log" and event["text"] == "done":
                        break
                answer = server.ask("POST", "/v1/jobs", {"task": "squares", "input": self.INPUT})
                self.check(answer)
                server.ask("POST", f"/v1/jobs/{job}/cancel", headers={"Prefer": "wait=30"}, body={"grace": "10ms"})
                self.assertEqual(server.ask("POST", "/v1/jobs", {"task": "squares", "input": self.INPUT}).status, 202)
            finally:
                server.stop()

    def test_the_default_is_a_quarter_of_the_memory_and_the_setting_is_shown(self):
        def shown(*arguments, **env):
            out = subprocess.run([BINARY, "config", "--json", *arguments], capture_output=True, text=True, check=True,
                                 env={"PATH": "/usr/bin:/bin", "HOME": "/tmp", **env}).stdout
            return json.loads(out)["live-bytes"]

        total = int(pathlib.Path("/proc/meminfo").read_text().split()[1]) * 1024
        default = shown()
        self.assertEqual(default["from"], "default")
        value = default["value"][0]
        self.assertTrue(value.endswith("MiB"), value)
        self.assertLessEqual(int(value[:-3]) << 20, total // 4 + (1 << 20))
        self.assertGreaterEqual(int(value[:-3]), 16)
        self.assertEqual(shown("--live-bytes", "3GiB"), {"value": ["3GiB"], "from": "--live-bytes"})
        self.assertEqual(shown(SPINDLE_LIVE_BYTES="2GiB"), {"value": ["2GiB"], "from": "SPINDLE_LIVE_BYTES"})


class WorkerStartTest(ServerTest):
    """A worker that starts brings its schemas along, and they go with it."""
    TASKS = "import spindle\n" + "".join(
        f"@spindle.task\ndef task_{number}(first: int, second: list[dict[str, int]], third: str = 'x') -> int:\n    return first\n"
        for number in range(100))
    # How many jobs go by until a successor is ready is a matter of speed: they are not kept.
    arguments = ("--python", "tasks.py", "--threads", "1", "--processes", "1", "--worker-max-jobs", "1", "--store", "memory",
                 "--keep-jobs", "1")
    files = {"tasks.py": TASKS}

    def resident(self):
        status = pathlib.Path(f"/proc/{self.server.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) << 10

    def starts(self):
        text = self.server.get("/metrics").body.decode()
        return sum(float(line.split()[-1]) for line in text.splitlines()
                   if line.startswith("spindle_workers_ended_total{"))

    def restart(self, times):
        wanted = self.starts() + times
        number = 0
        while self.starts() < wanted:
            number += 1
            answer = self.server.ask("POST", f"/v1/run/task_{number % 100}", {"first": 1, "second": []})
            self.assertEqual(answer.json, 1)

    def test_starts_of_workers_with_a_hundred_tasks_cost_no_memory(self):
        self.restart(10)
        before = self.resident()
        self.restart(30)
        grown = self.resident() - before
        # A start used to keep 222 kB.
        self.assertLess(grown, 30 * 60_000)


if __name__ == "__main__":
    unittest.main()
