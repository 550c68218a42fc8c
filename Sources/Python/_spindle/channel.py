"""Lines to the server: gathered, or sent at once."""
import collections
import os
import socket
import threading
import traceback

from .state import State

#: Bytes of one line, its line feed not counted.
MAX_LINE = 1 << 20
#: As it is before a task's own exit is looked after (see `processes`).
exit_now = os._exit


class Channel:
    """Sends whole lines, from any thread, and from inside whatever interrupts one that sends.

    A line is sent whole or the process ends: half of one would be the end of the conversation, and a call whose answer is
    lost would run for ever. Until it is sent it lies where the server finds it when this process dies.
    """

    def __init__(self, descriptor):
        self.socket = socket.socket(fileno=descriptor)
        self.socket.set_inheritable(False)
        self.state = State()
        self.pending = collections.deque()
        self.lock = threading.RLock()
        self.is_busy = False

    def add(self, line):
        """Takes a line, without its line feed; it goes with the next flush."""
        if not self.state.is_ours:
            raise RuntimeError("only the process that runs the task can speak for it, not one that it has forked")
        self.pending.append(line)
        self.work(sends=False)

    def flush(self):
        if self.pending or not self.state.is_empty:
            self.work(sends=True)

    def work(self, sends):
        with self.lock:
            if self.is_busy:
                return  # in this very thread, further out: what was added is taken there
            self.is_busy = True
            try:
                while self.pending:
                    self.keep(self.pending.popleft() + b"\n")
                if sends:
                    self.send()
                    while self.pending:  # added from inside of this
                        self.keep(self.pending.popleft() + b"\n")
                        self.send()
            except OSError:
                exit_now(0)  # the server is gone: there is nothing to clean up for
            except BaseException:
                give_up("half of a line may have been sent")
            self.is_busy = False

    def keep(self, line):
        if self.state.put(line):
            return
        self.send()
        if not self.state.put(line):
            self.socket.sendall(line)

    def send(self):
        for piece in self.state.unsent():
            self.socket.sendall(piece)
        self.state.note_sent()

    def receive(self):
        """What has come; empty at the end of the channel."""
        return self.socket.recv(1 << 16)


def give_up(why):
    """Ends the process, so that the server can tell that its calls will not be answered."""
    try:
        os.write(2, f"spindle: {why}\n{traceback.format_exc(limit=20)}".encode("utf-8", "backslashreplace"))
    finally:
        exit_now(70)
