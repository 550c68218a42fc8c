"""Memory that the server reads: which call has begun, and the lines that have not been sent yet.

Nothing of it is lost when this process dies, and none of it costs a system call. `Workers.md` has the layout.
"""
import collections.abc
import mmap
import os
import time

VARIABLE = "SPINDLE_STATE_FD"
#: Names a file in which the server after this one reads what has begun.
BEGUN_VARIABLE = "SPINDLE_BEGUN"
PAGE = 4096
RING = 4096
#: What fits into the ring, in bytes.
CAPACITY = 32768
SPOKEN, BEGUN, SINCE, BESIDE, STEP, WRITTEN, SENT, SHARED, HEEDS, WITHDRAWN, WITHDRAWN_BESIDE = range(11)


class Withdrawn(BaseException):
    """Another process runs the call, and this one is not to."""


class State:
    """As the server has given it; without one, memory of our own."""

    def __init__(self):
        memory = self._given() or bytearray(RING + CAPACITY)
        self.words = memoryview(memory)[:RING].cast("Q")
        self.ring = memoryview(memory)[RING:]
        self.written = self.sent = 0
        self.page = memoryview(self._page() or bytearray(PAGE)).cast("Q")
        self.page[0] = 1
        self.words[HEEDS] = 1
        self.words[SPOKEN] = 1
        #: Whether this process is the one that it was made in, and not one that a task has forked.
        self.is_ours = True
        # What a task forks is not to speak for it.
        os.register_at_fork(after_in_child=self.let_go)

    @staticmethod
    def _given():
        descriptor = os.environ.pop(VARIABLE, None)
        if descriptor is None:
            return None
        try:
            return mmap.mmap(int(descriptor), RING + CAPACITY)
        except (OSError, ValueError):
            return None
        finally:
            os.close(int(descriptor))

    @staticmethod
    def _page():
        path = os.environ.pop(BEGUN_VARIABLE, None)
        if path is None:
            return None
        try:
            with open(path, "r+b") as file:
                return mmap.mmap(file.fileno(), PAGE)
        except (OSError, ValueError):
            return None

    def let_go(self):
        self.is_ours = False
        self.page = memoryview(bytearray(PAGE)).cast("Q")
        self.words = memoryview(bytearray(RING)).cast("Q")
        self.ring = memoryview(bytearray(CAPACITY))

    # ---- which call

    def begin(self, id):
        """From here on the call's effects are possible; raises Withdrawn where the server has given it to another process."""
        if id <= self.words[WITHDRAWN]:
            raise Withdrawn()
        self.page[1] = id
        self.words[SINCE] = time.monotonic_ns()
        self.words[BEGUN] = id
        # Again: now that the server can see that it has begun, it takes it back no more.
        if id <= self.words[WITHDRAWN]:
            raise Withdrawn()

    def begin_beside(self, id):
        if id <= self.words[WITHDRAWN_BESIDE]:
            raise Withdrawn()
        self.page[2] = id
        self.words[BESIDE] = id
        if id <= self.words[WITHDRAWN_BESIDE]:
            raise Withdrawn()

    def share(self):
        """From here on what comes by stdout and stderr may be of a call that has ended."""
        self.words[SHARED] = 1

    # ---- lines

    @property
    def is_empty(self):
        return self.written == self.sent

    def put(self, line):
        """Keeps a whole line; False when there is no room for it."""
        size = len(line)
        if size > CAPACITY - (self.written - self.sent):
            return False
        start = self.written % CAPACITY
        first = min(size, CAPACITY - start)
        self.ring[start:start + first] = line[:first]
        if first < size:
            self.ring[:size - first] = line[first:]
        self.written += size
        self.words[WRITTEN] = self.written
        return True

    def unsent(self):
        """What has not been sent, in one piece or two."""
        start, size = self.sent % CAPACITY, self.written - self.sent
        first = min(size, CAPACITY - start)
        return [piece for piece in (self.ring[start:start + first], self.ring[:size - first]) if piece]

    def note_sent(self):
        self.sent = self.written
        self.words[SENT] = self.sent


class Steps(collections.abc.Coroutine):
    """A coroutine that says whenever its code runs: what kills the process meanwhile is likely to be it."""

    __slots__ = ("coroutine", "state", "id")

    def __init__(self, coroutine, state, id):
        self.coroutine, self.state, self.id = coroutine, state, id

    def send(self, value):
        self.state.words[STEP] = self.id
        try:
            return self.coroutine.send(value)
        finally:
            self.state.words[STEP] = 0

    def throw(self, *error):
        self.state.words[STEP] = self.id
        try:
            return self.coroutine.throw(*error)
        finally:
            self.state.words[STEP] = 0

    def close(self):
        return self.coroutine.close()

    def __await__(self):
        return self.coroutine.__await__()

    def __getattr__(self, name):
        # For those who show a task's stack.
        return getattr(self.coroutine, name)
