"""A worker of the Python side, talked to as the server does it. Standard library only."""
import contextlib
import ctypes
import itertools
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

SDK = pathlib.Path(__file__).parents[2] / "Sources/Python/spindle.py"
PATIENCE = 30  # seconds after which something that should have come is missing
# As the server is: what has lost its parent comes to us. Source: prctl(2), PR_SET_CHILD_SUBREAPER.
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


numbers = itertools.count()


class Conversation:
    """One worker with the tasks of one text; what it prints of its own is kept in files."""

    def __init__(self, text, interpreter=sys.executable, environment=None):
        self.home = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.home.name, "tasks.py")
        self.path.write_text("import asyncio, os, subprocess, sys, threading, time\nimport spindle\n" + text)
        self.scratch = pathlib.Path(self.home.name, "scratch")
        self.scratch.mkdir()
        self.server, theirs = socket.socketpair()
        self.server.settimeout(PATIENCE)
        self.out, self.err = (open(self.home.name + name, "w+") for name in ("/out", "/err"))
        #: All that it starts carries it, as long as nobody takes it away.
        self.mark = f"test.{os.getpid()}.{next(numbers)}"
        self.process = subprocess.Popen(
            [interpreter, "-B", str(SDK), str(self.path)], stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.err,
            pass_fds=[theirs.fileno()], start_new_session=True,
            env=dict(os.environ, SPINDLE_FD=str(theirs.fileno()), PYTHONUNBUFFERED="1", SPINDLE_CHILD=self.mark,
                     **(environment or {})))
        theirs.close()
        self.lines = self.server.makefile("rb")
        self.number = 0
        self.said, self.answers = [], {}
        try:
            self.description = self.ask("initialize", protocol=1)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.close()
        self.lines.close()
        self.process.kill()
        self.process.wait()
        self.end_left()
        self.out.close()
        self.err.close()
        self.home.cleanup()

    def end_left(self):
        """Ends what the worker has left, as the server does, and waits for it; trackers of shared memory end when all others have."""
        left = set()

        def is_over():
            found = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self.is_of(pid)]
            for pid in found:
                if b"resource_tracker" not in read(pid, "cmdline"):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            left.update(found)
            left.difference_update([pid for pid in left if is_gone(pid)])
            return not left
        eventually(is_over)

    def is_of(self, pid):
        """Whether it carries the mark, or stays in the session, as what has ended and is to be waited for does."""
        fields = read(pid, "stat").rpartition(b")")[2].split()
        return f"SPINDLE_CHILD={self.mark}".encode() in read(pid, "environ").split(b"\0") or \
            len(fields) > 3 and int(fields[3]) == self.process.pid

    def send(self, method, params, **members):
        message = {"jsonrpc": "2.0", "method": method, "params": params, **members}
        self.server.sendall(json.dumps(message).encode() + b"\n")

    def cancel(self, id, grace=5000):
        self.send("cancel", {"id": id, "grace_ms": grace})

    def receive(self):
        line = self.lines.readline()
        if not line:
            raise EOFError(pathlib.Path(self.err.name).read_text())
        assert len(line) <= 1 << 20, len(line)
        # As strict as the server: no NaN, no name twice, no half characters.
        message = json.loads(line.decode("utf-8"), parse_constant=lambda word: 1 / 0, object_pairs_hook=_once)
        self.said.append(message)
        if "id" in message:
            assert message["id"] not in self.answers, message
            self.answers[message["id"]] = message
        return message

    def ask(self, method, **params):
        self.number += 1
        self.send(method, params, id=self.number)
        return self.answer(self.number)["result"]

    def start(self, task, **value):
        self.number += 1
        self.send("run", {"task": task, "job": f"job{self.number}", "attempt": 1, "input": value, "dir": str(self.scratch)},
                  id=self.number)
        return self.number

    def answer(self, id):
        while id not in self.answers:
            self.receive()
        return self.answers[id]

    def run(self, task, **value):
        """The answer to a call: its value, or its error."""
        return self.outcome(self.start(task, **value))

    def outcome(self, id):
        answer = self.answer(id)
        if "error" in answer:
            return answer["error"]
        result = answer["result"]
        return json.loads(pathlib.Path(result["file"]).read_text()) if "file" in result else result["value"]

    def until(self, test):
        """Receives until something has been said that passes the test; it."""
        place = 0
        while True:
            while place < len(self.said):
                if test(self.said[place]):
                    return self.said[place]
                place += 1
            self.receive()

    def until_own(self, text):
        """Receives until it has said this for nobody."""
        self.until(lambda message: message.get("method") == "log" and "id" not in message["params"] and text in message["params"]["text"])

    def gate(self, name):
        """A file that whoever opens it waits at, until the test has opened it too."""
        path = pathlib.Path(self.home.name, name)
        os.mkfifo(path)
        return path

    def log(self, id, stream=None):
        """What the log of a call says so far."""
        return [message["params"]["text"] for message in self.said if message.get("method") == "log"
                and message["params"].get("id") == id and stream in (None, message["params"]["stream"])]

    def notices(self, method, id):
        return [message["params"] for message in self.said if message.get("method") == method and message["params"].get("id") == id]

    def own(self):
        """What it has printed for nobody."""
        self.ask("ping")
        own = [message["params"]["text"] for message in self.said if message.get("method") == "log" and "id" not in message["params"]]
        return "\n".join(own) + pathlib.Path(self.out.name).read_text() + pathlib.Path(self.err.name).read_text()


def _once(pairs):
    assert len(dict(pairs)) == len(pairs), pairs
    return dict(pairs)


def eventually(test):
    """Looks until it is so: for what is seen in the list of all processes, of which no event tells."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := test()):
        assert time.monotonic() < deadline, "it never came to be so"
        os.sched_yield()
    return answer


def read(pid, name):
    """A file about a process; nothing when it has ended."""
    try:
        return pathlib.Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def is_gone(pid):
    """Whether it has ended and been waited for, by us if it has come to us."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return not os.path.exists(f"/proc/{pid}")


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
