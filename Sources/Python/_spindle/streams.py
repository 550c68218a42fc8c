"""What is printed is the log of the job that prints it, and nobody else's.

    print ──► CallStream ──► whose is it? ──► Lines of that call ──► `log` messages
                  │ nobody's that runs               ▲ what has no newline is shown by the ticker
                  └──► `log` without a call          └── ChildOutput, from a pipe that the call's children got
"""
import codecs
import contextlib
import io
import math
import os
import select
import sys
import threading
import time

from . import api, threads

#: Seconds for which text without a newline waits for more.
PATIENCE = 0.2


class Lines:
    """One stream of one call, cut into lines.

    A line that is overwritten by `\\r`, as bars of progress are, is shown as it stands now and then. What is longer than
    fits is cut, and says so.
    """

    def __init__(self, call, stream):
        self.call, self.stream = call, stream
        self.rest = ""
        #: Whether some of the present line has been shown already.
        self.is_begun = False
        #: Since when there is a rest.
        self.rests_since = 0.0
        self.shown_at = 0.0
        self.lock = threading.RLock()
        self.decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def feed(self, text):
        with self.lock:
            if "\n" not in text:
                if not self.rest:
                    self.rests_since = time.monotonic()
                self.rest += text
            else:
                self.rests_since = time.monotonic()
                lines = (self.rest + text).split("\n")
                self.rest = lines.pop()
                for line in lines:
                    line = _overwritten(line)
                    if line or not self.is_begun:
                        self.call.log(line, self.stream)
                    self.is_begun = False
            if len(self.rest) > api.LONGEST_TEXT:
                self.show()
        if self.rest:
            ticker.watch(self)

    def show(self, latest=math.inf):
        """Shows what stands there without a newline; False where it stands there since after `latest`."""
        with self.lock:
            if self.rest and self.rests_since > latest:
                return False
            text, self.rest = _overwritten(self.rest), ""
            if text and not self.call.ended:
                self.is_begun = True
                self.shown_at = time.monotonic()
                self.call.log(text, self.stream)
            return True

    def flush(self):
        """As `show`, unless the last time is too near: then the ticker does it."""
        if self.rest and time.monotonic() - self.shown_at > PATIENCE:
            self.show()


def _overwritten(line):
    return line.rstrip("\r").rpartition("\r")[2] if "\r" in line else line


class Ticker:
    """Shows what has no newline, after a moment."""

    def __init__(self):
        self.waiting = set()
        self.thread = None
        self.arrived = threading.Event()

    def watch(self, lines):
        self.waiting.add(lines)
        if self.thread is None:
            self.thread = threading.Thread(target=self.run, name="spindle-ticker", daemon=True)
            threads.start_for_nobody(self.thread)
        self.arrived.set()

    def run(self):
        while self.arrived.wait():
            self.arrived.clear()
            time.sleep(PATIENCE)
            # Not what somebody is about to go on with: a `print` of several words writes them one by one.
            latest = time.monotonic() - PATIENCE / 2
            for lines in list(self.waiting):
                self.waiting.discard(lines)  # first: what begins meanwhile is watched anew
                if not lines.show(latest):
                    self.waiting.add(lines)
            if self.waiting:
                self.arrived.set()


ticker = Ticker()


class CallStream(io.TextIOBase):
    """Takes the place of `sys.stdout` or `sys.stderr`: what a call prints goes to the call, all else where it went before."""

    def __init__(self, name, own):
        self.name, self.own = f"<{name}>", own
        self.stream = name
        self.buffer = CallBuffer(self)

    encoding = "utf-8"
    errors = "backslashreplace"
    line_buffering = True

    def call(self):
        """Whose it is; None: this process prints as any other does, because it does not serve, or was forked by a task."""
        call = api.current.get()
        if call is None or call.ended:
            call = api.nobody
        return call if call.worker is not None and call.worker.process == os.getpid() else None

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        call = self.call()
        if call is None:
            return self.own.write(text)
        if call.targets and self.stream in call.targets:
            target = call.targets[self.stream]
            return len(text) if target is None else target.write(text)
        return self.show(call, text)

    def show(self, call, text):
        if text:
            if call.output is not None:
                call.output.drain()
            lines_of(call, self.stream).feed(text)
            call.checkpoint()
        return len(text)

    def flush(self):
        call = self.call()
        if call is None:
            self.own.flush()
        elif call.targets and self.stream in call.targets:
            if hasattr(call.targets[self.stream], "flush"):
                call.targets[self.stream].flush()
        elif self.stream in call.lines:
            call.lines[self.stream].flush()

    def writable(self):
        return True

    def isatty(self):
        return False

    def fileno(self):
        return self.own.fileno()

    def reconfigure(self, **_):
        pass

    def close(self):
        pass  # it is everybody's


class CallBuffer(io.RawIOBase):
    """The bytes below a CallStream."""

    def __init__(self, text):
        self.text = text

    def write(self, data):
        data = bytes(data)
        call = self.text.call()
        if call is None:
            self.text.own.flush()
            buffer = self.text.own.buffer
            buffer.write(data)
            buffer.flush()
        else:
            self.text.write(lines_of(call, self.text.stream).decode(data))
        return len(data)

    def writable(self):
        return True

    def flush(self):
        self.text.flush()

    def fileno(self):
        return self.text.fileno()

    def close(self):
        pass


def lines_of(call, stream):
    return call.lines.get(stream) or call.lines.setdefault(stream, Lines(call, stream))


class ChildOutput:
    """Two pipes that the children of one call get as their stdout and stderr."""

    def __init__(self, call):
        self.call = call
        self.lock = threading.RLock()
        self.writing, self.reading = {}, {}
        for descriptor, stream in ((1, "stdout"), (2, "stderr")):
            reading, writing = os.pipe()
            os.set_blocking(reading, False)
            self.writing[descriptor] = writing
            self.reading[reading] = Lines(call, stream)
        if call is not api.nobody or call.worker is not None:
            reader.watch(self)

    def drain(self):
        """Reads what is there now."""
        with self.lock:
            for descriptor in list(self.reading):
                self.read(descriptor)

    def read(self, descriptor):
        with self.lock:
            lines = self.reading.get(descriptor)
            # A child that prints faster than it is read is not waited for.
            for _ in range(64 if lines else 0):
                try:
                    data = os.read(descriptor, 1 << 16)
                except BlockingIOError:
                    return
                if not data:
                    return
                lines.feed(lines.decode(data))

    def close(self):
        """At the end of the call: what has been printed is shown, and who still holds a pipe writes to nobody."""
        with self.lock:
            for descriptor in self.writing.values():
                os.close(descriptor)
            self.drain()
            for descriptor, lines in self.reading.items():
                lines.feed(lines.decode(b"", True))
                lines.show()
                reader.forget(descriptor)
                os.close(descriptor)
            self.reading = {}


class Reader:
    """A thread that reads the pipes of all calls."""

    def __init__(self):
        self.outputs = {}
        self.poll = None

    def watch(self, output):
        if self.poll is None:
            self.poll = select.epoll()
            threads.start_for_nobody(threading.Thread(target=self.run, name="spindle-children", daemon=True))
        for descriptor in output.reading:
            self.outputs[descriptor] = output
            self.poll.register(descriptor, select.EPOLLIN)

    def forget(self, descriptor):
        self.poll.unregister(descriptor)
        del self.outputs[descriptor]

    def run(self):
        while True:
            for descriptor, _ in self.poll.poll():
                output = self.outputs.get(descriptor)
                if output is not None:
                    output.read(descriptor)


reader = Reader()


def install():
    """Puts the streams in their place."""
    for name in ("stdout", "stderr"):
        own = getattr(sys, name)
        own.reconfigure(errors="backslashreplace", write_through=True)
        setattr(sys, name, CallStream(name, own))


class _Redirect:
    """One of a call's streams, led elsewhere for a while: for that call, and not for those beside it."""

    def __init__(self, call, stream, target):
        self.call, self.stream = call, stream
        self.before = dict(call.targets or {})
        if isinstance(target, CallStream):
            # As it is led now: what is led to it later must not come back here.
            target = self.before.get(target.stream, _Straight(target, call))
        call.targets = {**self.before, stream: target}

    def end(self):
        targets = dict(self.call.targets or {})
        targets.pop(self.stream, None)
        if self.stream in self.before:
            targets[self.stream] = self.before[self.stream]
        self.call.targets = targets


class _Straight:
    """A call's log, wherever the stream that leads there is led."""

    def __init__(self, stream, call):
        self.stream, self.call = stream, call

    def write(self, text):
        return self.stream.show(self.call, text)


def install_redirects():
    """Lets `contextlib.redirect_stdout` and `redirect_stderr` lead a call's own output elsewhere, and no neighbour's."""
    redirect = contextlib._RedirectStream
    enter, leave = redirect.__enter__, redirect.__exit__

    def __enter__(self):
        call = api.current.get()
        if call is None or call.ended or not isinstance(getattr(sys, self._stream, None), CallStream):
            return enter(self)
        self._old_targets.append(_Redirect(call, self._stream, self._new_target))
        return self._new_target

    def __exit__(self, *error):
        call = api.current.get()
        # One that several calls share is left in any order.
        for index in reversed(range(len(self._old_targets))):
            if isinstance(self._old_targets[index], _Redirect) and self._old_targets[index].call is call:
                return self._old_targets.pop(index).end()
        return leave(self, *error)
    redirect.__enter__, redirect.__exit__ = __enter__, __exit__
