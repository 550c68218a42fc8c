"""A server of the binary under test, on a free port, for the length of a test class. Standard library only."""
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("SPINDLE_BINARY", str(ROOT / ".build/debug/spindle"))
PATIENCE = 30  # seconds after which something that should have come is missing


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)


class Server:
    """A server and its home, which survives it until `stop`."""

    def __init__(self, *arguments, env=None, files=None, prefix=(), listen=True, pass_fds=()):
        self.home = tempfile.TemporaryDirectory()
        for name, text in (files or {}).items():
            path = pathlib.Path(self.home.name, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.base = {
            **os.environ, "XDG_STATE_HOME": self.home.name + "/state", "TMPDIR": self.home.name, **(env or {})}
        self.store = self.home.name + "/state/spindle/spindle.db"
        where = ["--listen", "127.0.0.1:0"] if listen else []
        self.line = [*prefix, BINARY, "serve", *where, *arguments]
        self.pass_fds = pass_fds
        self.log = open(self.home.name + "/log", "w+")
        try:
            self.start()
        except RuntimeError:
            self.log.close()
            self.home.cleanup()
            raise

    def start(self):
        """Starts it, or starts it again."""
        self.process = subprocess.Popen(
            self.line, stdout=subprocess.PIPE, stderr=self.log, text=True, env=self.base, cwd=self.home.name,
            pass_fds=self.pass_fds)
        self.lines = []
        while not any(line.startswith("dashboard:") for line in self.lines):
            line = self.process.stdout.readline()
            if not line:
                self.process.wait(PATIENCE)
                self.process.stdout.close()
                raise RuntimeError("the server did not start: " + pathlib.Path(self.log.name).read_text())
            self.lines.append(line.strip())
        self.port = int(re.search(r":(\d+)$", self.lines[0]).group(1))
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = self.read_token()
        self.environment = dict(self.base, SPINDLE_URL=self.url, SPINDLE_TOKEN=self.token or "")

    def read_token(self):
        """The first one of the file that the server reads; what it prints in a pipe does not say it."""
        if "--no-auth" in self.line:
            return None
        path = self.home.name + "/state/spindle/token"
        if "--token-file" in self.line:
            path = pathlib.Path(self.home.name, self.line[self.line.index("--token-file") + 1])
        lines = (line.split("#")[0].split() for line in pathlib.Path(path).read_text().splitlines())
        return next(words[0] for words in lines if words)

    def kill(self):
        """Ends it as a power cut would, as far as the process goes."""
        self.process.kill()
        self.process.wait(PATIENCE)
        self.process.stdout.close()

    def end(self):
        """Asks it to end, and keeps its home; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        self.process.stdout.close()
        return code

    def stop(self):
        if self.log.closed:
            return self.process.returncode
        code = self.process.returncode if self.process.stdout.closed else self.end()
        self.log.close()
        self.home.cleanup()
        return code

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def ask(self, method, path, body=None, headers=None, token=True):
        connection = self.connect()
        wanted = dict(headers or {})
        if token and self.token:
            wanted.setdefault("Authorization", "Bearer " + self.token)
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if body is not None:
            wanted.setdefault("Content-Type", "application/json")
        connection.request(method, path, body, wanted)
        answer = Answer(connection.getresponse())
        connection.close()
        return answer

    def get(self, path, **headers):
        return self.ask("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def submit(self, task, value=None, **options):
        answer = self.ask("POST", "/v1/jobs", {"task": task, "input": value or {}, **options})
        assert answer.status == 202, answer.body
        return answer.json["id"]

    def wait(self, job):
        answer = self.ask("GET", f"/v1/jobs/{job}", headers={"Prefer": f"wait={PATIENCE}"})
        assert answer.status == 200, answer.body
        return answer.json

    def raw(self, data, until_close=True):
        """Sends bytes as they are and returns all that comes back before the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
            connection.sendall(data)
            received = b""
            while piece := connection.recv(65536):
                received += piece
                if not until_close and b"\r\n\r\n" in received:
                    break
            return received

    def events(self, job, accept="application/x-ndjson", **headers):
        """Yields the events of a job as they come, until the stream ends."""
        connection = self.connect()
        connection.request("GET", f"/v1/jobs/{job}/events", headers={
            "Authorization": "Bearer " + (self.token or ""), "Accept": accept,
            **{name.replace("_", "-"): value for name, value in headers.items()}})
        try:
            response = connection.getresponse()
            while line := response.readline():
                if line.strip():  # an empty one is a sign of life
                    yield json.loads(line)
        finally:
            connection.close()

    def command(self, *arguments, **options):
        return subprocess.run(
            [BINARY, *arguments], capture_output=True, text=True, env=dict(self.environment, **options.pop("env", {})),
            timeout=PATIENCE, cwd=self.home.name, **options)


class ServerTest(unittest.TestCase):
    arguments = ("--threads", "2", "--processes", "2", "--demo-faults", "--allow-fetch", "127.0.0.0/8")
    files = {}

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.arguments, files=cls.files)

    @classmethod
    def tearDownClass(cls):
        code = cls.server.end()
        log = pathlib.Path(cls.server.log.name).read_text()
        cls.server.stop()
        assert code == 0, f"the server ended with {code}: {log[-2000:]}"
