"""Serves tasks over the worker protocol."""
import asyncio
import concurrent.futures
import contextvars
import inspect
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
import types

from . import processes, streams, surroundings
from .allowance import CPUAllowance, usage
from .api import Call, Cancelled, current, progress
from .channel import MAX_LINE, Channel, exit_now, give_up
from .state import Steps, Withdrawn
from .threads import are_left, start_for_nobody
from .values import Never, UnknownTask, clean, encode

try:
    import resource
except ImportError:  # not a Unix: usage is not reported
    resource = None

VERSION = "0.1"
PROTOCOL = 1
#: Coroutines of one process at once.
CONCURRENCY = 1000
#: Answers to what took less than this are gathered, in seconds.
QUICK = 0.0002
#: Bytes of an error's message, and of its traceback.
LONGEST_ERROR = 64 << 10
PLACE = os.path.dirname(__file__)
_decode = json.JSONDecoder().decode
CANCELLED = -32800
WITHDRAWN = -32001


class Worker:
    """Serves the tasks of this process until the server closes the channel."""

    def __init__(self, tasks, descriptor, cpu=None):
        """cpu: Where the process does not begin with the limit as it is for one call."""
        self.tasks = tasks
        self.channel = Channel(descriptor)
        self.cpu = cpu or CPUAllowance()
        self.process = os.getpid()
        self.calls = {}
        self.queue = queue.SimpleQueue()
        self.partial = b""
        self.flushes = False
        self.loop = None
        #: The call of the main thread, and whether its own code runs there at this moment.
        self.main_call = None
        self.is_inside = False
        #: Held while a call of the main thread begins or ends, and while something is put back: what that call changes is its own.
        self.turn = threading.Lock()
        #: Whether names that a coroutine has changed are to go back when that call ends.
        self.owes_names = False
        #: Held for ever by the thread that ends the process.
        self.exiting = threading.Lock()
        #: Whether threads that a call has left, or that the file has, may write what has no name on it.
        self.is_shared = False
        #: Whether a call has changed for ever what it should not, so that this process is to be replaced.
        self.is_spoiled = False
        #: Whether the main thread begins nothing more because of that.
        self.is_parked = False

    # ---- sending

    def answer(self, id, **members):
        """Answers what the server has asked, at once."""
        self.channel.add(json.dumps({"jsonrpc": "2.0", "id": id, **members}).encode())
        self.channel.flush()

    def succeed(self, call, value, took):
        """value: the result as JSON, in bytes. took: the usage, likewise, or None."""
        rest = b',"usage":' + took if took else b""
        head = b'{"jsonrpc":"2.0","id":%s,"result":{"value":' % call.key
        if len(head) + len(value) + len(rest) + 2 > MAX_LINE:
            path = os.path.join(call.params.get("dir") or os.getcwd(), f"result-{call.id}.json")
            with open(path, "wb") as file:
                file.write(value)
            value = b'null,"file":' + json.dumps(path).encode()
        self.channel.add(head + value + rest + b"}}")

    def fail(self, call, error):
        if call.cancelled and isinstance(error, (Cancelled, asyncio.CancelledError)):
            failure = {"code": CANCELLED, "message": "cancelled"}
        elif isinstance(error, Withdrawn):
            failure = {"code": WITHDRAWN, "message": "withdrawn"}
        else:
            data = {"type": clean(type(error).__name__, 256), "traceback": _frames(error),
                    "retry": "never" if isinstance(error, Never) else "default"}
            failure = {"code": -32000, "message": clean(error, LONGEST_ERROR), "data": data}
        self.channel.add(json.dumps({"jsonrpc": "2.0", "id": call.id, "error": failure}, ensure_ascii=False).encode())

    # ---- receiving

    def read(self):
        """Reads what has come and acts on it; False at the end of the channel."""
        data = self.channel.receive()
        if not data:
            return False
        lines = (self.partial + data).split(b"\n")
        self.partial = lines.pop()
        for line in lines:
            self.take(_decode(line.decode()), line)
        return True

    def take(self, message, line):
        method, params = message.get("method"), message.get("params") or {}
        if method == "run":
            if self.is_spoiled:
                return  # another process will do it
            call = Call(self, message["id"], params)
            self.calls[call.id] = call
            task = self.tasks.get(params.get("task"))
            if task is not None and task.reads_digits:
                call.line = line
            if task is not None and task.is_async:
                call.future = self.loop.create_task(Steps(self.run_async(task, call), self.channel.state, call.id))
                call.future.add_done_callback(lambda future: self.settled(call, future))
            else:
                self.queue.put(call)
        elif method == "cancel":
            call = self.calls.get(params.get("id"))
            if call is not None:
                self.cancel(call, params.get("grace_ms") or 0)
        elif method == "initialize":
            self.answer(message["id"], result=self.describe())
        elif method == "ping":
            self.answer(message["id"], result={})
        elif method == "drain":
            self.queue.put(None)
        elif "id" in message and method is not None:
            self.answer(message["id"], error={"code": -32601, "message": f"there is no method {method!r}"})

    def describe(self):
        version = ".".join(map(str, sys.version_info[:3]))
        return {"protocol": PROTOCOL, "worker": {"sdk": f"spindle-py {VERSION}", "language": f"python {version}",
                                                 "pid": os.getpid()},
                "concurrency": CONCURRENCY if self.loop else 1,
                "tasks": [task.described() for task in self.tasks.values()]}

    # ---- cancelling

    def cancel(self, call, grace_ms):
        call.cancelled = True
        if call.future is not None:
            call.future.cancel()
            # One that takes its time to clean up is interrupted again when its grace is over, so that those beside it live.
            self.loop.call_later(grace_ms / 1000, self.cancel_again, call)
        else:
            start_for_nobody(threading.Thread(target=self.interrupt, args=(call,), name="spindle-cancel", daemon=True))

    def cancel_again(self, call):
        if not call.future.done():
            call.future.cancel()
            self.loop.call_later(0.1, self.cancel_again, call)

    def interrupt(self, call):
        """Interrupts what the main thread waits in, until the cancel has reached the task or the call has ended."""
        while call.id in self.calls and not call.told:
            if call is self.main_call:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
            time.sleep(0.01)

    def interrupted(self, _, frame):
        """Raises `Cancelled` in the task's own code, and never in what it calls of ours: half a line might be sent."""
        call = self.main_call
        if call is None or not call.cancelled or call.told or not self.is_inside:
            return
        while frame is not None and os.path.dirname(frame.f_code.co_filename) != PLACE:
            frame = frame.f_back
        if frame is not None and frame.f_code in (Worker.run.__code__, Worker.drive.__code__):
            call.told = True
            raise Cancelled()

    # ---- working

    def serve(self):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, self.interrupted)
        processes.serve(self)
        if are_left():
            self.share()
        self.surroundings = surroundings.Surroundings(self.cpu)
        #: What children took that are accounted for.
        self.children = resource and resource.getrusage(resource.RUSAGE_CHILDREN)
        reader = self.serve_channel
        if any(task.is_async for task in self.tasks.values()):
            reader = self.serve_loop
            streams.install_redirects()
        ready = threading.Event()
        start_for_nobody(threading.Thread(target=reader, args=(ready,), name="spindle-reader", daemon=True))
        ready.wait()
        try:
            while (call := self.next()) is not None:
                self.perform(call)
        except BaseException:
            give_up("what serves the tasks has failed")
        # Drained: what runs as a coroutine still ends.
        while self.calls:
            time.sleep(0.01)
        self.channel.flush()
        self.exit()

    def exit(self):
        with self.exiting:  # who comes second waits for the end too: the tracker would die with us
            processes.end_tracker()
            exit_now(0)

    def share(self):
        self.is_shared = True
        self.channel.state.share()

    def next(self):
        """The next call for the main thread; what has been answered goes out before it waits."""
        if self.queue.empty():
            self.channel.flush()
        return self.queue.get()

    def serve_channel(self, ready):
        ready.set()
        try:
            while self.read():
                pass
        except BaseException:
            give_up("the server cannot be understood")
        self.exit()  # it is gone

    def serve_loop(self, ready):
        self.surroundings.loop_thread = threading.get_ident()
        self.loop = asyncio.new_event_loop()
        self.loop.set_task_factory(self.make_task)
        # One thread for each call that may run: with asyncio's few, those that timed-out calls have left in `to_thread`
        # would be all there are, and nobody's names would be resolved any more.
        self.loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(CONCURRENCY, "asyncio"))
        asyncio.set_event_loop(self.loop)
        # What nobody has waited for is noticed when it is thrown away, in the middle of somebody else's call.
        self.loop.set_exception_handler(lambda loop, context: contextvars.Context().run(
            loop.default_exception_handler, context))

        def readable():
            try:
                if self.read():
                    return
            except BaseException:
                give_up("the server cannot be understood")
            self.exit()
        self.loop.add_reader(self.channel.socket.fileno(), readable)
        ready.set()
        while True:
            try:
                self.loop.run_forever()
            except BaseException:
                # `sys.exit` in a task that a coroutine has made stops the loop; who waits for the task is told too.
                pass

    def make_task(self, loop, coroutine, **named):
        """What a call's coroutine starts beside itself is its own, too."""
        call = current.get()
        if call is not None and not isinstance(coroutine, Steps):
            coroutine = Steps(coroutine, self.channel.state, call.id)
        return asyncio.Task(coroutine, loop=loop, **named)

    def perform(self, call):
        task = self.tasks.get(call.params.get("task"))
        # What has been answered is not to wait for what may take long.
        if not (task and task.is_quick):
            self.channel.flush()
        begun = time.perf_counter()
        before = usage()
        value = error = None
        with self.turn:
            self.main_call = call
        if self.is_spoiled:
            self.park()
        try:
            # A context of its own: what it sets there is gone with it.
            value = encode(contextvars.copy_context().run(self.run, task, call))
        except BaseException as raised:
            error = raised
        self.is_inside = False
        self.conclude(call, value, error, before)
        with self.turn:
            self.main_call = None
            if self.owes_names:  # a coroutine has ended since
                self.surroundings.put_names_back()
                self.owes_names = False
        self.tidy()
        took = time.perf_counter() - begun
        if task and not isinstance(error, Withdrawn):  # which says nothing of the next one
            task.is_quick = took < QUICK
        if took > QUICK:
            self.channel.flush()

    def run(self, task, call):
        current.set(call)
        if task is None:
            raise UnknownTask(f"there is no task {call.params.get('task')!r}")
        self.is_inside = True
        if call.cancelled:
            call.told = True
            raise Cancelled()
        self.cpu.renew()
        self.channel.state.begin(call.id)
        places, names = task.bind(call.params.get("input") or {})
        call.line = call.texts = None
        value = task.function(*places, **names)
        if isinstance(value, types.GeneratorType):
            value = self.drive(value, call)
        self.is_inside = False
        return value

    def drive(self, generator, call):
        try:
            resume, value = generator.send, None
            while True:
                yielded = resume(value)
                resume, value = generator.send, None
                try:
                    self.is_inside = False
                    call.tell(yielded)
                    if call.cancelled and not call.told:
                        call.told = True
                        raise Cancelled()
                except BaseException as error:
                    # Where it was yielded: the traceback says so, and what is to be cleaned up there is.
                    resume, value = generator.throw, error
                finally:
                    self.is_inside = True
        except StopIteration as end:
            return end.value
        finally:
            generator.close()

    def tidy(self):
        """Takes back what a call may have changed for those after it."""
        if (surroundings.changed or surroundings.variables or self.surroundings.is_due
                or getattr(os, "environ", None) is not self.surroundings.environment):
            with self.turn:
                stuck = self.surroundings.put_back(self.main_call is not None)
            if stuck and not self.is_spoiled:
                self.is_spoiled = True
                os.write(2, f"spindle: a call has changed what nobody can put back: {', '.join(sorted(stuck))}\n".encode())
        if self.is_spoiled:
            self.leave() if self.loop is None else self.loop.call_soon_threadsafe(self.leave_if_free)

    def leave(self):
        """Lets another process take over: what has not begun goes there."""
        self.channel.flush()
        self.exit()

    def leave_if_free(self):
        """On the loop, where coroutines begin; the main thread's calls begin only where it is not parked."""
        is_busy = self.main_call is not None and not self.is_parked
        if not is_busy and all(call.future is None for call in list(self.calls.values())):
            self.leave()

    def park(self):
        self.is_parked = True
        self.loop.call_soon_threadsafe(self.leave_if_free)
        while True:
            time.sleep(3600)

    async def run_async(self, task, call):
        current.set(call)
        self.cpu.renew()
        value = error = None
        try:
            self.channel.state.begin_beside(call.id)
            places, names = task.bind(call.params.get("input") or {})
            call.line = call.texts = None
            value = task.function(*places, **names)
            if inspect.isasyncgen(value):
                value = await self.drive_async(value, call)
            else:
                value = await value
            value = encode(value)
        except BaseException as raised:
            error = raised
        if (call.processes or call.directory is not None) and self.channel.state.is_ours:
            call.is_ending = True
            start_for_nobody(threading.Thread(target=self.clear_up_beside, args=(call, value, error), daemon=True))
        else:
            self.conclude(call, value, error)

    async def drive_async(self, generator, call):
        last = None
        try:
            async for item in generator:
                last = item
                call.tell(item)
        finally:
            await generator.aclose()
        return None if isinstance(last, progress) else last

    def settled(self, call, future):
        """A coroutine that was cancelled before its first step has answered nothing."""
        if future.cancelled() and not call.is_ending:
            self.conclude(call, None, asyncio.CancelledError())

    # ---- the end of a call

    def clear_up(self, call):
        """Ends the processes that a call has left, and removes its directory."""
        if call.processes:
            processes.end(call, is_alone=self.loop is None)
        if call.directory is not None:
            # Only here: to import it takes longer than most calls do.
            import shutil
            shutil.rmtree(call.directory, ignore_errors=True)

    def clear_up_beside(self, call, value, error):
        """Not on the loop, where others would wait for it; all the rest is done there."""
        try:
            self.clear_up(call)
            self.loop.call_soon_threadsafe(self.conclude, call, value, error)
        except BaseException:
            give_up("a call cannot be ended")

    def conclude(self, call, value, error, before=None):
        """Takes back what the call has changed, and answers it, once: in the main thread, or on the loop if it is a coroutine."""
        try:
            if not self.channel.state.is_ours:
                exit_now(0)  # forked by the task, and come back from it: the answer is not its to give
            if call.ended:
                return
            if call.future is None:
                self.clear_up(call)
            if call.output is not None:
                call.output.close()
            for lines in list(call.lines.values()):
                lines.show()
            if not self.is_shared and are_left():
                self.share()
            if "faulthandler" in sys.modules and call.future is None:
                sys.modules["faulthandler"].cancel_dump_traceback_later()
            call.ended = True
            with self.turn:
                # While a call of the main thread runs they are its own, and go back when it ends.
                self.owes_names = self.main_call not in (None, call)
                if not self.owes_names:
                    self.surroundings.put_names_back()
            if call.future is not None and (surroundings.changed or self.is_spoiled):
                self.tidy()  # before the answer, whoever sends it: the next may follow it at once
            if error is None:
                try:
                    self.succeed(call, value, before and usage(before, self.children_of(call)))
                except OSError as wrong:
                    error = wrong
            if error is not None:
                self.fail(call, error)
            del self.calls[call.id]  # only now: who waits until there are none ends the process then
            if call.future is not None:
                self.flush_soon()
        except BaseException:
            give_up("a call cannot be answered")

    def children_of(self, call):
        """What the children that a call has started and waited for took: CPU in seconds, resident memory in bytes.

        Where calls run beside each other nobody can tell whose it was.
        """
        if not call.processes or self.loop is not None or resource is None:
            return 0, 0
        before, now = self.children, resource.getrusage(resource.RUSAGE_CHILDREN)
        self.children = now
        # The most of all that there ever were: where it has grown it is of this call's.
        most = now.ru_maxrss * 1024 if now.ru_maxrss > before.ru_maxrss else 0
        return now.ru_utime + now.ru_stime - before.ru_utime - before.ru_stime, most

    def flush_soon(self):
        """What ends in the same turn of the loop is answered together."""
        if not self.flushes:
            self.flushes = True
            self.loop.call_soon(self.flush_now)

    def flush_now(self):
        self.flushes = False
        self.channel.flush()


def _frames(error):
    """The traceback of an error, as far as it can be had, without what this package adds to it."""
    try:
        frames = cause = traceback.TracebackException.from_exception(error)
        is_ours = True
        while cause is not None:
            while cause.stack and os.path.dirname(cause.stack[0].filename) == PLACE:
                del cause.stack[0]
            is_ours = is_ours and not cause.stack
            cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
        # Nothing of the task's is in it: the message says all. A mistake of its syntax has its place beside the stack.
        if is_ours and isinstance(error, Never):
            return []
        lines = clean("".join(frames.format()), LONGEST_ERROR).splitlines()
    except BaseException:  # a message or a name that cannot be had
        return []
    return lines if len(lines) <= 200 else [*lines[:100], "…", *lines[-99:]]
