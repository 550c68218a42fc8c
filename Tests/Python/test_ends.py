"""What the end of a call costs, and of a worker: how often it looks, and who waits for whom."""
import pathlib
import sys
import threading

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "Sources/Python"))
sys.dont_write_bytecode = True
from _spindle import processes, worker
from _spindle.api import Call


def process(number):
    return processes._Process(number, [b"S", b"1", b"1", b"1"] + [b"0"] * 16)


def test_whose_brand_a_process_has_is_read_of_that_process_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(processes, "brand", "77", raising=False)
    monkeypatch.setattr(processes, "_brand", lambda pid: asked.append(pid) or "77")
    monkeypatch.setattr(processes._Process, "environment", lambda self: [b"PATH=/bin"])
    assert process(5).is_branded() and asked == [5]


@pytest.mark.parametrize("own, above, wanted", [("77", "5", "77"), ("77", "77", None), ("unlimited", "5", None), (None, None, None)])
def test_a_brand_that_others_have_is_none(monkeypatch, own, above, wanted):
    monkeypatch.setattr(processes, "brand", "of another", raising=False)
    monkeypatch.setattr(processes, "owner", None)
    monkeypatch.setattr(processes.api.nobody, "worker", None)
    monkeypatch.setattr(processes, "install_multiprocessing", lambda: None)
    monkeypatch.setattr(processes, "_brand", lambda pid: own if pid == "self" else above)
    monkeypatch.setattr(processes, "_table", dict)
    processes.serve(None)
    assert processes.brand == wanted


@pytest.mark.parametrize("is_tracker, least, most", [(True, 10, 100), (False, 1000, 3000)])
def test_the_list_of_all_processes_is_read_now_and_then_while_a_tracker_is_awaited(monkeypatch, is_tracker, least, most):
    class Clock:
        now = 0.0
        def monotonic(self): return self.now
        def sleep(self, seconds): self.now += seconds
    clock, looks = Clock(), []

    def left(*_):
        looks.append(clock.now)
        return [process(5)] if clock.now < 1.4 else []
    monkeypatch.setattr(processes, "time", clock)
    monkeypatch.setattr(processes, "_left", left)
    monkeypatch.setattr(processes._Process, "is_tracker", lambda self: is_tracker)
    monkeypatch.setattr(processes._Process, "kill", lambda self: None)
    processes.end(Call(None, 1, {}), is_alone=True)
    assert least < len(looks) < most


def test_of_two_threads_that_end_a_worker_the_second_waits_for_the_tracker_too(monkeypatch):
    said, came, first = [], threading.Event(), threading.Event()

    class Watched:
        """A lock that tells when a second thread comes to it."""

        def __init__(self):
            self.lock = threading.Lock()

        def __enter__(self):
            if self.lock.locked():
                came.set()
            self.lock.acquire()

        def __exit__(self, *_):
            self.lock.release()

    def end_tracker():
        if not first.is_set():
            first.set()
            came.wait()
            said.append("tracker")

    def exit_now(status):
        said.append("exit")
        came.set()
    monkeypatch.setattr(processes, "end_tracker", end_tracker)
    monkeypatch.setattr(worker, "exit_now", exit_now)
    one = worker.Worker.__new__(worker.Worker)
    one.exiting = Watched()
    threads = [threading.Thread(target=one.exit) for _ in range(2)]
    threads[0].start()
    first.wait()
    threads[1].start()
    for thread in threads:
        thread.join()
    assert said[0] == "tracker"
