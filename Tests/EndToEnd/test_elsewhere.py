"""What takes its time is done elsewhere: the loop and the start of children do not wait for it, and what waits for the disk is
answered when it is there."""
import os
import pathlib
import socket
import tempfile
import unittest

from server import PATIENCE, Server
from test_failing_calls import shim
from waiting import begun, gone, held
from wire import Wire, request

COMMANDS = """
[commands.litter]
command = ["sh", "-c", "touch held; pwd"]
[commands.echo]
command = ["echo", "here"]
[commands.gate]
command = ["sh", "-c", "read go < $1; exit 3", "sh", "{gate}"]
max_attempts = 3
"""


class HeldTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.gates = pathlib.Path(directory.name, "gates")
        self.gates.mkdir()
        library = shim(directory.name, "holding")
        self.server = Server("--config", "c.toml", "--threads", "1", "--processes", "1", files={"c.toml": COMMANDS},
                             env={"LD_PRELOAD": library, "SPINDLE_GATES": str(self.gates)})
        self.addCleanup(self.server.stop)

    def held(self, call):
        return held(self.gates, call)


class HeldTests(HeldTest):
    def test_a_tree_that_is_long_in_going_holds_up_no_start(self):
        with self.held("unlinkat") as arrived:
            left = pathlib.Path(self.server.ask("POST", "/v1/run/litter", {}).json)
            arrived()
            self.assertTrue(left.exists())
            self.assertEqual(self.server.ask("POST", "/v1/run/echo?timeout=20s", {}).json, "here")
            self.assertEqual(self.server.ask("POST", "/v1/run/squares?pool=process&timeout=20s", {"n": 3}).json, {"sum": 5})
            self.assertTrue(left.exists())
        gone(left)

    def wire(self):
        wire = Wire(self.server.port)
        self.addCleanup(wire.socket.close)
        return wire

    def has_answer(self, wire):
        wire.socket.setblocking(False)
        try:
            return len(wire.socket.recv(1, socket.MSG_PEEK)) > 0
        except BlockingIOError:
            return False
        finally:
            wire.socket.settimeout(PATIENCE)

    def visit(self, cookie):
        return self.server.ask("GET", "/v1/jobs", headers={"Cookie": cookie}, token=False).status

    def held_up(self, target, method="GET", fields=()):
        """What is answered to a request that waits for the disk, which everybody else does not."""
        wire = self.wire()
        with self.held("fsync") as arrived:
            wire.send(request(method, target, fields), method)
            arrived()
            self.assertEqual(self.server.ask("POST", "/v1/run/squares?pool=thread", {"n": 3}).json, {"sum": 5})
            self.assertFalse(self.has_answer(wire), "answered before it was on disk")
        return wire.read(1)[0]

    def test_a_sign_in_and_a_sign_out_wait_for_the_disk_and_nobody_waits_for_them(self):
        answer = self.held_up("/?token=" + self.server.token)
        self.assertEqual(answer.status, 303)
        cookie = answer.fields["set-cookie"].split(";")[0]
        self.server.kill()
        self.server.start()
        self.assertEqual(self.visit(cookie), 200)
        self.assertEqual(self.held_up("/v1/session", "DELETE", [("Cookie", cookie)]).status, 204)
        self.server.kill()
        self.server.start()
        self.assertEqual(self.visit(cookie), 401)
        self.assertEqual(pathlib.Path(self.server.store + ".sessions").stat().st_mode & 0o777, 0o600)

    def test_sign_ins_that_come_together_are_all_kept(self):
        target = "/?token=" + self.server.token
        wires = [self.wire() for _ in range(20)]
        with self.held("fsync") as arrived:
            wires[0].send(request("GET", target), "GET")
            arrived()
            for wire in wires[1:]:
                wire.send(request("GET", target), "GET")
            self.assertEqual(self.server.get("/healthz").status, 200)
        cookies = [wire.read(1)[0].fields["set-cookie"].split(";")[0] for wire in wires]
        self.server.kill()
        self.server.start()
        self.assertEqual({self.visit(cookie) for cookie in cookies}, {200})

    # What is shown is on disk

    def shown(self, job):
        """A job's state by itself, in lists and in its tag."""
        answer = self.server.get(f"/v1/jobs/{job}")
        state = answer.json["state"]
        listed = [one["id"] for one in self.server.get(f"/v1/jobs?state={state}").json["jobs"]]
        self.assertIn(job, listed, f"it says {state}, and no list does")
        others = "scheduled,blocked,queued,running,suspended,cancelling,succeeded,failed,cancelled".replace(state, "").replace(",,", ",")
        self.assertNotIn(job, [one["id"] for one in self.server.get(f"/v1/jobs?state={others.strip(',')}").json["jobs"]])
        return state, answer.headers["etag"]

    def started(self, **options):
        gate = self.server.home.name + "/gate"
        os.mkfifo(gate)
        job = self.server.submit("gate", {"gate": gate}, **options)
        begun(self.server, job)
        return job, gate

    def test_a_cancel_is_seen_once_it_is_on_disk(self):
        job, _ = self.started()
        before = self.shown(job)
        self.assertEqual(before[0], "running")
        waiting = self.wire()
        with self.held("fdatasync") as arrived:
            asked = self.wire().send(request("DELETE", f"/v1/jobs/{job}", self.fields), "DELETE")
            arrived()
            self.assertEqual(self.shown(job)[0], "running")
            waiting.send(request("GET", f"/v1/jobs/{job}", [
                *self.fields, ("If-None-Match", self.shown(job)[1]), ("Prefer", "wait=20")]), "GET")
            self.assertEqual(self.shown(job)[0], "running")
            self.assertFalse(self.has_answer(asked))
        # Who waits for a change is told of this one.
        changed = waiting.read(1)[0]
        self.assertEqual(changed.status, 200)
        self.assertIn(changed.json["state"], ("cancelling", "cancelled"))
        self.assertNotEqual(changed.fields["etag"], before[1])
        self.assertEqual(self.server.wait(job)["state"], "cancelled")

    def test_a_retry_is_seen_once_it_is_on_disk(self):
        job, gate = self.started()
        with self.held("fdatasync") as arrived:
            pathlib.Path(gate).write_text("go\n")
            arrived()
            self.assertEqual(self.shown(job)[0], "running")
            self.server.process.kill()
        self.server.kill()
        self.server.start()
        self.assertEqual(self.server.get(f"/v1/jobs/{job}").json["attempt"] > 0, True)
        self.server.ask("DELETE", f"/v1/jobs/{job}", headers={"Prefer": "wait=20"})

    @property
    def fields(self):
        return [("Authorization", "Bearer " + self.server.token)]


if __name__ == "__main__":
    unittest.main()
