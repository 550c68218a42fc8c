"""What a task may call while it runs, and how it is known which one that is."""
import contextlib
import contextvars
import json
import os
import threading

from .channel import MAX_LINE
from .values import InvalidOutput, clean, encode, finite

#: Bytes of one line of a log; the rest is counted.
LONGEST_TEXT = 64 << 10

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

#: The call that the code of this moment belongs to. Threads and executors take it over (see `threads`).
current = contextvars.ContextVar("spindle_call", default=None)


class Cancelled(BaseException):
    """Raised inside a task whose job was cancelled. No `Exception`, so that `except Exception` does not swallow it."""


class Call:
    """One run of a task."""

    #: Where its streams are led, by their names, if it leads them elsewhere.
    targets = None

    def __init__(self, worker, id, params):
        self.worker, self.id, self.params = worker, id, params
        #: The id as JSON.
        self.key = b"%d" % id if type(id) is int else json.dumps(id).encode()
        self.cancelled = False
        #: What it came in, while the digits of its numbers may be asked for, and they, by the identity of the float that was made.
        self.line = self.texts = None
        #: Whether a thread ends what it has left, after its last step.
        self.is_ending = False
        #: Whether the cancel has reached the task.
        self.told = False
        #: Whether it has been answered; what still runs of it speaks for nobody.
        self.ended = False
        self.future = None
        #: Of Lines, by stream.
        self.lines = {}
        #: Where its children print, once there are any.
        self.output = None
        #: Numbers of the processes that it has started.
        self.processes = []
        #: Its own, once it has asked for one.
        self.directory = None

    def send(self, method, members):
        """Sends a notification about this call; `members` is the inside of a JSON object, in bytes."""
        line = b'{"jsonrpc":"2.0","method":"%s","params":{"id":%s,%s}}' % (method, self.key, members)
        if len(line) > MAX_LINE:
            raise InvalidOutput(f"{method.decode()} of {len(line)} bytes: {MAX_LINE} fit")
        self.worker.channel.add(line)
        self.worker.channel.flush()

    def checkpoint(self):
        """Raises `Cancelled` for a cancel that came while the main thread was in code of ours, and was held back."""
        if self.cancelled and not self.told and self is self.worker.main_call and \
                threading.current_thread() is threading.main_thread():
            self.told = True
            raise Cancelled()

    def log(self, text, stream="log", level=None):
        members = {"stream": stream, "text": clean(text, LONGEST_TEXT)}
        if level is not None:
            members["level"] = level
        self.send(b"log", _encode(members).encode()[1:-1])

    def tell(self, value):
        """Sends what a generator has yielded."""
        if isinstance(value, progress):
            self.send(b"progress", value.members())
        else:
            self.send(b"output", b'"value":' + encode(value, "the partial result"))


class Nobody:
    """Speaks for what belongs to no call that runs: it goes to the worker's log, and never into somebody else's."""

    ended = False
    targets = None

    def __init__(self):
        #: Set when the worker serves; until then what is printed goes where it went before.
        self.worker = None
        self.lines = {}
        self.output = None

    def log(self, text, stream):
        members = _encode({"stream": stream, "text": clean(text, LONGEST_TEXT)})
        self.worker.channel.add(b'{"jsonrpc":"2.0","method":"log","params":%s}' % members.encode())
        self.worker.channel.flush()

    def checkpoint(self):
        pass


nobody = Nobody()


def here():
    """The call that runs here."""
    call = current.get()
    if call is None:
        raise RuntimeError("this works inside a running task only")
    if call.ended:
        raise RuntimeError(f"job {call.params.get('job')}, which has started this, has ended")
    return call


class progress:
    """How far a task is: yield it from a generator, or call `.send()` anywhere in a task.

    done, total: numbers in the same `unit`; total None when nobody knows.
    """

    __slots__ = ("done", "total", "message", "unit")

    def __init__(self, done, total=None, message=None, unit=None):
        self.done, self.total, self.message, self.unit = done, total, message, unit

    def send(self):
        call = here()
        call.send(b"progress", self.members())
        call.checkpoint()

    def members(self):
        members = {"done": finite(self.done, "the progress: done")}
        if self.total is not None:
            members["total"] = finite(self.total, "the progress: total")
        for name in ("unit", "message"):
            value = getattr(self, name)
            if value is not None:
                encode(value if isinstance(value, str) else None, f"the progress: {name}")
                members[name] = clean(value, LONGEST_TEXT)
        return _encode(members).encode()[1:-1]


def log(text, level="info"):
    """Adds a line to the job's log, with a level. What is printed gets there too."""
    call = here()
    for given, what in ((text, "the text of the log"), (level, "the level of the log")):
        if isinstance(given, str):
            encode(given, what)
    call.log(text, level=clean(level, 64))
    call.checkpoint()


def output(value):
    """Sends a partial result, an `output` event."""
    call = here()
    call.send(b"output", b'"value":' + encode(value, "the partial result"))
    call.checkpoint()


def job():
    """The id of the job that runs here."""
    return here().params.get("job")


def attempt():
    """Which try at the job this is, from 1."""
    return here().params.get("attempt", 1)


def directory():
    """A directory of this call's own, which goes away when it ends."""
    call = here()
    if call.directory is None:
        place = os.path.join(call.params.get("dir") or os.getcwd(), f"call-{call.id}")
        # Nothing above it, which is the server's to make. And two threads of the call may ask at once.
        with contextlib.suppress(FileExistsError):
            os.mkdir(place, 0o700)
        call.directory = place
    return call.directory
