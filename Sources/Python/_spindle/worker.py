"""Serves tasks over the worker protocol."""
import asyncio
import inspect
import json
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
import types

from . import api
from .api import Call, Cancelled, Never, progress
from .schema import default, plain

try:
    import resource
except ImportError:  # not a Unix: usage is not reported
    resource = None

VERSION = "0.1"
PROTOCOL = 1
MAX_LINE = 1 << 20
#: Coroutines of one process at once.
CONCURRENCY = 1000
#: Answers to what took less than this are gathered, in seconds.
QUICK = 0.0002
PLACE = os.path.dirname(__file__)


class Worker:
    """Serves the tasks of this process until the server closes the channel."""

    def __init__(self, tasks, descriptor):
        self.tasks = tasks
        self.channel = socket.socket(fileno=descriptor)
        self.lock = threading.Lock()
        self.pending = []
        self.calls = {}
        self.queue = queue.SimpleQueue()
        self.partial = b""
        self.flushes = False
        self.loop = None
        self.encode = json.JSONEncoder(separators=(",", ":"), default=default).encode

    # ---- sending

    def send(self, message, flush=False):
        line = self.encode(message)
        if len(line) >= MAX_LINE:
            return self.send_long(message, line)
        with self.lock:
            self.pending.append(line)
            if flush:
                self.flush_locked()

    def send_long(self, message, line):
        """A result over the line's bound goes by file; anything else that long is dropped, and the log says so."""
        result = message.get("result")
        if not isinstance(result, dict) or "value" not in result:
            sys.stderr.write(f"spindle: a message of {len(line)} bytes was dropped; {MAX_LINE} fit\n")
            return
        path = os.path.join(os.getcwd(), f"result-{message['id']}.json")
        with open(path, "w") as file:
            file.write(self.encode(result["value"]))
        self.send(dict(message, result=dict(result, value=None, file=path)), flush=True)

    def flush(self):
        with self.lock:
            self.flush_locked()

    def flush_locked(self):
        if self.pending:
            self.channel.sendall(("\n".join(self.pending) + "\n").encode())
            self.pending.clear()

    def answer(self, id, value, usage):
        self.send({"jsonrpc": "2.0", "id": id, "result": {"value": plain(value), "usage": usage}})

    def fail(self, id, error):
        if isinstance(error, (Cancelled, asyncio.CancelledError)):
            return self.send({"jsonrpc": "2.0", "id": id, "error": {"code": -32800, "message": "cancelled"}})
        frames = traceback.TracebackException.from_exception(error)
        # What this package adds to the stack is not the user's business.
        while frames.stack and os.path.dirname(frames.stack[0].filename) == PLACE:
            del frames.stack[0]
        data = {"type": type(error).__name__, "traceback": "".join(frames.format()).splitlines()[:200],
                "retry": "never" if isinstance(error, Never) else "default"}
        self.send({"jsonrpc": "2.0", "id": id, "error": {"code": -32000, "message": str(error), "data": data}})

    # ---- receiving

    def read(self):
        """Reads what has come and acts on it; False at the end of the channel."""
        data = self.channel.recv(1 << 16)
        if not data:
            return False
        lines = (self.partial + data).split(b"\n")
        self.partial = lines.pop()
        for line in lines:
            self.take(json.loads(line))
        return True

    def take(self, message):
        method, params = message.get("method"), message.get("params") or {}
        if method == "run":
            call = Call(self, message["id"], params)
            self.calls[call.id] = call
            task = self.tasks.get(params.get("task"))
            if task is not None and task.is_async:
                call.future = self.loop.create_task(self.run_async(task, call))
                call.future.add_done_callback(lambda _: self.settled(call))
            else:
                self.queue.put(call)
        elif method == "cancel":
            call = self.calls.get(params.get("id"))
            if call is not None:
                self.cancel(call)
        elif method == "initialize":
            self.send({"jsonrpc": "2.0", "id": message["id"], "result": self.describe()}, flush=True)
        elif method == "ping":
            self.send({"jsonrpc": "2.0", "id": message["id"], "result": {}}, flush=True)
        elif method == "drain":
            self.queue.put(None)
        elif "id" in message and method is not None:
            error = {"code": -32601, "message": f"there is no method {method!r}"}
            self.send({"jsonrpc": "2.0", "id": message["id"], "error": error}, flush=True)

    def describe(self):
        version = ".".join(map(str, sys.version_info[:3]))
        return {"protocol": PROTOCOL, "worker": {"sdk": f"spindle-py {VERSION}", "language": f"python {version}",
                                                 "pid": os.getpid()},
                "concurrency": CONCURRENCY if self.loop else 1,
                "tasks": [task.described() for task in self.tasks.values()]}

    def cancel(self, call):
        call.cancelled = True
        if call.future is not None:
            call.future.cancel()
        elif call is api.main_call:
            # Interrupts what the main thread waits in, and raises there.
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    def interrupted(self, *_):
        if api.main_call is not None and api.main_call.cancelled:
            raise Cancelled()

    # ---- working

    def serve(self):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, self.interrupted)
        reader = self.serve_loop if any(task.is_async for task in self.tasks.values()) else self.serve_channel
        ready = threading.Event()
        threading.Thread(target=reader, args=(ready,), name="spindle-reader", daemon=True).start()
        ready.wait()
        while (call := self.next()) is not None:
            try:
                self.perform(call)
            except Cancelled:
                pass  # it came just before or after the task's own code
            if self.calls.pop(call.id, None):
                self.fail(call.id, Cancelled())
        # Drained: what runs as a coroutine still ends.
        while self.calls:
            time.sleep(0.01)
        self.flush()
        os._exit(0)

    def next(self):
        """The next call for the main thread; what has been answered goes out before it waits."""
        if self.queue.empty():
            sys.stdout.flush()
            self.flush()
        return self.queue.get()

    def serve_channel(self, ready):
        ready.set()
        try:
            while self.read():
                pass
        finally:
            os._exit(0)  # the server is gone, or talks nonsense: there is nothing to clean up for

    def serve_loop(self, ready):
        import contextvars
        api.async_call = contextvars.ContextVar("call")

        async def run():
            self.loop = asyncio.get_running_loop()
            ended = self.loop.create_future()

            def readable():
                try:
                    if not self.read() and not ended.done():
                        ended.set_result(None)
                except Exception as error:
                    if not ended.done():
                        ended.set_exception(error)
            self.loop.add_reader(self.channel.fileno(), readable)
            ready.set()
            await ended
        try:
            asyncio.run(run())
        finally:
            os._exit(0)

    def perform(self, call):
        task = self.tasks.get(call.params.get("task"))
        # What has been answered is not to wait for what may take long.
        if self.pending and not (task and task.is_quick):
            self.flush()
        begun = time.perf_counter()
        before = _usage()
        try:
            api.main_call = call
            if call.cancelled:
                raise Cancelled()
            if task is None:
                raise Never(f"there is no task {call.params.get('task')!r}")
            value = task.function(**task.bind(call.params.get("input") or {}))
            if isinstance(value, types.GeneratorType):
                value = self.drive(value, call)
            api.main_call = None
            self.answer(call.id, value, _usage(before))
        except SystemExit:
            self.flush()
            raise
        except BaseException as error:
            api.main_call = None
            self.fail(call.id, error)
        finally:
            api.main_call = None
        self.calls.pop(call.id, None)
        took = time.perf_counter() - begun
        if task:
            task.is_quick = took < QUICK
        if took > QUICK:
            self.flush()

    def drive(self, generator, call):
        try:
            while True:
                self.tell(next(generator), call)
        except StopIteration as end:
            return end.value
        finally:
            generator.close()

    def tell(self, value, call):
        if isinstance(value, progress):
            call.notify("progress", value.members())
        else:
            call.notify("output", {"value": plain(value)})

    async def run_async(self, task, call):
        api.async_call.set(call)
        try:
            value = task.function(**task.bind(call.params.get("input") or {}))
            if inspect.isasyncgen(value):
                last = None
                async for item in value:
                    last = item
                    self.tell(item, call)
                value = None if isinstance(last, progress) else last
            else:
                value = await value
            self.answer(call.id, value, None)
        except BaseException as error:
            self.fail(call.id, error)
        finally:
            self.calls.pop(call.id, None)
            self.flush_soon()

    def settled(self, call):
        """A coroutine that was cancelled before its first step has answered nothing."""
        if self.calls.pop(call.id, None):
            self.fail(call.id, Cancelled())
            self.flush_soon()

    def flush_soon(self):
        """What ends in the same turn of the loop is answered together."""
        if not self.flushes:
            self.flushes = True
            self.loop.call_soon(self.flush_now)

    def flush_now(self):
        self.flushes = False
        self.flush()


def _usage(before=None):
    if resource is None:
        return None
    now = resource.getrusage(getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF))
    # Some kernels count what getrusage says in ticks; the clock is exact everywhere.
    cpu = time.thread_time()
    if before is None:
        return now, cpu
    before, began = before
    return {"cpu_seconds": cpu - began,
            "max_rss_bytes": now.ru_maxrss * 1024, "voluntary_switches": now.ru_nvcsw - before.ru_nvcsw,
            "involuntary_switches": now.ru_nivcsw - before.ru_nivcsw}
