"""How a server ends: what it says, what it keeps, and what its clients notice."""
import http.client
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

from server import BINARY, PATIENCE, Server
from waiting import Seen, asking, begun, logged, there

CONFIG = """
[commands.chatty]
command = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done"]
max_attempts = 2
"""


class StoppedTests(unittest.TestCase):
    def start(self, *arguments, **options):
        server = Server("--threads", "2", "--processes", "2", "--drain", "50ms", *arguments, **options)
        self.addCleanup(server.stop)
        return server

    def types(self, server, job):
        events = server.get(f"/v1/jobs/{job}/events?limit=1000", Accept="application/json").json["events"]
        return [event["type"] for event in events], events

    def begun(self, server, *jobs):
        for job in jobs:
            begun(server, job)

    def test_what_is_stopped_for_good_says_so_and_never_that_it_took_too_long(self):
        server = self.start()
        jobs = [server.submit("sleep", {"seconds": 60}, pool=pool, timeout="1h") for pool in ("loop", "thread", "process")]
        self.begun(server, *jobs)
        self.assertEqual(server.end(), 0)
        server.start()
        for job in jobs:
            record = server.get(f"/v1/jobs/{job}").json
            self.assertEqual((record["state"], record["error"]["type"]), ("failed", "Stopped"), record)
            self.assertEqual(record["error"]["message"], "the server stopped")

    def test_what_may_run_again_is_told_why_and_goes_on(self):
        server = self.start()
        jobs = [server.submit("sleep", {"seconds": 2}, pool=pool, max_attempts=2) for pool in ("loop", "thread", "process")]
        self.begun(server, *jobs)
        self.assertEqual(server.end(), 0)
        server.start()
        for job in jobs:
            self.assertEqual(server.wait(job)["state"], "succeeded")
            types, events = self.types(server, job)
            self.assertNotIn("gap", types)
            (retrying,) = [event for event in events if event["type"] == "retrying"]
            self.assertEqual(retrying["error"]["type"], "Stopped")

    def test_without_a_disk_everybody_is_told_that_the_server_stopped(self):
        server = self.start("--store", "memory", "--threads", "1")
        answers = {}

        def run(name, path, body):
            answers[name] = server.ask("POST", path, body)

        threads = []
        for name, options in (("running", "max_attempts=3"), ("waiting", "max_attempts=1"), ("later", "delay=1h")):
            threads.append(threading.Thread(target=run, args=(name, f"/v1/run/sleep?pool=thread&{options}", {"seconds": 60})))
            threads[-1].start()
            asking(lambda: len(server.get("/v1/jobs").json["jobs"]) == len(threads), "a job does not come")
        self.assertEqual(server.end(), 0)
        for thread in threads:
            thread.join(PATIENCE)
        for name, answer in answers.items():
            self.assertEqual(answer.status, 500, (name, answer.body))
            self.assertEqual(answer.json["error"]["type"], "Stopped", name)
        self.assertEqual(len(answers), 3)

    def test_the_last_events_are_stored_and_no_reader_finds_a_gap(self):
        server = self.start("--config", "c.toml", files={"c.toml": CONFIG})
        job = server.submit("chatty")
        waiting = [server.submit("sleep", {"seconds": 0}, delay="1s") for _ in range(3)]
        seen = []
        for event in server.events(job):
            seen.append(event)
            if len(seen) == 10:
                server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.end(), 0)
        # Stored whole, also when nobody looked.
        server.start()
        types, events = self.types(server, job)
        self.assertNotIn("gap", types)
        self.assertEqual(events[:len(seen)], seen)
        self.assertEqual([event["seq"] for event in events], list(range(1, len(events) + 1)))
        server.ask("DELETE", f"/v1/jobs/{job}")
        for job in waiting:
            self.assertEqual(server.wait(job)["state"], "succeeded")
            types, events = self.types(server, job)
            self.assertNotIn("gap", types)
            self.assertEqual([event["seq"] for event in events], list(range(1, len(events) + 1)))

    def test_a_second_signal_hurries(self):
        server = self.start("--drain", "1h")
        job = server.submit("sleep", {"seconds": 3600})
        self.begun(server, job)
        server.process.terminate()
        logged(server, "stopping")
        self.assertIsNone(server.process.poll())
        self.assertEqual(server.end(), 0)


class StartTests(unittest.TestCase):
    SLOW = "import os, time\nopen('importing', 'w').close()\ntime.sleep(3600)\n"

    def begin(self, home, prefix=()):
        (home / "slow.py").write_text(self.SLOW)
        env = dict(os.environ, XDG_STATE_HOME=str(home), TMPDIR=str(home))
        process = subprocess.Popen(
            [*prefix, BINARY, "serve", "--listen", "127.0.0.1:0", "--python", "slow.py"], env=env, cwd=home,
            stderr=subprocess.DEVNULL)
        self.addCleanup(process.kill)
        there(home / "importing")
        return process

    def test_a_signal_ends_a_server_that_has_not_begun(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with tempfile.TemporaryDirectory() as home:
                process = self.begin(pathlib.Path(home))
                process.send_signal(signal.SIGHUP)
                with self.assertRaises(subprocess.TimeoutExpired):
                    process.wait(0.3)
                process.send_signal(number)
                self.assertEqual(process.wait(PATIENCE), 0)

    def test_also_as_process_1(self):
        prefix = ("unshare", "--pid", "--fork", "--kill-child")
        if subprocess.run([*prefix, "true"], capture_output=True).returncode != 0:
            self.skipTest("no name spaces of process ids here")
        with tempfile.TemporaryDirectory() as home:
            process = self.begin(pathlib.Path(home), prefix)
            os.kill(int(subprocess.check_output(["pgrep", "-P", str(process.pid)])), signal.SIGTERM)
            self.assertEqual(process.wait(PATIENCE), 0)


class ConnectionsTests(unittest.TestCase):
    def test_what_has_come_is_answered_and_the_last_answer_says_that_it_is(self):
        server = Server("--no-auth", "--threads", "1")
        self.addCleanup(server.stop)
        request = b"POST /v1/run/sleep HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
            first = b'{"seconds":1}'
            connection.sendall(request % (len(first), first))
            asking(lambda: server.get("/v1/jobs?state=running").json["jobs"], "the job does not begin")
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
            server.process.terminate()
            received = b""
            while piece := connection.recv(65536):
                received += piece
        heads = received.split(b"HTTP/1.1 200 OK\r\n")[1:]
        self.assertEqual(len(heads), 4, received)
        self.assertEqual([b"connection: close" in head.lower() for head in heads], [False, False, False, True])
        self.assertEqual(server.stop(), 0)


class RestartTests(unittest.TestCase):
    """A socket that outlives its servers, as a service manager keeps it."""

    def setUp(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.addCleanup(self.listener.close)
        # LISTEN_PID must be the server's own.
        script = f'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@" 3<&{self.listener.fileno()}'
        self.server = Server("--no-auth", "--threads", "2", "--processes", "1", "--loops", "2", listen=False,
                             prefix=("sh", "-c", script, "sh"), pass_fds=(self.listener.fileno(),))
        self.addCleanup(self.server.stop)
        self.stop, self.failures, self.answers = threading.Event(), [], Seen()

    def load(self, keeps, method, path, body, wanted):
        connection = None
        while not self.stop.is_set() or connection and connection.close():
            connection = connection or http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=PATIENCE)
            try:
                connection.request(method, path, body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                text = response.read()
                self.answers.note(response.status)
                if response.status != wanted:
                    self.failures.append((path, response.status, text))
                if not keeps or response.will_close:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                self.failures.append((path, repr(error)))
                connection.close()
                connection = None

    def test_a_restart_under_load_fails_no_request(self):
        kinds = [
            (keeps, *request) for keeps in (True, False) for request in (
                ("POST", "/v1/run/squares", '{"n":100}', 200), ("POST", "/v1/run/squares?pool=process", '{"n":100}', 200),
                ("POST", "/v1/run/sleep", '{"seconds":0.05}', 200), ("POST", "/v1/jobs", '{"task":"squares"}', 202),
                ("GET", "/v1/jobs?limit=1", None, 200))]
        threads = [threading.Thread(target=self.load, args=kind) for kind in kinds]
        for thread in threads:
            thread.start()
        try:
            for _ in range(4):
                self.answers.more(200)
                self.assertEqual(self.server.end(), 0)
                self.server.start()
        finally:
            self.stop.set()
            for thread in threads:
                thread.join(PATIENCE)
        self.assertEqual(self.failures, [])


if __name__ == "__main__":
    unittest.main()
