"""What a task may call while it runs."""
from .schema import plain


class Cancelled(BaseException):
    """Raised inside a task whose job was cancelled. No `Exception`, so that `except Exception` does not swallow it."""


class Never(Exception):
    """Raise it (or a subclass) from a task for what would fail again: the job is not tried again."""


class progress:
    """How far a task is: yield it from a generator, or call `.send()` anywhere in a task.

    done, total: numbers in the same `unit`; total None when nobody knows.
    """

    __slots__ = ("done", "total", "message", "unit")

    def __init__(self, done, total=None, message=None, unit=None):
        self.done, self.total, self.message, self.unit = done, total, message, unit

    def send(self):
        here().notify("progress", self.members())

    def members(self):
        members = {"done": self.done}
        for name in ("total", "unit", "message"):
            value = getattr(self, name)
            if value is not None:
                members[name] = value
        return members


def log(text, level="info"):
    """Adds a line to the job's log. What is printed gets there too; this also works in a coroutine."""
    here().notify("log", {"level": level, "text": str(text)})


def output(value):
    """Sends a partial result, an `output` event."""
    here().notify("output", {"value": plain(value)})


def job():
    """The id of the job that runs here."""
    return here().params.get("job")


def attempt():
    """Which try at the job this is, from 1."""
    return here().params.get("attempt", 1)


def directory():
    """A directory that goes away with this process."""
    return here().params.get("dir")


# ---------------------------------------------------------------- which call that is

class Call:
    """One run of a task."""

    def __init__(self, worker, id, params):
        self.worker, self.id, self.params = worker, id, params
        self.cancelled = False
        self.future = None

    def notify(self, method, members):
        members = dict(members, id=self.id)
        self.worker.send({"jsonrpc": "2.0", "method": method, "params": members}, flush=True)


main_call = None
async_call = None  # a contextvars.ContextVar, once there are coroutines


def here():
    call = async_call.get(None) if async_call is not None else None
    call = call or main_call
    if call is None:
        raise RuntimeError("this works inside a running task only")
    return call
