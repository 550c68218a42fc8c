"""What is printed is cut into lines, and never where somebody is about to go on."""
import pathlib
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "Sources/Python"))
sys.dont_write_bytecode = True
from _spindle import streams


class Clock:
    """Moves when somebody sleeps."""
    now = 1000.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


class Rounds:
    """Lets the ticker look so many times."""

    def __init__(self, number):
        self.left = number

    def wait(self):
        self.left -= 1
        return self.left >= 0

    def clear(self): pass
    set = clear


class Between:
    """A lock whose next owner finds that another one has been there just before."""

    def __init__(self):
        self.lock = threading.RLock()
        self.before = None

    def __enter__(self):
        before, self.before = self.before, None
        if before is not None:
            before()
        self.lock.acquire()

    def __exit__(self, *_):
        self.lock.release()


class Call:
    ended = False

    def __init__(self):
        self.said = []

    def log(self, text, stream):
        self.said.append(text)


def test_a_line_that_is_begun_in_the_moment_of_the_ticker_is_not_cut(monkeypatch):
    clock, ticker, call = Clock(), streams.Ticker(), Call()
    monkeypatch.setattr(streams, "time", clock)
    monkeypatch.setattr(streams, "ticker", ticker)
    ticker.thread = threading.current_thread()
    lines = streams.Lines(call, "stdout")
    lines.lock = Between()
    for n, text in enumerate(("old line\n", "0 ", "line\n1 ")):
        lines.feed(text)
        clock.sleep(1)
    # A print of several words goes on between the ticker's look and its turn, and again while it waits.
    for n in range(2, 5):
        lines.lock.before = lambda: lines.feed(f"line\n{n} ")
        ticker.arrived = Rounds(1)
        ticker.run()
    assert call.said == ["old line", *(f"{n} line" for n in range(4))]
    # What stands there for a while is shown, and what follows it goes on in the same line.
    ticker.arrived = Rounds(1)
    ticker.run()
    assert call.said[5:] == ["4 "] and not ticker.waiting
    lines.feed("line\n")
    assert call.said[6:] == ["line"]
