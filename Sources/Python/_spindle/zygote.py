"""A start without the imports."""
import contextlib
import gc
import json
import os
import resource
import signal
import socket
import time
import traceback

from . import processes, state
from .allowance import CPUAllowance
from .worker import Worker


class Zygote:
    """Has imported the file, and forks a worker of it when the server asks.

    Single-threaded, because what is forked has the forking thread alone: a lock that another one held would stay held.
    The worker's parent ends at once, so that the server, our subreaper, becomes its parent and can wait for it.
    """

    def __init__(self, tasks, descriptor):
        self.tasks = tasks
        self.descriptor = descriptor
        self.channel = socket.socket(fileno=descriptor)
        #: Its workers have the same for each call, and begin with the limit where it stands when they are forked.
        self.cpu = CPUAllowance()

    def serve(self):
        threads = len(os.listdir("/proc/self/task"))
        if threads > 1:
            self.send({"method": "refused", "params": {
                "why": f"cannot fork: the imports have started threads ({threads} are running)"}})
            return
        # What is forked here has descriptors of its own.
        processes.owner = None
        gc.collect()
        gc.freeze()  # what is there stays where it is, on pages that the workers share
        self.send({"method": "ready"})
        while True:
            line, descriptors, _, _ = socket.recv_fds(self.channel, 1 << 16, 8)
            if not line:
                return  # the server is gone
            # A message with descriptors is never joined with the next one (unix(7)).
            request = json.loads(line)
            self.cpu.renew()
            try:
                pid = self.fork(request["params"], descriptors)
                self.send({"id": request["id"], "result": {"pid": pid}})
            except OSError as error:
                self.send({"id": request["id"], "error": {"code": -32000, "message": f"cannot fork: {error}"}})
            for descriptor in descriptors:
                os.close(descriptor)

    def send(self, message):
        self.channel.sendall((json.dumps(dict(message, jsonrpc="2.0")) + "\n").encode())

    def fork(self, params, descriptors):
        reading, writing = os.pipe()
        between = os.fork()
        if between == 0:
            try:
                between = os.getpid()
                worker = os.fork()
                if worker == 0:
                    os.close(reading)
                    os.close(writing)
                    self.become_worker(params, descriptors, between)
                os.write(writing, str(worker).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as answer:
            pid = answer.read()
        os.waitpid(between, 0)
        if not pid:
            raise OSError("no more processes")
        return int(pid)

    def become_worker(self, params, descriptors, between):
        try:
            os.setsid()
            places = [1, 2, self.channel.detach()]
            # Ours is not its own.
            if len(descriptors) > len(places) and state.VARIABLE in os.environ:
                places.append(int(os.environ[state.VARIABLE]))
            else:
                os.environ.pop(state.VARIABLE, None)
            for descriptor, place in zip(descriptors, places):
                os.dup2(descriptor, place)
                os.close(descriptor)
            while os.getppid() == between:
                time.sleep(0.0005)
            _die_with_parent()
            if os.getppid() != params["parent"]:
                os._exit(0)
            os.environ["SPINDLE_CHILD"] = params["mark"]
            _brand(params["brand"])
            os.environ.pop(state.BEGUN_VARIABLE, None)
            if params.get("begun"):
                os.environ[state.BEGUN_VARIABLE] = params["begun"]
            processes.kept.clear()
            Worker(self.tasks, self.descriptor, self.cpu).serve()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)


def _brand(number):
    """Takes a limit that nobody asks for, by which the server knows what descends from whom. Source: getrlimit(2), RLIMIT_LOCKS."""
    with contextlib.suppress(OSError, ValueError):  # then the environment alone says it
        resource.setrlimit(10, (number, number))


def _die_with_parent():
    """Asks for SIGKILL when the server ends. Source: prctl(2), PR_SET_PDEATHSIG."""
    import ctypes
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0)
