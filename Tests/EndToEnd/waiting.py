"""How tests wait: for the event, never for a while. Standard library only.

What happens to files, processes and locks the kernel tells of (`changed`, `ended`, `unlocked`), what happens to jobs their
events tell of (`begun`), and what a test's own threads see they tell (`Seen`). `asking` is for what nobody tells of.
"""
import contextlib
import ctypes
import os
import pathlib
import select
import subprocess
import threading
import time

from server import PATIENCE

# Source: inotify(7): IN_MODIFY, IN_ATTRIB, IN_CLOSE_WRITE, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE, IN_DELETE_SELF.
_CHANGES = 0x2 | 0x4 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400
_libc = ctypes.CDLL(None, use_errno=True)


def changed(path, condition, what):
    """Waits until a condition about a file, or about what a directory holds, is true; what it has found."""
    descriptor = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    assert descriptor >= 0, os.strerror(ctypes.get_errno())
    try:
        # Of what is gone already nothing is told: the condition then holds, or never will.
        _libc.inotify_add_watch(descriptor, os.fsencode(path), _CHANGES)
        deadline = time.monotonic() + PATIENCE
        while not (found := condition()):
            left = deadline - time.monotonic()
            assert left > 0, what
            if select.select([descriptor], [], [], left)[0]:
                os.read(descriptor, 65536)
        return found
    finally:
        os.close(descriptor)


def there(path):
    """Waits for a file to be made."""
    path = pathlib.Path(path)
    changed(path.parent, path.exists, f"{path} does not come")


def gone(path):
    """Waits until a file or a directory has been removed from where it was."""
    path = pathlib.Path(path)
    changed(path.parent, lambda: not path.exists(), f"{path} is still there")


def logged(server, text):
    """Waits until a server's log says it; the log."""
    path = pathlib.Path(server.log.name)
    said = path.read_text
    return changed(path, lambda: text in (log := said()) and log, f"the log does not say {text!r}")


def ended(*pids, within=PATIENCE):
    """Waits until processes have ended, be it that their parent has not looked yet."""
    deadline = time.monotonic() + within
    for pid in pids:
        try:
            held = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            poll = select.poll()
            poll.register(held, select.POLLIN)
            assert poll.poll(max(deadline - time.monotonic(), 0) * 1000), f"process {pid} lives"
        finally:
            os.close(held)


def unlocked(path):
    """Waits until nobody holds the lock of a file any more."""
    subprocess.run(["flock", "-w", str(PATIENCE), path, "true"], check=True)


def asking(condition, what, within=PATIENCE):
    """Asks again and again: for figures of pools, metrics, refusals, the list of all processes and /proc, of which no event
    tells. Each look costs an answer of the server or a reading of /proc, which is the pause between two of them."""
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        os.sched_yield()
    return found


class Seen:
    """What a test's threads have seen, in order."""

    def __init__(self):
        self.all = []
        self.news = threading.Condition()

    def note(self, what):
        with self.news:
            self.all.append(what)
            self.news.notify_all()

    def until(self, condition, what):
        """Waits until all that was seen, taken together, is enough."""
        with self.news:
            assert self.news.wait_for(lambda: condition(self.all), PATIENCE), what

    def more(self, count):
        """Waits until so much more was seen."""
        enough = len(self.all) + count
        self.until(lambda all: len(all) >= enough, f"not {count} more are seen")


@contextlib.contextmanager
def held(gates, call):
    """The next such call of a server that was started with `holding.c` is held until this is over, and those beside it;
    begins once `arrived` is called, which waits for it."""
    gate = pathlib.Path(gates, call)
    os.mkfifo(gate)
    opened = []
    # It opens when the call has come.
    opening = threading.Thread(target=lambda: opened.append(os.open(gate, os.O_WRONLY)), daemon=True)
    opening.start()

    def arrived():
        opening.join(PATIENCE)
        assert opened, f"there is no {call}"
        gate.unlink(missing_ok=True)
    try:
        yield arrived
    finally:
        if not opened:
            os.close(os.open(gate, os.O_RDONLY | os.O_NONBLOCK))
            opening.join()
        gate.unlink(missing_ok=True)
        for descriptor in opened:
            os.close(descriptor)


def clock(seconds):
    """Lets real time pass, where that is what is tested: that a deadline is over, or that nothing happens until it is."""
    select.select([], [], [], max(seconds, 0))


def begun(server, job):
    """Waits until a job runs; its `started` event. It is the first thing that its readers hear of the attempt."""
    for event in server.events(job):
        if event["type"] == "started":
            return event
    raise AssertionError(f"{job} ended without a start")
