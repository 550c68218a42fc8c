"""What was set while a server ran holds for the next one, however the first one ended."""
import pathlib
import unittest

from server import Server

CONFIGURATION = """
threads = 2
processes = 2
[commands.mark]
command = ["sh", "-c", "echo ran >> $MARKS"]
environment = { MARKS = "%s" }
"""


class SettingsSurviveTest(unittest.TestCase):
    def setUp(self):
        self.server = Server("--config", "spindle.toml", files={"spindle.toml": CONFIGURATION % "/dev/null"})
        self.addCleanup(self.server.stop)
        self.marks = pathlib.Path(self.server.home.name, "marks")
        pathlib.Path(self.server.home.name, "spindle.toml").write_text(CONFIGURATION % self.marks)
        self.restart()

    def restart(self):
        self.server.kill()
        self.server.start()

    def patch(self, path, body, status=200):
        answer = self.server.ask("PATCH", path, body)
        self.assertEqual(answer.status, status, answer.body)
        return answer.json

    def ran(self):
        return self.marks.read_text().splitlines() if self.marks.exists() else []

    def test_a_paused_queue_stays_paused_and_runs_nothing(self):
        self.assertTrue(self.patch("/v1/queues/held", {"paused": True})["paused"])
        held = [self.server.submit("mark", queue="held", max_attempts=attempts) for attempts in (1, 3)]
        for _ in range(2):
            self.restart()
            self.assertTrue(self.server.get("/v1/queues/held").json["paused"])
            held.append(self.server.submit("mark", queue="held"))
            # Both slots have served others since: who could run has run.
            for _ in range(6):
                self.assertEqual(self.server.wait(self.server.submit("squares", {"n": 1}, pool="process"))["state"], "succeeded")
            self.assertEqual(self.ran(), [])
            self.assertEqual({self.server.get(f"/v1/jobs/{job}").json["state"] for job in held}, {"queued"})
        self.assertFalse(self.patch("/v1/queues/held", {"paused": False})["paused"])
        self.assertEqual({self.server.wait(job)["state"] for job in held}, {"succeeded"})
        self.assertEqual(self.ran(), ["ran"] * len(held))
        self.restart()
        # A queue without jobs of which nothing is set is not remembered.
        self.assertNotIn(True, [queue["paused"] for queue in self.queues().values()])

    def queues(self):
        return {queue["name"]: queue for queue in self.server.get("/v1/queues").json["queues"]}

    def test_the_bound_of_a_queue_holds(self):
        self.assertEqual(self.patch("/v1/queues/small", {"limit": 2})["limit"], 2)
        self.restart()
        self.assertEqual(self.queues()["small"]["limit"], 2)
        for _ in range(2):
            self.server.submit("mark", queue="small", delay="1h")
        refused = self.server.ask("POST", "/v1/jobs", {"task": "mark", "queue": "small", "delay": "1h"})
        self.assertEqual(refused.status, 429)
        self.assertEqual(self.patch("/v1/queues/small", {"limit": None})["limit"], 100_000)
        self.restart()
        self.assertEqual(self.queues()["small"]["limit"], 100_000)

    def test_sizes_of_pools_hold_whatever_is_configured(self):
        def capacities():
            return {pool["name"]: pool["capacity"] for pool in self.server.get("/v1/pools").json["pools"]}

        before = capacities()
        self.assertEqual((before["thread"], before["process"]), (2, 2))
        for pool, capacity in (("thread", 3), ("process", 1), ("loop", 7)):
            self.assertEqual(self.patch(f"/v1/pools/{pool}", {"capacity": capacity})["capacity"], capacity)
        self.restart()
        after = capacities()
        self.assertEqual((after["thread"], after["process"], after["loop"]), (3, 1, 7))
        self.assertIn("still holds", pathlib.Path(self.server.log.name).read_text())
        # As many run at once as was set, by their effects.
        jobs = [self.server.submit("sleep", {"seconds": 60}, pool="thread") for _ in range(5)]
        running = [job for job in jobs if self.state(job, "queued") == "running"]
        self.assertEqual(len(running), 3)
        for job in jobs:
            self.server.ask("POST", f"/v1/jobs/{job}/cancel")
        for pool in ("thread", "process", "loop"):
            self.assertEqual(self.patch(f"/v1/pools/{pool}", {"capacity": None})["capacity"], before[pool])
        self.restart()
        self.assertEqual(capacities(), before)

    def state(self, job, waiting):
        """The job's state; asks again while it is on its way to a thread that others leave free."""
        busy = next(pool for pool in self.server.get("/v1/pools").json["pools"] if pool["name"] == "thread")["busy"]
        while busy < 3:
            busy = next(pool for pool in self.server.get("/v1/pools").json["pools"] if pool["name"] == "thread")["busy"]
        return self.server.get(f"/v1/jobs/{job}").json["state"]

    def test_an_orderly_end_keeps_them_too(self):
        self.patch("/v1/queues/held", {"paused": True, "limit": 5})
        self.assertEqual(self.server.end(), 0)
        self.server.start()
        held = self.server.get("/v1/queues/held").json
        self.assertEqual((held["paused"], held["limit"]), (True, 5))

    def test_what_is_no_setting_changes_nothing(self):
        for path, body in (("/v1/queues/q", {"limit": -1}), ("/v1/queues/q", {"limit": 1, "paused": "yes"}),
                           ("/v1/pools/thread", {"capacity": 0}), ("/v1/pools/thread", {"capacity": "2"})):
            self.patch(path, body, 422)
        self.assertNotIn("q", self.queues())


if __name__ == "__main__":
    unittest.main()
