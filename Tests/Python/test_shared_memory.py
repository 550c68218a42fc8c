"""Shared memory that nobody has unlinked is gone with who had it, as it is where Python runs alone."""
import os

import pytest

from conversation import Conversation, eventually, is_alive

TASKS = '''
from multiprocessing import resource_tracker, shared_memory
CHILD = """
import sys, time
from multiprocessing import shared_memory
print(shared_memory.SharedMemory(create=True, size=100).name, flush=True)
time.sleep(600)
"""
@spindle.task
def leave():
    return [shared_memory.SharedMemory(create=True, size=100).name, resource_tracker._resource_tracker._pid]
@spindle.task
def start():
    return subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True).stdout.readline().strip()
'''
#: A tracker's start takes as long as the machine lets it; only that it is waited for is to be seen.
PATIENT = """
from _spindle import processes
processes.TRACKING = processes.PATIENCE = 30
"""
LOOP = "@spindle.task\nasync def nothing(): pass\n"


def exists(name):
    return os.path.exists("/dev/shm/" + name.lstrip("/"))


@pytest.mark.parametrize("tasks", [TASKS + PATIENT, TASKS + PATIENT + LOOP], ids=["alone", "beside"])
@pytest.mark.parametrize("how", ["drain", "end of the channel"])
def test_what_a_call_has_left_in_shared_memory_is_gone_when_its_worker_has_ended(tasks, how):
    with Conversation(tasks) as worker:
        name, tracker = worker.run("leave")
        assert exists(name) and is_alive(tracker)
        if how == "drain":
            worker.send("drain", {})
        else:
            worker.server.shutdown(1)
        worker.process.wait(30)
        assert not exists(name) and not is_alive(tracker)


@pytest.mark.parametrize("tasks", [TASKS + PATIENT, TASKS + PATIENT + LOOP], ids=["alone", "beside"])
def test_what_a_process_that_a_call_has_left_had_in_shared_memory_is_gone_with_it(tasks):
    with Conversation(tasks) as worker:
        assert not exists(worker.run("start"))
        name, _ = worker.run("leave")
        assert exists(name), "the worker's own lives on: another call may want it"
        worker.send("drain", {})
        worker.process.wait(30)
        assert not exists(name)


def test_a_worker_ends_though_a_process_of_the_files_own_keeps_its_tracker_busy():
    with Conversation(TASKS + '''
held = shared_memory.SharedMemory(create=True, size=100)
keeper = os.fork() or time.sleep(600)
''') as worker:
        name, tracker = worker.run("leave")
        worker.send("drain", {})
        worker.process.wait(30)
        for process in os.listdir("/proc"):
            if process.isdigit() and str(worker.path).encode() in command(process):
                os.kill(int(process), 9)
        eventually(lambda: not exists(name) and not is_alive(tracker))


def command(process):
    try:
        with open(f"/proc/{process}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""
