"""Acting on what runs as a process: input, signals, standing still."""
import pathlib
import re

from server import ServerTest
from waiting import asking, begun

CONFIG = r"""
[commands.echo]
command = ["cat"]
stdin = true

[commands.ticks]
command = ["sh", "-c", "trap 'echo heard; exit 0' USR1; while :; do echo tick; sleep 0.02; done"]

[commands.wide]
command = ["sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x"]
"""


class ControlTests(ServerTest):
    files = {"c.toml": CONFIG}
    arguments = ("--config", "c.toml", "--processes", "4", "--threads", "1")

    def act(self, job, what, body=None, **headers):
        return self.server.ask("POST", f"/v1/jobs/{job}/{what}", body, headers)

    def started(self, task):
        job = self.server.submit(task)
        begun(self.server, job)
        workers = self.server.get("/v1/pools/process").json["workers"]
        return job, next(w["pid"] for w in workers if w["job"] == job)

    def test_a_program_reads_what_is_written_to_it(self):
        job, _ = self.started("echo")
        self.assertEqual(self.act(job, "stdin", b"hello \xff", **{"Content-Type": "application/octet-stream"}).status, 204)
        self.assertEqual(self.act(job, "stdin?close=true", '"json"').status, 204)
        self.assertEqual(self.server.wait(job)["result"], "hello �\"json\"")
        self.assertEqual(self.act(job, "stdin", '"late"').status, 409)

    def test_a_program_that_stands_still_does_nothing_until_it_goes_on(self):
        job, pid = self.started("ticks")
        self.assertEqual(self.act(job, "suspend").json["state"], "suspended")
        # A shell that is just making a child by vfork waits for it in D when both are stopped.
        asking(lambda: self.stands_still(pid), "it does not stand still")
        self.assertEqual(self.server.get(f"/v1/jobs/{job}").json["state"], "suspended")
        self.assertEqual(self.act(job, "resume").json["state"], "running")
        asking(lambda: not self.stands_still(pid), "it does not go on")
        self.act(job, "suspend")
        # What stands still can be cancelled too.
        answer = self.act(job, "cancel", Prefer="wait=20")
        self.assertEqual((answer.status, answer.json["state"]), (200, "cancelled"))
        types = [e["type"] for e in self.server.get(f"/v1/jobs/{job}/events?limit=1000", Accept="application/json").json["events"]]
        self.assertEqual([t for t in types if t in ("suspended", "resumed", "cancelling", "cancelled")],
                         ["suspended", "resumed", "suspended", "cancelling", "cancelled"])

    def stands_still(self, pid):
        return re.search("State:\t[TD]", pathlib.Path(f"/proc/{pid}/status").read_text()) is not None

    def test_a_signal_arrives(self):
        job, _ = self.started("ticks")
        # Once it has printed something its trap is set.
        next(event for event in self.server.events(job) if event["type"] == "log")
        self.assertEqual(self.act(job, "signal", {"signal": "SIGUSR1"}).status, 200)
        done = self.server.wait(job)
        self.assertEqual(done["state"], "succeeded")
        self.assertTrue(done["result"].endswith("heard"))

    def test_what_cannot_be_done_is_refused(self):
        job = self.server.submit("sleep", {"seconds": 60}, pool="loop")
        for what in ("suspend", "resume", "stdin"):
            self.assertEqual(self.act(job, what).status, 409, what)
        self.assertEqual(self.act(job, "signal", {"signal": "USR1"}).status, 409)
        self.server.ask("DELETE", f"/v1/jobs/{job}")
        job, _ = self.started("ticks")
        self.assertEqual(self.act(job, "signal", {"signal": "STOP"}).status, 422)
        self.assertEqual(self.act(job, "signal", {"sig": 1}).status, 422)
        self.assertEqual(self.act(job, "stdin", '"x"').status, 409)
        self.act(job, "cancel", Prefer="wait=20")
        self.assertEqual(self.act(job, "suspend").status, 409)
        self.assertEqual(self.act("0000000000000", "suspend").status, 404)

    def test_a_line_of_any_length_is_kept(self):
        self.assertEqual(self.server.ask("POST", "/v1/run/wide", {}).json, "x" * 300_000)


class ResizeTests(ServerTest):
    arguments = ("--processes", "1", "--threads", "1")

    def patch(self, path, body):
        return self.server.ask("PATCH", path, body)

    def test_a_pool_grows_and_shrinks_while_it_works(self):
        for pool in ("thread", "process", "loop"):
            self.assertEqual(self.patch(f"/v1/pools/{pool}", {"capacity": 3}).json["capacity"], 3)
            jobs = [self.server.submit("sleep", {"seconds": 60}, pool=pool) for _ in range(4)]
            for job in jobs[:3]:
                begun(self.server, job)
            self.assertEqual(self.patch(f"/v1/pools/{pool}", {"capacity": 1}).json["capacity"], 1)
            for job in jobs[:3]:
                self.server.ask("POST", f"/v1/jobs/{job}/cancel", headers={"Prefer": "wait=20"})
            begun(self.server, jobs[3])
            if pool != "loop":
                asking(lambda: len(self.server.get(f"/v1/pools/{pool}").json["workers"]) == 1, "there are still too many workers")
            self.server.ask("POST", f"/v1/jobs/{jobs[3]}/cancel", headers={"Prefer": "wait=20"})
        for body in ({"capacity": 0}, {"capacity": "3"}, {}, {"slots": 3}):
            self.assertEqual(self.patch("/v1/pools/thread", body).status, 422, body)

    def test_a_queue_can_be_paused_and_bounded(self):
        self.assertTrue(self.patch("/v1/queues/slow", {"paused": True, "limit": 2}).json["paused"])
        jobs = [self.server.submit("squares", queue="slow") for _ in range(2)]
        answer = self.server.ask("POST", "/v1/jobs", {"task": "squares", "queue": "slow"})
        self.assertEqual(answer.status, 429)
        self.assertEqual(answer.headers["ratelimit-policy"], '"slow";q=2')
        self.assertEqual(self.states(jobs), ["queued", "queued"])
        self.assertFalse(self.patch("/v1/queues/slow", {"paused": False}).json["paused"])
        for job in jobs:
            self.assertEqual(self.server.wait(job)["state"], "succeeded")

    def states(self, jobs):
        return [self.server.get(f"/v1/jobs/{job}").json["state"] for job in jobs]
