"""Each system call that can fail for want of descriptors or memory is let fail, one after the other: nothing leaks, nothing is
closed twice, nothing hangs, and whoever ends says why.

SPINDLE_SWEEP=all goes through every call; otherwise a part of each sweep is tried, another one in each run."""
import mmap
import os
import pathlib
import random
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
import time
import unittest

from server import PATIENCE, Server
from waiting import asking, clock

HERE = pathlib.Path(__file__).parent
ALL = os.environ.get("SPINDLE_SWEEP") == "all"
TRIED = 12  # of one sweep, if not all

CONFIGURATION = """
[commands.echo]
command = ["echo", "here"]
"""


class Plan:
    """What the shim is told and says, in memory that both have mapped."""

    def __init__(self, directory):
        self.path = pathlib.Path(directory, "plan")
        self.path.write_bytes(bytes(64))
        with open(self.path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 64)
        self.closed = 0

    def arm(self, countdown):
        self.map[0:8] = struct.pack("q", countdown)

    @property
    def numbers(self):
        return struct.unpack("qqqq", self.map[0:32])

    @property
    def calls(self):
        return self.numbers[1]

    @property
    def is_spent(self):
        return self.numbers[0] <= 0

    @property
    def last(self):
        return bytes(self.map[32:64]).split(b"\0")[0].decode()


def compiler():
    # Swift brings one along.
    return shutil.which("cc") or shutil.which("clang") or shutil.which("gcc")


def shim(directory, name="failing"):
    library = f"{directory}/{name}.so"
    subprocess.run([compiler(), "-shared", "-fPIC", "-O1", "-o", library, HERE / f"{name}.c", "-ldl"], check=True)
    return library


class FailingCallsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.library = shim(cls.directory.name)
        cls.seed = int(os.environ.get("SPINDLE_SEED", random.randrange(1 << 30)))

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def setUp(self):
        self.plan = Plan(self.directory.name)
        self.random = random.Random(self.seed)

    def server(self, *arguments):
        env = {"LD_PRELOAD": self.library, "SPINDLE_FAILING": str(self.plan.path)}
        return Server("--config", "spindle.toml", "--threads", "1", "--processes", "1", "--drain", "200ms", *arguments, env=env,
                      files={"spindle.toml": CONFIGURATION})

    def numbers(self, calls):
        """Which of so many calls are let fail."""
        all_of_them = range(1, calls + 1)
        return all_of_them if ALL or calls <= TRIED else sorted(self.random.sample(all_of_them, TRIED))

    def descriptors(self, server):
        """What the server has open, by what it is."""
        found = {}
        for name in os.listdir(f"/proc/{server.process.pid}/fd"):
            try:
                target = os.readlink(f"/proc/{server.process.pid}/fd/{name}")
            except FileNotFoundError:
                continue
            kind = target.split(":")[0] if ":" in target else target
            found[kind] = found.get(kind, 0) + 1
        return found

    def children(self, server):
        """How many children the server has, those that nobody has waited for too."""
        return len(self.those_below(server))

    def those_below(self, server):
        found = []
        for task in os.listdir(f"/proc/{server.process.pid}/task"):
            try:
                found += pathlib.Path(f"/proc/{server.process.pid}/task/{task}/children").read_text().split()
            except FileNotFoundError:
                continue
        return found

    def until(self, what, wanted, tell):
        """Waits until it is as wanted; that somebody closes a descriptor or waits for a child, nobody is told."""
        try:
            asking(lambda: what() == wanted, "")
        except AssertionError:
            self.fail(f"seed {self.seed}, {tell}: {what()}, but before it was {wanted}")

    def rest(self, server):
        """What the server has when nothing goes on any more: for a while none of its threads has run, or wanted to."""
        found, since = None, time.monotonic()
        while time.monotonic() - since < 0.3:
            now = (self.descriptors(server), self.children(server))
            if now != found or self.is_at_work(server):
                found, since = now, time.monotonic()
            clock(0.01)
        return found

    def is_at_work(self, server):
        """Whether a thread of it or of its children wants to run, or waits for the disk."""
        for process in (server.process.pid, *self.those_below(server)):
            for thread in pathlib.Path(f"/proc/{process}/task").glob("*/stat"):
                try:
                    if thread.read_text().rpartition(")")[2].split()[0] in "RD":
                        return True
                except OSError:
                    return True  # it has ended meanwhile
        return False

    def sweep(self, server, act):
        """Does the same again and again, and lets another call of it fail each time."""
        for _ in range(3):
            act()
        before = self.rest(server)
        begin = self.plan.calls
        act()
        self.until(lambda: (self.descriptors(server), self.children(server)), before, "without a failure")
        calls = self.plan.calls - begin + 2
        for number in self.numbers(calls):
            self.plan.arm(number)
            try:
                act()
            except (OSError, AssertionError, ValueError) as error:
                said = error
            else:
                said = "no error"
            self.plan.arm(0)
            tell = f"call {number} ({self.plan.last}), {said}"
            self.assertIsNone(server.process.poll(), f"seed {self.seed}, the server has ended: {tell}")
            # It goes on, whatever it was: what it could not have it asks for again by itself.
            asking(lambda: self.works(act), f"seed {self.seed}, it does not go on: {tell}")
            self.until(lambda: (self.descriptors(server), self.children(server)), before, tell)
            self.assertEqual(self.plan.numbers[3], 0, f"seed {self.seed}, a descriptor was closed twice: {tell}")

    def works(self, act):
        try:
            act()
        except (OSError, AssertionError, ValueError):
            return False
        return True

    def test_requests(self):
        server = self.server()
        self.addCleanup(server.stop)

        def act():
            answer = server.ask("POST", "/v1/run/squares", {"n": 100})
            assert answer.status == 200, answer.status

        self.sweep(server, act)

    def test_requests_over_tls(self):
        key, certificate = self.directory.name + "/key.pem", self.directory.name + "/certificate.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost"],
                       check=True, capture_output=True)
        server = self.server("--tls-cert", certificate, "--tls-key", key)
        self.addCleanup(server.stop)
        context = ssl.create_default_context(cafile=certificate)
        context.check_hostname = False

        def act():
            with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as plain:
                with context.wrap_socket(plain) as connection:
                    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    received = b""
                    while piece := connection.recv(65536):
                        received += piece
            assert received.startswith(b"HTTP/1.1 200"), received[:100]

        self.sweep(server, act)

    def test_jobs_on_threads_and_the_loop(self):
        server = self.server()
        self.addCleanup(server.stop)

        def act():
            for pool in ("thread", "loop"):
                answer = server.ask("POST", f"/v1/run/sleep?pool={pool}", {"seconds": 0.01})
                assert answer.status == 200, answer.status

        self.sweep(server, act)

    def test_commands(self):
        server = self.server()
        self.addCleanup(server.stop)

        def act():
            answer = server.ask("POST", "/v1/run/echo", {})
            assert answer.status == 200 and answer.json == "here", answer.body

        self.sweep(server, act)

    def test_workers_that_are_started(self):
        server = self.server()
        self.addCleanup(server.stop)

        def act():
            # The worker dies with each job, and another one is started.
            job = server.ask("POST", "/v1/run/fault?timeout=20s", {"how": "exit"})
            assert job.status == 500, job.status
            answer = server.ask("POST", "/v1/run/squares?pool=process&timeout=20s", {"n": 1})
            assert answer.status == 200, answer.body

        server.line.append("--demo-faults")
        server.end()
        server.start()
        self.sweep(server, act)

    def test_starts(self):
        server = self.server()
        server.end()
        calls = self.plan.calls
        self.addCleanup(server.stop)
        server.kill = lambda: None
        for number in self.numbers(calls):
            self.plan.arm(number)
            with self.subTest(number):
                try:
                    server.start()
                except RuntimeError as error:
                    # It says why, and no signal ended it.
                    self.assertGreater(server.process.returncode, 0, f"{self.plan.last}: {error}")
                    self.assertRegex(str(error), r"(?i)spindle: |Error: |no descriptors|cannot", self.plan.last)
                    continue
                self.plan.arm(0)
                # What has started works; what it could not have is looked for again.
                self.until(lambda: server.ask("POST", "/v1/run/squares?timeout=20s", {"n": 100}).status, 200,
                           self.plan.last)
                self.assertEqual(server.end(), 0)
            self.assertEqual(self.plan.numbers[3], 0, f"a descriptor was closed twice: {self.plan.last}")
        self.plan.arm(0)

    def test_stops(self):
        server = self.server()
        server.submit("sleep", {"seconds": 60}, pool="thread")
        server.submit("squares", {"n": 1}, pool="process")
        begin = self.plan.calls
        self.assertEqual(server.end(), 0)
        calls = self.plan.calls - begin
        self.addCleanup(server.stop)
        for number in self.numbers(max(calls, 1)):
            server.start()
            server.submit("sleep", {"seconds": 60}, pool="thread")
            server.submit("squares", {"n": 1}, pool="process")
            self.plan.arm(number)
            with self.subTest(number, call=self.plan.last):
                self.assertEqual(server.end(), 0)
                self.assertEqual(self.plan.numbers[3], 0)
            self.plan.arm(0)


if __name__ == "__main__":
    unittest.main()
