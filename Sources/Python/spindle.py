"""Python functions as jobs behind HTTP: the worker's side of Spindle, in one file of the standard library.

    import spindle

    @spindle.task(timeout="60s", max_attempts=3)
    def thumb(url: str, size: int = 128) -> dict:
        '''Makes a thumbnail.'''
        for i, part in enumerate(parts := fetch(url)):
            yield spindle.progress(i, len(parts), "resizing")   # any other value that is yielded is an `output` event
        return {"path": save(parts)}                            # what a generator returns is the result

    @spindle.task
    async def crawl(url: str): ...                              # many at once in one process

`spindle serve --python FILE` runs this file as `python3 spindle.py FILE`, a few processes of it. Each speaks the worker
protocol, JSON-RPC 2.0 with one message a line, on descriptor 3 (`SPINDLE_FD`).

    reader thread ──► queue ──► main thread: functions and generators, one after another
         │                        ▲ a cancel is a signal, whose handler raises `Cancelled` there
         └──────► event loop: coroutines, all at once (it then reads the channel itself)

`print` is the user's: descriptor 3 is not stdout, so nothing that is printed can disturb the protocol.
"""
import asyncio
import collections
import dataclasses
import enum
import gc
import importlib.machinery
import importlib.util
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
import typing

try:
    import resource
except ImportError:  # not a Unix: usage is not reported
    resource = None

__version__ = "0.1"
__all__ = ["task", "progress", "log", "output", "job", "attempt", "directory", "Cancelled", "Never", "main"]

PROTOCOL = 1
MAX_LINE = 1 << 20
#: Coroutines of one process at once.
CONCURRENCY = 1000
#: Answers to what took less than this are gathered, in seconds.
QUICK = 0.0002


class Cancelled(BaseException):
    """Raised inside a task whose job was cancelled. No `Exception`, so that `except Exception` does not swallow it."""


class Never(Exception):
    """Raise it (or a subclass) from a task for what would fail again: the job is not tried again."""


class progress:
    """How far a task is: yield it from a generator, or call `.send()` anywhere in a task.

    done, total: numbers in the same `unit`; total None when nobody knows.
    """

    __slots__ = ("done", "total", "message", "unit")

    def __init__(self, done, total=None, message=None, unit=None):
        self.done, self.total, self.message, self.unit = done, total, message, unit

    def send(self):
        _here().notify("progress", self.members())

    def members(self):
        members = {"done": self.done}
        for name in ("total", "unit", "message"):
            value = getattr(self, name)
            if value is not None:
                members[name] = value
        return members


def log(text, level="info"):
    """Adds a line to the job's log. What is printed gets there too; this also works in a coroutine."""
    _here().notify("log", {"level": level, "text": str(text)})


def output(value):
    """Sends a partial result, an `output` event."""
    _here().notify("output", {"value": _plain(value)})


def job():
    """The id of the job that runs here."""
    return _here().params.get("job")


def attempt():
    """Which try at the job this is, from 1."""
    return _here().params.get("attempt", 1)


def directory():
    """A directory that goes away with this process."""
    return _here().params.get("dir")


# ---------------------------------------------------------------- tasks and their schemas

_tasks = {}


class Task:
    """A function that jobs can name."""

    def __init__(self, function, name, kind, timeout, max_attempts, description):
        self.function = function
        self.name = name or function.__name__
        self.is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        self.kind = kind or ("io" if self.is_async else "cpu")
        self.description = description or inspect.cleandoc(function.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        self.defaults = {}
        if timeout is not None:
            self.defaults["timeout"] = timeout if isinstance(timeout, str) else f"{timeout}s"
        if max_attempts is not None:
            self.defaults["max_attempts"] = max_attempts
        self.is_quick = False
        self.bind, self.input, self.output = _signature(function)

    def described(self):
        described = {"name": self.name, "kind": self.kind, "description": self.description, "input": self.input,
                     "concurrent": self.is_async, "defaults": self.defaults}
        if self.output is not None:
            described["output"] = self.output
        return described


def task(function=None, *, name=None, kind=None, timeout=None, max_attempts=None, description=None):
    """Makes a function a task. Its parameters become the members of the input, its annotations their schema.

    kind: "cpu" or "io". timeout: of one attempt, "30s" or seconds. max_attempts: 1 to 1000.
    The function itself stays as it is and can be called as before.
    """
    def register(function):
        made = Task(function, name, kind, timeout, max_attempts, description)
        if made.name in _tasks:
            raise ValueError(f"there are two tasks named {made.name!r}")
        _tasks[made.name] = made
        return function
    return register if function is None else register(function)


def _signature(function):
    """(input -> arguments of a call, schema of the input, schema of the result or None)"""
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # an annotation that cannot be evaluated says nothing
        hints = {}
    makers, properties, required = {}, {}, []
    takes_more = False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_more = True
            continue
        schema, make = _schema(hints.get(parameter.name, typing.Any))
        if parameter.default is parameter.empty:
            required.append(parameter.name)
        else:
            try:
                schema = dict(schema, default=_plain(parameter.default))
                json.dumps(schema)
            except (TypeError, ValueError):
                schema.pop("default", None)
        properties[parameter.name] = schema
        if make is not None:
            makers[parameter.name] = make
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": takes_more}

    def bind(value):
        if not makers:
            return value
        return {name: makers[name](member) if name in makers else member for name, member in value.items()}

    result = hints.get("return")
    generator = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    output = None if result is None or generator else _schema(result)[0]
    return bind, schema, output or None


def _schema(hint):
    """(JSON Schema of a type, what makes a value of it from JSON or None)"""
    simple = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null",
              dict: "object", list: "array"}
    if hint in simple:
        return {"type": simple[hint]}, None
    if hint is typing.Any or isinstance(hint, typing.TypeVar):
        return {}, None
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is getattr(typing, "Annotated", None):
        return _schema(arguments[0])
    if origin is typing.Literal:
        return {"enum": list(arguments)}, None
    if origin is typing.Union or origin is getattr(types, "UnionType", ()):
        return _union(arguments)
    if origin in (list, set, frozenset, collections.abc.Sequence, collections.abc.Iterable):
        schema, make = _schema(arguments[0])
        made = (lambda value: [make(item) for item in value]) if make else None
        if origin in (set, frozenset):
            return {"type": "array", "items": schema, "uniqueItems": True}, \
                lambda value: origin(made(value) if made else value)
        return {"type": "array", "items": schema}, made
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return {"type": "array", "items": _schema(arguments[0])[0]}, tuple
        count = len(arguments)
        return {"type": "array", "minItems": count, "maxItems": count}, tuple
    if origin in (dict, collections.abc.Mapping):
        schema, make = _schema(arguments[1])
        made = (lambda value: {name: make(item) for name, item in value.items()}) if make else None
        return {"type": "object", "additionalProperties": schema or True}, made
    if isinstance(hint, type):
        return _class(hint)
    return {}, None


def _union(arguments):
    parts = [_schema(argument) for argument in arguments]
    makers = [make for _, make in parts if make is not None]
    plain = [schema for schema, _ in parts]
    if all(set(schema) == {"type"} for schema in plain):
        schema = {"type": [schema["type"] for schema in plain]}
    else:
        schema = {"anyOf": plain}
    if not makers:
        return schema, None

    def make(value):
        if value is None:
            return None
        for maker in makers:
            try:
                return maker(value)
            except (TypeError, ValueError, KeyError):
                continue
        return value
    return schema, make


def _class(hint):
    if issubclass(hint, enum.Enum):
        return {"enum": [member.value for member in hint]}, hint
    if hasattr(hint, "model_json_schema"):  # pydantic, if it is there
        return hint.model_json_schema(), hint.model_validate
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        fields = [field for field in dataclasses.fields(hint) if field.init]
        needed = [field.name for field in fields
                  if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING]
        schema, members = _object({field.name: hints[field.name] for field in fields}, needed)
        return schema, lambda value: hint(**members(value))
    if issubclass(hint, dict) and hasattr(hint, "__required_keys__"):  # a TypedDict
        return _object(typing.get_type_hints(hint), sorted(hint.__required_keys__))
    return {}, None


def _object(hints, needed):
    parts = {name: _schema(hint) for name, hint in hints.items()}
    schema = {"type": "object", "properties": {name: part[0] for name, part in parts.items()}, "required": needed,
              "additionalProperties": False}
    return schema, lambda value: {
        name: parts[name][1](member) if name in parts and parts[name][1] else member for name, member in value.items()}


def _plain(value):
    """What JSON can say of a value."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, enum.Enum):
        return value.value
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, (set, frozenset)):
        return list(value)
    return value


def _default(value):
    plain = _plain(value)
    if plain is value:
        raise TypeError(f"{type(value).__name__} is no JSON")
    return plain


# ---------------------------------------------------------------- the worker

class _Call:
    """One run of a task."""

    def __init__(self, worker, id, params):
        self.worker, self.id, self.params = worker, id, params
        self.cancelled = False
        self.future = None

    def notify(self, method, members):
        members = dict(members, id=self.id)
        self.worker.send({"jsonrpc": "2.0", "method": method, "params": members}, flush=True)


_main_call = None
_async_call = None  # a contextvars.ContextVar, once there are coroutines


def _here():
    call = _async_call.get(None) if _async_call is not None else None
    call = call or _main_call
    if call is None:
        raise RuntimeError("this works inside a running task only")
    return call


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
        self.encode = json.JSONEncoder(separators=(",", ":"), default=_default).encode

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
        self.send({"jsonrpc": "2.0", "id": id, "result": {"value": _plain(value), "usage": usage}})

    def fail(self, id, error):
        if isinstance(error, (Cancelled, asyncio.CancelledError)):
            return self.send({"jsonrpc": "2.0", "id": id, "error": {"code": -32800, "message": "cancelled"}})
        frames = traceback.TracebackException.from_exception(error)
        # What this file adds to the stack is not the user's business.
        while frames.stack and frames.stack[0].filename == __file__:
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
            call = _Call(self, message["id"], params)
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
        return {"protocol": PROTOCOL, "worker": {"sdk": f"spindle-py {__version__}", "language": f"python {version}",
                                                 "pid": os.getpid()},
                "concurrency": CONCURRENCY if self.loop else 1,
                "tasks": [task.described() for task in self.tasks.values()]}

    def cancel(self, call):
        call.cancelled = True
        if call.future is not None:
            call.future.cancel()
        elif call is _main_call:
            # Interrupts what the main thread waits in, and raises there.
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    def interrupted(self, *_):
        if _main_call is not None and _main_call.cancelled:
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
        global _async_call
        import contextvars
        _async_call = contextvars.ContextVar("call")

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
        global _main_call
        task = self.tasks.get(call.params.get("task"))
        # What has been answered is not to wait for what may take long.
        if self.pending and not (task and task.is_quick):
            self.flush()
        begun = time.perf_counter()
        before = _usage()
        try:
            _main_call = call
            if call.cancelled:
                raise Cancelled()
            if task is None:
                raise Never(f"there is no task {call.params.get('task')!r}")
            value = task.function(**task.bind(call.params.get("input") or {}))
            if isinstance(value, types.GeneratorType):
                value = self.drive(value, call)
            _main_call = None
            self.answer(call.id, value, _usage(before))
        except SystemExit:
            self.flush()
            raise
        except BaseException as error:
            _main_call = None
            self.fail(call.id, error)
        finally:
            _main_call = None
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
            call.notify("output", {"value": _plain(value)})

    async def run_async(self, task, call):
        _async_call.set(call)
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


class _SourceLoader(importlib.machinery.SourceFileLoader):
    """Compiles the file as it is now: cached bytecode is told from its source by size and whole seconds only."""

    def get_code(self, fullname):
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def load(path):
    """Imports a file of tasks, with its directory first on the path."""
    path = os.path.abspath(path)
    sys.path.insert(0, os.path.dirname(path))
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path, loader=_SourceLoader(name, path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


# ---------------------------------------------------------------- a start without the imports

class Zygote:
    """Has imported the file, and forks a worker of it when the server asks.

    Single-threaded, because what is forked has the forking thread alone: a lock that another one held would stay held.
    The worker's parent ends at once, so that the server, our subreaper, becomes its parent and can wait for it.
    """

    def __init__(self, tasks, descriptor):
        self.tasks = tasks
        self.channel = socket.socket(fileno=descriptor)

    def serve(self):
        threads = len(os.listdir("/proc/self/task"))
        if threads > 1:
            self.send({"method": "refused", "params": {
                "why": f"cannot fork: the imports have started threads ({threads} are running)"}})
            return
        gc.collect()
        gc.freeze()  # what is there stays where it is, on pages that the workers share
        self.send({"method": "ready"})
        while True:
            line, descriptors, _, _ = socket.recv_fds(self.channel, 1 << 16, 8)
            if not line:
                return  # the server is gone
            # A message with descriptors is never joined with the next one (unix(7)).
            request = json.loads(line)
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
            for descriptor, place in zip(descriptors, (1, 2, self.channel.detach())):
                os.dup2(descriptor, place)
                os.close(descriptor)
            while os.getppid() == between:
                time.sleep(0.0005)
            _die_with_parent()
            if os.getppid() != params["parent"]:
                os._exit(0)
            name, value = params["mark"].split("=", 1)
            os.environ[name] = value
            os.chdir(params["dir"])
            Worker(self.tasks, int(os.environ["SPINDLE_FD"])).serve()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)


def _die_with_parent():
    """Asks for SIGKILL when the server ends. Source: prctl(2), PR_SET_PDEATHSIG."""
    import ctypes
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0)


def main(arguments):
    zygote = arguments[1:] == ["--zygote"]
    if len(arguments) != 1 and not zygote:
        sys.exit("usage: python3 spindle.py FILE [--zygote]    (spindle serve --python FILE does it)")
    # Who imports spindle gets this module, not a second copy of it.
    sys.modules["spindle"] = sys.modules["__main__"]
    sys.path[:] = [entry for entry in sys.path if entry != os.path.dirname(os.path.abspath(__file__))]
    load(arguments[0])
    if not _tasks:
        sys.exit(f"{arguments[0]} has no tasks: put @spindle.task above a function")
    if "SPINDLE_FD" not in os.environ:
        sys.exit("there is no server: start it with `spindle serve --python FILE`")
    (Zygote if zygote else Worker)(_tasks, int(os.environ["SPINDLE_FD"])).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
