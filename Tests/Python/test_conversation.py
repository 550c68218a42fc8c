"""What the tests themselves start is gone when they are over, however they end."""
import os
import pathlib

import pytest

from conversation import Conversation, read

LEAVING = '''
import concurrent.futures
from multiprocessing import shared_memory
shared = shared_memory.SharedMemory(create=True, size=100)
pool = concurrent.futures.ProcessPoolExecutor(1)
pool.submit(os.getpid).result()
helper = subprocess.Popen(["sleep", "600"], start_new_session=True)
bare = subprocess.Popen(["sleep", "600"], env={"PATH": os.environ["PATH"]})
reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(writing, b"%d" % os.getpid())
        os.execvp("sleep", ["sleep", "600"])
    os._exit(0)
orphan = int(os.read(reading, 20))
with open("numbers", "w") as file:
    print(os.getpid(), helper.pid, bare.pid, orphan, *pool._processes, shared._name, file=file)
'''
TASK = "@spindle.task\ndef f(): ...\n"


@pytest.mark.parametrize("end", ["with", "assertion", "start"])
def test_what_the_file_has_started_is_gone_when_a_conversation_is_over(end, tmp_path):
    numbers = tmp_path / "numbers"
    text = LEAVING.replace('"numbers"', repr(str(numbers))) + ("" if end == "start" else TASK)
    with pytest.raises((AssertionError, EOFError, ConnectionError)) if end != "with" else Conversation(TASK):
        with Conversation(text):
            assert end == "with"
    *started, shared = numbers.read_text().split()
    assert len(started) == 5
    assert not [(pid, read(pid, "stat")) for pid in started if pathlib.Path("/proc", pid).exists()]
    assert not os.path.exists("/dev/shm" + shared)
