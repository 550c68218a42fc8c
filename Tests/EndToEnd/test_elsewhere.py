"""What takes its time is done elsewhere: the loop and the start of children do not wait for it, and what waits for the disk is
answered when it is there."""
import contextlib
import errno
import os
import pathlib
import socket
import tempfile
import unittest

from server import PATIENCE, Server
from test_failing_calls import shim
from waiting import asking, gone
from wire import Wire, request

COMMANDS = """
[commands.litter]
command = ["sh", "-c", "touch held; pwd"]
[commands.echo]
command = ["echo", "here"]
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

    @contextlib.contextmanager
    def held(self, call):
        """The next such call of the server is held until this is over; begins once `arrived` is called, which waits for it."""
        gate = self.gates / call
        os.mkfifo(gate)
        opened = []

        def reader():
            try:
                opened.append(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
            except OSError as error:
                self.assertEqual(error.errno, errno.ENXIO)  # nobody reads it yet
            return opened

        def arrived():
            asking(reader, f"there is no {call}")
            gate.unlink()
        try:
            yield arrived
        finally:
            for descriptor in opened:
                os.close(descriptor)


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


if __name__ == "__main__":
    unittest.main()
