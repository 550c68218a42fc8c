"""The command line as programs and people meet it: pipes, disks, lost connections, Ctrl-C, foreign servers."""
import json
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from server import BINARY, PATIENCE, Server, ServerTest
from test_files import HomeTest
from waiting import asking

CONFIG = """
[commands.chatty]
command = ["sh", "-c", "echo run >> $MARKS; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do echo line $i; sleep 0.1; done; echo end"]
max_attempts = 5
environment = { MARKS = "%s" }

[commands.endless]
command = ["sh", "-c", "while :; do echo tick; sleep 0.1; done"]
"""


class Spectator:
    """A command that runs beside the test."""

    def __init__(self, test, environment, *arguments, stdin=subprocess.DEVNULL, **options):
        self.process = subprocess.Popen(
            [BINARY, *arguments], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, **options)
        test.addCleanup(self.close)

    def close(self):
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            stream.close()

    def line(self):
        """The next line, as soon as it is there."""
        text = b""
        while not text.endswith(b"\n"):
            ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
            assert ready, f"no line comes after {text}"
            piece = os.read(self.process.stdout.fileno(), 1)
            assert piece, f"it ended with {text}: {self.process.stderr.read()}"
            text += piece
        return text.decode()

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def end(self):
        out, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out.decode(), errors.decode()


class OutputTests(ServerTest):
    arguments = ("--threads", "2", "--processes", "2", "--config", "c.toml")
    files = {"c.toml": CONFIG % "/dev/null"}
    COMMANDS = (("list",), ("list", "--json"), ("tasks",), ("queues", "--json"), ("pools",), ("run", "squares"), ("run", "squares", "--json"),
                ("submit", "squares"), ("submit", "squares", "--json"), ("config",), ("config", "--json"), ("python-path",), ("--help",),
                ("run", "--help"), ("--version",), ("bench", "--duration", "1s", "--connections", "1"), ("store", "stats"))

    def test_each_event_is_printed_when_it_comes(self):
        job = self.server.submit("sleep", {"seconds": 60})
        watching = Spectator(self, self.server.environment, "watch", job, "--json")
        self.assertEqual(json.loads(watching.line())["type"], "accepted")
        while json.loads(watching.line())["type"] != "started":
            pass
        self.server.ask("DELETE", f"/v1/jobs/{job}")
        code, out, _ = watching.end()
        self.assertEqual((code, json.loads(out.splitlines()[-1])["type"]), (1, "cancelled"))

    def test_a_reader_that_leaves_ends_the_command(self):
        for command in (("watch",), ("run", "chatty")):
            if command[0] == "watch":
                command += (self.server.submit("chatty"),)
            reading = Spectator(self, self.server.environment, *command, "--json")
            reading.line()
            # Nobody reads any more: the next line is the last.
            os.close(os.dup(reading.process.stdout.fileno()))
            reading.process.stdout.close()
            self.assertEqual(reading.process.wait(PATIENCE), 1, command)
            self.assertIn(b"standard output", reading.process.stderr.read())

    def test_a_full_disk_is_an_error(self):
        for command in self.COMMANDS:
            with open("/dev/full", "w") as full:
                done = subprocess.run([BINARY, *command], stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE,
                                      env=self.server.environment, stdin=subprocess.DEVNULL)
            self.assertEqual(done.returncode, 1, command)
            self.assertIn("standard output", done.stderr, command)

    def test_what_a_job_is_called_does_not_move_the_cursor(self):
        self.server.submit("squares", {"n": 1}, labels={"a": "b"}, key="k")
        for command in self.COMMANDS[:5]:
            out = self.server.command(*command).stdout
            self.assertFalse(set(out) & set(map(chr, (*range(10), *range(11, 32), 127))), command)


class InputTests(ServerTest):
    def run_with(self, stdin, *arguments):
        return subprocess.run([BINARY, "run", "squares", *arguments], stdin=stdin, capture_output=True, text=True,
                              timeout=PATIENCE, env=self.server.environment)

    def test_a_dash_is_the_descriptor_that_was_passed(self):
        with tempfile.TemporaryFile() as file:
            file.write(b'no json at all {"n":3}')
            file.flush()
            file.seek(15)
            os.lseek(file.fileno(), 15, os.SEEK_SET)
            self.assertEqual(self.run_with(file, "-").stdout, '{"sum":5}\n')
        near, far = socket.socketpair()
        with near, far:
            far.sendall(b'{"n":3}')
            far.shutdown(socket.SHUT_WR)
            self.assertEqual(self.run_with(near, "-").stdout, '{"sum":5}\n')

    def test_what_cannot_be_read_is_said(self):
        done = subprocess.run(["sh", "-c", f"{BINARY} run squares - <&-"], capture_output=True, text=True, timeout=PATIENCE,
                              env=self.server.environment)
        self.assertEqual(done.returncode, 2, done.stderr)
        for argument in ("@/nowhere", "@/", "{", "@/dev/null"):
            done = self.run_with(subprocess.DEVNULL, argument)
            self.assertEqual(done.returncode, 2, (argument, done.stderr))

    def test_a_file_is_the_input_as_it_is(self):
        with tempfile.NamedTemporaryFile("wb") as file:
            file.write(b' {"n" : 3}\n')
            file.flush()
            self.assertEqual(self.run_with(subprocess.DEVNULL, "@" + file.name).stdout, '{"sum":5}\n')
            file.write(b'"\xff"')
            file.flush()
            self.assertEqual(self.run_with(subprocess.DEVNULL, "@" + file.name).returncode, 2)


class Cutter:
    """Passes connections on to a server and cuts each of the first ones after so many bytes of its answer."""

    def __init__(self, test, port, limits):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.port, self.limits, self.cuts = port, list(limits), 0
        threading.Thread(target=self.accept, daemon=True).start()
        test.addCleanup(self.listener.close)

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            limit = self.limits.pop(0) if self.limits else None
            server = socket.create_connection(("127.0.0.1", self.port))
            threading.Thread(target=self.pass_on, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self.pass_on, args=(server, client, limit), daemon=True).start()

    def pass_on(self, source, target, limit):
        passed = 0
        try:
            while limit is None or passed < limit:
                piece = source.recv(65536 if limit is None else min(65536, limit - passed))
                if not piece:
                    break
                target.sendall(piece)
                passed += len(piece)
            else:
                self.cuts += 1
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class LostTests(HomeTest):
    def begin(self, *arguments):
        marks = self.home / "marks"
        marks.touch()
        server = self.server("--config", "c.toml", "--listen", f"unix:{self.home}/s", "--drain", "50ms", *arguments,
                             files={"c.toml": CONFIG % marks})
        return server, marks

    def check(self, out, code=0):
        events = [json.loads(line) for line in out.splitlines()]
        self.assertEqual([event["seq"] for event in events if event["type"] != "gap"],
                         sorted({event["seq"] for event in events if event["type"] != "gap"}))
        self.assertEqual(events[-1]["type"], "succeeded")
        return events

    def test_a_connection_that_breaks_anywhere_is_taken_up_again_and_no_event_comes_twice(self):
        server, marks = self.begin()
        for limits in ([0], [1], [60], [400], [700, 700, 700, 900], [0, 0, 500]):
            for command in (("run", "chatty", "--json"), ("submit", "chatty", "--watch", "--json")):
                marks.write_text("")
                cutter = Cutter(self, server.port, limits)
                done = server.command(*command, "--url", cutter.url)
                self.assertEqual(done.returncode, 0, (limits, done.stderr))
                self.assertEqual(cutter.cuts, len(limits))
                events = self.check(done.stdout)
                self.assertEqual([event["seq"] for event in events], list(range(1, len(events) + 1)))
                # However often it was sent, it ran once.
                self.assertEqual(marks.read_text(), "run\n", (limits, command))

    def test_a_submission_whose_answer_was_lost_is_the_same_job(self):
        server, marks = self.begin()
        cutter = Cutter(self, server.port, [0, 0])
        done = server.command("submit", "chatty", "--url", cutter.url)
        self.assertEqual(done.returncode, 0, done.stderr)
        jobs = server.get("/v1/jobs").json["jobs"]
        self.assertEqual([job["id"] for job in jobs], [done.stdout.strip()])

    def test_a_restart_is_outlived(self):
        server, marks = self.begin()
        for how in ("end", "kill"):
            job = server.submit("chatty")
            url = f"unix:{self.home}/s"
            commands = [("run", "chatty"), ("submit", "chatty", "--watch"), ("watch", job)]
            readers = [Spectator(self, server.environment, *command, "--json", "--url", url) for command in commands]
            for reader in readers:
                while json.loads(reader.line())["type"] != "log":
                    pass
            getattr(server, how)()
            server.start()
            for reader, command in zip(readers, commands):
                code, out, errors = reader.end()
                self.assertEqual(code, 0, (how, command, errors))
                self.assertEqual(json.loads(out.splitlines()[-1])["type"], "succeeded")

    def test_a_job_that_its_server_has_forgotten_is_an_error(self):
        server, _ = self.begin("--store", "memory", "--processes", "2")
        commands = [("run", "endless"), ("watch", server.submit("endless"))]
        readers = [Spectator(self, server.environment, *command, "--json", "--url", f"unix:{self.home}/s") for command in commands]
        for reader in readers:
            while json.loads(reader.line())["type"] != "log":
                pass
        server.kill()
        server.start()
        for reader in readers:
            code, _, errors = reader.end()
            self.assertEqual(code, 1, errors)
            self.assertIn("does not know the job", errors)

    def test_a_list_that_breaks_off_is_an_error(self):
        server, _ = self.begin()
        for limit in (0, 1, 150):
            done = server.command("list", "--url", Cutter(self, server.port, [limit]).url)
            self.assertEqual((done.returncode, done.stdout), (3, ""), done.stderr)

    def test_a_server_that_was_never_there_is_not_waited_for(self):
        began = time.monotonic()
        for command in (("run", "squares"), ("submit", "squares"), ("watch", "06f3k9q2v8x4g"), ("list",)):
            done = subprocess.run([BINARY, *command, "--url", "http://127.0.0.1:1"], capture_output=True, timeout=PATIENCE)
            self.assertEqual(done.returncode, 3, done.stderr)
        self.assertLess(time.monotonic() - began, PATIENCE)


class InterruptTests(ServerTest):
    def test_the_first_cancels_the_job_and_the_status_is_130(self):
        for command in (("run", "sleep", '{"seconds":60}', "--json"), ("submit", "sleep", '{"seconds":60}', "--watch", "--json")):
            running = Spectator(self, self.server.environment, *command)
            job = json.loads(running.line())["job"]
            while json.loads(running.line())["type"] != "started":
                pass
            running.interrupt()
            self.assertEqual(running.end()[0], 130)
            self.assertEqual(self.server.wait(job)["state"], "cancelled")

    def test_who_only_watches_cancels_nothing(self):
        job = self.server.submit("sleep", {"seconds": 60})
        watching = Spectator(self, self.server.environment, "watch", job, "--json")
        watching.line()
        watching.interrupt()
        self.assertEqual(watching.end()[0], 130)
        self.assertEqual(self.server.get(f"/v1/jobs/{job}").json["state"], "running")
        self.server.ask("DELETE", f"/v1/jobs/{job}")

    def test_the_second_ends_it_whatever_the_server_does(self):
        server = Server("--threads", "1", "--processes", "1")
        self.addCleanup(server.stop)
        running = Spectator(self, server.environment, "run", "sleep", '{"seconds":60}', "--json")
        while json.loads(running.line())["type"] != "started":
            pass
        server.process.send_signal(signal.SIGSTOP)
        self.addCleanup(server.process.send_signal, signal.SIGCONT)
        running.interrupt()
        with self.assertRaises(subprocess.TimeoutExpired):
            running.process.wait(0.3)
        running.interrupt()
        self.assertEqual(running.process.wait(PATIENCE), 130)

    def test_it_is_130_also_while_the_input_is_read_or_the_server_says_nothing(self):
        reading = Spectator(self, self.server.environment, "run", "squares", "-", stdin=subprocess.PIPE)
        asking(lambda: "SigCgt:\t0000000000000002" in self.status(reading) or int(self.caught(reading), 16) & 2, "no handler")
        reading.interrupt()
        self.assertEqual(reading.end()[0], 130)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            for command in (("list",), ("run", "squares"), ("cancel", "06f3k9q2v8x4g"), ("bench",)):
                asked = Spectator(self, self.server.environment, *command, "--url", f"http://127.0.0.1:{silent.getsockname()[1]}")
                connection = silent.accept()[0]
                with connection:  # held open: one that is closed is a server that has gone
                    connection.recv(100)
                    asked.interrupt()
                    self.assertEqual(asked.end()[0], 130, command)

    def status(self, spectator):
        return pathlib.Path(f"/proc/{spectator.process.pid}/status").read_text()

    def caught(self, spectator):
        return next(line.split()[1] for line in self.status(spectator).splitlines() if line.startswith("SigCgt"))


class Stranger:
    """A server that answers everything with the same bytes, and remembers what it was asked."""

    def __init__(self, test, answer, host="127.0.0.1"):
        self.listener = socket.create_server((host, 0))
        self.port, self.answer, self.requests = self.listener.getsockname()[1], answer, []
        threading.Thread(target=self.serve, daemon=True).start()
        test.addCleanup(self.listener.close)

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client:
                self.requests.append(client.recv(65536).decode())
                client.sendall(self.answer)


def http(body, status="200 OK", kind="application/json"):
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()


class StrangerTests(HomeTest):
    def ask(self, *arguments, **variables):
        env = {**os.environ, "XDG_STATE_HOME": str(self.home / "state"), **variables}
        return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=PATIENCE, env=env, stdin=subprocess.DEVNULL)

    def test_an_answer_that_is_none_is_an_error_and_prints_nothing(self):
        commands = (("list",), ("list", "--json"), ("tasks", "--json"), ("queues",), ("pools",), ("submit", "squares"),
                    ("submit", "squares", "--json"), ("run", "squares"), ("run", "squares", "--json"), ("watch", "06f3k9q2v8x4g"),
                    ("cancel", "06f3k9q2v8x4g"))
        answers = (http("<html>hello</html>\n", kind="text/html"), http(""), http("[]"), http('{"other":1}\n'), http("{\n"),
                   http('{"seq":1,"type":'), http("", "302 Found"))
        for answer in answers:
            for command in commands:
                if command[0] in ("run", "watch") and answer == answers[1]:
                    continue  # a stream that ends before its job: taken up again, for a while
                stranger = Stranger(self, answer)
                done = self.ask(*command, "--url", f"http://127.0.0.1:{stranger.port}")
                self.assertEqual(done.returncode, 3, (command, answer, done.stdout, done.stderr))
                self.assertEqual(done.stdout, "", (command, answer))
                self.assertTrue(done.stderr)

    def test_statuses_say_who_is_to_blame(self):
        codes = {400: 2, 401: 4, 403: 4, 404: 2, 405: 2, 406: 2, 409: 2, 410: 2, 411: 2, 412: 2, 413: 2, 414: 2, 415: 2, 421: 2, 422: 2,
                 429: 4, 431: 2, 500: 3, 501: 3, 502: 3, 503: 4, 504: 3, 505: 3, 507: 4}
        text = " ".join(self.ask("--help").stdout.partition("Exit codes:")[2].partition("130")[0].split())
        told = {int(status): int(part.split()[0]) for part in text.split(";") for status in re.findall(r"\b[45]\d\d\b", part)}
        self.assertEqual(told, {status: code for status, code in codes.items() if status in (404, 409, 422) or code == 4})
        for status, code in codes.items():
            for command in (("list",), ("tasks",), ("submit", "squares"), ("run", "squares"), ("watch", "06f3k9q2v8x4g"), ("cancel", "06f3k9q2v8x4g")):
                stranger = Stranger(self, http('{"detail":"\\u001b[31mso it is"}', f"{status} x"))
                done = self.ask(*command, "--url", f"http://127.0.0.1:{stranger.port}")
                self.assertEqual(done.returncode, code, (status, command, done.stderr))
                self.assertIn("so it is", done.stderr)
                self.assertNotIn("\x1b", done.stderr)

    def test_the_machines_own_token_goes_to_this_machine_only(self):
        token = "e" * 64
        (self.home / "state/spindle").mkdir(parents=True)
        (self.home / "state/spindle/token").write_text(token + "\n")
        other = self.home / "other"
        other.write_text("f" * 64)
        # Of these the last three reach us, and are no names of loopback.
        hosts = {"127.0.0.1": True, "localhost": True, "127.1": True, "0.0.0.0": False, "0": False}
        for host, is_loopback in hosts.items():
            stranger = Stranger(self, http('{"jobs":[]}'), host="0.0.0.0")
            url = f"http://{host}:{stranger.port}"
            self.ask("list", "--url", url)
            self.assertEqual(f"Bearer {token}" in stranger.requests[0], is_loopback, host)
            self.ask("list", "--url", url, SPINDLE_TOKEN="g" * 64)
            self.assertIn("Bearer " + "g" * 64, stranger.requests[1])
            self.ask("list", "--url", url, "--token-file", str(other))
            self.assertIn("Bearer " + "f" * 64, stranger.requests[2])
            self.ask("list", SPINDLE_URL=url)
            self.assertEqual(f"Bearer {token}" in stranger.requests[3], is_loopback, host)
            self.ask("bench", "--duration", "100ms", "--connections", "1", "--url", url)
            self.assertEqual(f"Bearer {token}" in stranger.requests[4], is_loopback, host)
        stranger = Stranger(self, http('{"jobs":[]}'), host="0.0.0.0")
        self.ask("list", "--url", f"http://127.0.0.1@0.0.0.0:{stranger.port}")
        self.assertNotIn(token, stranger.requests[0])


class TrustTests(HomeTest):
    def test_certificates_are_trusted_by_flag_and_by_environment(self):
        cert, key = str(self.home / "cert"), str(self.home / "key")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj",
             "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        server = self.server("--tls-cert", cert, "--tls-key", key)
        url = ("--url", f"https://127.0.0.1:{server.port}")
        done = server.command("run", "squares", '{"n":3}', *url)
        self.assertEqual(done.returncode, 3)
        self.assertIn("--cacert", done.stderr)
        self.assertEqual(server.command("run", "squares", '{"n":3}', *url, "--cacert", cert).stdout, '{"sum":5}\n')
        self.assertEqual(server.command("run", "squares", '{"n":3}', *url, env={"SSL_CERT_FILE": cert}).stdout, '{"sum":5}\n')
        # The flag wins, and what is not there is said.
        done = server.command("list", *url, "--cacert", "/nowhere", env={"SSL_CERT_FILE": cert})
        self.assertEqual(done.returncode, 2)
        self.assertIn("/nowhere", done.stderr)


if __name__ == "__main__":
    unittest.main()
