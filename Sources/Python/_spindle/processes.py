"""Processes that a call starts print into its log, carry its name, and end with it.

Which ones those are is known from how they were started (`subprocess`, `os`, `multiprocessing`), from what they carry in
their environment, and, where calls run one after another, from their descent alone and a limit that they inherit.
"""
import functools
import os
import signal
import subprocess
import sys
import threading
import time

from . import api, channel, state
from .streams import CallStream, ChildOutput, reader

#: Seconds in which what a call has left is to be gone; a process in the kernel's hands may take longer.
PATIENCE = 2.0
#: Seconds that multiprocessing's trackers have for what was left in shared memory, once who used it is gone; most is for their start.
#: Less than the server waits for a worker that leaves: WorkerProcess.leaveTime.
TRACKING = 1.5
#: Seconds between two looks at all processes, while nothing but trackers is left.
LINGER = 0.02

#: The number that we have in RLIMIT_LOCKS, and hand down; None where it is not ours alone.
brand = None
#: Numbers of processes that belong to no call: what the file starts when it is imported, executors that it keeps.
kept = set()


def install():
    """Called before the file is imported."""
    global owner
    owner = os.getpid()
    subprocess.Popen.__init__ = _popen
    os.system, os.fork, os.forkpty, os._exit = _system, _fork, _forkpty, _exit
    os.posix_spawn, os.posix_spawnp = _spawner(os.posix_spawn), _spawner(os.posix_spawnp)
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)


def serve(worker):
    """Called when the file has been imported: what runs now stays, and what is nobody's goes to the worker's log."""
    global owner, brand
    owner = os.getpid()
    # Where the server could not give us one of our own, we have what everybody has.
    own = _brand("self")
    brand = None if own in ("unlimited", _brand(os.getppid())) else own
    api.nobody.worker = worker
    if api.nobody.output is not None:
        reader.watch(api.nobody.output)
    install_multiprocessing()
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        if not kept:
            return  # there is nothing to look for
    table = _table()
    kept.update(pid for pid, process in table.items() if os.getpid() in _chain(process, table) or process.is_branded())
    kept.discard(os.getpid())


# ---------------------------------------------------------------- how they start


def _call():
    call = api.current.get()
    return call if call is not None and not call.ended and call.worker.process == os.getpid() else None


#: The process whose children these are; another one was forked by a task, and looks after itself. None: nobody's.
owner = None
#: Whose output a child that this thread is about to fork prints into; another thread may fork at the same moment.
_forks = threading.local()


def _is_ours():
    return owner == os.getpid()


def _note(pid, call):
    if call is not None:
        kept.discard(pid)
        call.processes.append(pid)
    elif api.current.get() is None:
        kept.add(pid)


def _output(call):
    """Where what this call starts prints; what nobody's call starts does not print into the log of whoever runs then."""
    call = call or api.nobody
    if call.output is None:
        call.output = ChildOutput(call)
    return call.output


def _marks(call):
    marks = {"SPINDLE_JOB": str(call.params.get("job")), "SPINDLE_ATTEMPT": str(call.params.get("attempt", 1))}
    for name in ("SPINDLE_CHILD", "SPINDLE_OWNER"):
        if name in os.environ:
            marks[name] = os.environ[name]
    return marks


_PLACES = ("bufsize", "executable", "stdin", "stdout", "stderr", "preexec_fn", "close_fds", "shell", "cwd", "env")
_popen_original = subprocess.Popen.__init__


@functools.wraps(_popen_original)
def _popen(self, args, *places, **named):
    call = _call()
    if not _is_ours():
        return _popen_original(self, args, *places, **named)
    named.update(zip(_PLACES, places))
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        if named.get(name) is None or isinstance(named[name], CallStream):
            stream = named.get(name)
            wanted = descriptor if stream is None else {"stdout": 1, "stderr": 2}[stream.stream]
            named[name] = _output(call).writing[wanted]
    if call is not None:
        environment = named.get("env")
        named["env"] = dict(os.environ if environment is None else environment, **_marks(call))
        for name in ("SPINDLE_FD", state.VARIABLE, state.BEGUN_VARIABLE):
            named["env"].pop(name, None)
    _popen_original(self, args, *places[len(_PLACES):], **named)
    _note(self.pid, call)


_system_original = os.system


@functools.wraps(_system_original)
def _system(command):
    # Before it serves nobody reads the pipes.
    if not _is_ours() or api.nobody.worker is None:
        return _system_original(command)
    status = subprocess.call(command, shell=True)
    return status << 8 if status >= 0 else -status


def _forking(original):
    @functools.wraps(original)
    def fork():
        call = _call()
        answer = original()
        pid = answer[0] if isinstance(answer, tuple) else answer
        if pid != 0:
            _note(pid, call)
        return answer
    return fork


_fork, _forkpty = _forking(os.fork), _forking(os.forkpty)


def _before_fork():
    _forks.output = _output(_call()) if _is_ours() else None


def _after_fork():
    output = getattr(_forks, "output", None)
    if output is not None:
        for place, descriptor in output.writing.items():
            os.dup2(descriptor, place)
        # Several may share the pipe: whole lines.
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, CallStream):
                stream.own.reconfigure(line_buffering=True, write_through=False)


def _spawner(original):
    @functools.wraps(original)
    def spawn(path, argv, env, *more, file_actions=(), **named):
        call = _call()
        if _is_ours():
            ours = [(os.POSIX_SPAWN_DUP2, descriptor, place) for place, descriptor in _output(call).writing.items()]
            file_actions = [*ours, *(file_actions or ())]
        if call is not None:
            env = dict(env, **_marks(call))
        pid = original(path, argv, env, *more, file_actions=file_actions, **named)
        _note(pid, call)
        return pid
    return spawn


def _exit(status):
    call = _call()
    if call is not None:
        for lines in list(call.lines.values()):
            lines.show()
        if call.output is not None:
            call.output.drain()
    elif not _is_ours() and isinstance(sys.stdout, CallStream):
        sys.stdout.flush()
    channel.exit_now(status)


# ---------------------------------------------------------------- multiprocessing

_installed = set()


def install_multiprocessing():
    """For what has been imported of it by now."""
    for name, change in (("multiprocessing.process", _change_process), ("concurrent.futures.process", _change_executor)):
        if name in sys.modules and name not in _installed:
            _installed.add(name)
            change(sys.modules[name])


def _change_process(module):
    start, bootstrap = module.BaseProcess.start, module.BaseProcess._bootstrap

    def start_for_call(self):
        call = _call()
        if _is_ours():
            writing = _output(call).writing
            self._config["spindle_output"] = (os.getpid(), writing[1], writing[2])
        start(self)
        _note(self.pid, call)

    def bootstrap_for_call(self, *arguments, **named):
        adopt_output(self)
        return bootstrap(self, *arguments, **named)
    module.BaseProcess.start, module.BaseProcess._bootstrap = start_for_call, bootstrap_for_call


def adopt_output(process):
    """In a process that was not forked from ours: prints where the call's children print."""
    wanted = process._config.get("spindle_output")
    if wanted is None or os.getppid() == wanted[0] and isinstance(sys.stdout, CallStream):
        return
    for place, descriptor in ((1, wanted[1]), (2, wanted[2])):
        try:
            opened = os.open(f"/proc/{wanted[0]}/fd/{descriptor}", os.O_WRONLY)
        except OSError:  # the call has ended
            return
        os.dup2(opened, place)
        os.close(opened)


def _change_executor(module):
    made, submit = module.ProcessPoolExecutor.__init__, module.ProcessPoolExecutor.submit

    def __init__(self, *arguments, **named):
        self._spindle_owner = _call()
        made(self, *arguments, **named)

    def submit_for_owner(self, function, /, *arguments, **named):
        # Its processes start when they are needed, and belong to who has made the executor.
        token = api.current.set(getattr(self, "_spindle_owner", None))
        try:
            return submit(self, function, *arguments, **named)
        finally:
            api.current.reset(token)
    module.ProcessPoolExecutor.__init__, module.ProcessPoolExecutor.submit = __init__, submit_for_owner


def _servants():
    """Processes that multiprocessing keeps for itself: (all of them, the one that forks for others)."""
    tracker = sys.modules.get("multiprocessing.resource_tracker")
    server = sys.modules.get("multiprocessing.forkserver")
    forker = getattr(server and server._forkserver, "_forkserver_pid", None)
    return {getattr(tracker and tracker._resource_tracker, "_pid", None), forker} - {None}, forker


def end_tracker():
    """Before this process ends: its tracker takes away what nobody has, and would be ended with us before it can."""
    module = sys.modules.get("multiprocessing.resource_tracker")
    tracker = module and module._resource_tracker
    if not tracker or tracker._fd is None or tracker._pid is None or not _is_ours():
        return
    pid, descriptor = tracker._pid, tracker._fd
    deadline = time.monotonic() + TRACKING
    try:
        if os.waitpid(pid, os.WNOHANG)[0] == 0:
            tracker._fd = None  # another thread may still run, and its number be another file's
            os.close(descriptor)
            while os.waitpid(pid, os.WNOHANG)[0] == 0 and time.monotonic() < deadline:
                time.sleep(0.001)
    except OSError:
        pass  # it is not our child, but that of who has forked us


# ---------------------------------------------------------------- how they end


def end(call, is_alone):
    """Ends whatever a call has started and left, and waits until it is gone.

    is_alone: no other call ran beside it, so that whatever descends from us and is not kept is of this one.
    """
    marks = [f"{name}={value}".encode() for name, value in _marks(call).items()]
    began = time.monotonic()
    killed = set()
    while found := _left(call, marks, is_alone):
        pause = LINGER
        for process in found:
            if process.is_tracker() and time.monotonic() < began + TRACKING:
                continue  # it ends by itself, and tidies up, when those are gone that it works for
            pause = 0.001
            process.kill()
            if process.parent == os.getpid():
                killed.add(process.pid)
        if time.monotonic() > began + PATIENCE:
            break
        time.sleep(pause)
    if "multiprocessing.process" in sys.modules:
        sys.modules["multiprocessing.process"].active_children()
    # Those of coroutines are waited for by their loop.
    for pid in killed if call.future is None else ():
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass  # somebody has waited for it


class _Process:
    __slots__ = ("pid", "parent", "session", "began")

    def __init__(self, pid, fields):
        self.pid, self.parent, self.session, self.began = pid, int(fields[1]), int(fields[3]), fields[19]

    def kill(self):
        try:
            held = os.pidfd_open(self.pid)
        except OSError:  # it is gone, or the kernel is too old to hold it
            return
        try:
            # Another one may have taken its number since the reading.
            if (now := _status(self.pid)) and now[19] == self.began:
                signal.pidfd_send_signal(held, signal.SIGKILL)
        except OSError:
            pass  # it is gone
        finally:
            os.close(held)

    def is_tracker(self):
        """Whether it looks after the shared memory of others, for multiprocessing."""
        try:
            with open(f"/proc/{self.pid}/cmdline", "rb") as file:
                return b"from multiprocessing.resource_tracker import main" in file.read(4096)
        except OSError:
            return False

    def environment(self):
        """None where it is not to be read: of what may not be dumped, ssh-agent for one."""
        try:
            with open(f"/proc/{self.pid}/environ", "rb") as file:
                return file.read().split(b"\0")
        except OSError:
            return None

    def is_branded(self):
        """Whether it descends from us, and cannot be asked whose it is, or says nothing."""
        if brand is None or _brand(self.pid) != brand:
            return False
        return not any(variable.startswith(b"SPINDLE_CHILD=") for variable in self.environment() or ())


def _brand(pid):
    """RLIMIT_LOCKS, in which the server marks its children: Linux has not asked for it since 2.4. None when it has ended.
    Source: getrlimit(2); proc(5), `limits`.
    """
    try:
        with open(f"/proc/{pid}/limits") as file:
            return next(line.split()[4] for line in file if line.startswith("Max file locks"))
    except (OSError, StopIteration):
        return None


def _status(pid):
    """The fields of /proc/PID/stat from the state on; None when it has ended. Source: proc(5)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    # One whose first thread has ended looks as if all had, and goes on in the others.
    return fields if len(fields) > 19 and (fields[0] not in b"ZX" or int(fields[17]) > 1) else None


def _table():
    table = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _status(name)):
            table[int(name)] = _Process(int(name), fields)
    return table


def _left(call, marks, is_alone):
    table = _table()
    mine, server = os.getpid(), os.getppid()
    servants, forker = _servants()
    started, shields = set(call.processes), kept - {forker}

    def is_left(process):
        if process.pid == mine or process.pid in servants:
            return False
        above = _chain(process, table)
        if process.pid in started or not started.isdisjoint(above):
            return True
        if is_alone and mine in above:
            return process.pid not in kept and shields.isdisjoint(above[:above.index(mine)])
        if server not in above:
            return False
        # What has lost its parent came to the server, who is ours.
        if (carried := process.environment()) is not None and all(mark in carried for mark in marks):
            return True
        return is_alone and process.parent == server and (
            process.session == mine or process.pid not in kept and process.is_branded())
    return [process for process in table.values() if is_left(process)]


def _chain(process, table):
    """The numbers of those above it."""
    chain = []
    while process is not None and process.parent not in chain:
        chain.append(process.parent)
        process = table.get(process.parent)
    return chain
