"""What a call may change of its process besides its own: put back for those after it, or the process is replaced.

Only where somebody has changed something: to ask the system after each call would cost more than many a call does. What C
code changes by itself is not noticed.
"""
import asyncio
import functools
import math
import os
import signal
import sys
import threading
import time

from . import api
from .state import Steps

try:
    import resource
except ImportError:  # not on every system
    resource = None

_PUT_BACK = (
    (os, ("chdir", "fchdir", "umask", "nice", "setpriority", "sched_setaffinity")),
    (signal, ("signal", "setitimer", "alarm", "pthread_sigmask")),
    (resource, ("setrlimit", "prlimit")),
)
#: What nobody can take back.
_LASTING = (
    (os, ("chroot", "setuid", "seteuid", "setreuid", "setresuid", "setgid", "setegid", "setregid", "setresgid", "setgroups",
          "unshare", "setns", "sched_setscheduler", "sched_setparam")),
)

#: How far a timer's clock may be from what is asked here, in seconds.
TICK = 0.1

#: Threads in which somebody has changed something, and what of it is for ever.
changed = set()
lasting = set()
#: Variables of the environment that calls of the main thread have changed, in bytes, as they were; None: there was none.
variables = {}
_environment = os.environb


def install():
    """Called before the file is imported."""
    for noted, table in ((None, _PUT_BACK), (lasting, _LASTING)):
        for module, names in table:
            for name in names:
                if hasattr(module, name):
                    setattr(module, name, _noting(getattr(module, name), noted))
    os.putenv, os.unsetenv = _noting_variable(os.putenv), _noting_variable(os.unsetenv)
    asyncio.all_tasks = asyncio.tasks.all_tasks = _of_this_call(asyncio.all_tasks)


def _noting(original, also):
    @functools.wraps(original)
    def change(*arguments, **named):
        changed.add(threading.get_ident())
        answer = original(*arguments, **named)
        if also is not None and api.current.get() is not None:
            also.add(original.__name__)
        return answer
    return change


def _noting_variable(original):
    """For `os.environ` too, which calls it."""
    @functools.wraps(original)
    def change(name, *value):
        call = api.current.get()
        if call is None or call.future is not None:
            return original(name, *value)
        key = os.fsencode(name)
        before = _environment.get(key)
        original(name, *value)
        if _is_importing():
            variables.pop(key, None)
        else:
            variables.setdefault(key, before)
            changed.add(threading.get_ident())
    return change


def _is_importing():
    """Whether a module is being imported here: it is there for all calls after this one, and so is what it has set."""
    frame = sys._getframe()
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib."):
        frame = frame.f_back
    return frame is not None


def _of_this_call(original):
    """Whoever cancels all tasks means its own: those of other calls are none of its business."""
    @functools.wraps(original)
    def all_tasks(loop=None):
        call = api.current.get()
        tasks = original(loop)
        if call is None:
            return tasks
        return {task for task in tasks if not isinstance(coroutine := task.get_coro(), Steps) or coroutine.id == call.id}
    return all_tasks


class Surroundings:
    """As they are when the file has been imported."""

    def __init__(self, cpu):
        self.cpu = cpu
        self.environment = os.environ
        self.names = self._names()
        self.directory = os.getcwd()
        self.mode = os.umask(0o77)
        os.umask(self.mode)
        self.priority = os.getpriority(os.PRIO_PROCESS, 0)
        self.affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        self.handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
        #: Timers: the clock of each, when it ends, and how long it takes when it begins anew, as the file has set them.
        self.timers = {}
        for timer, clock in ((signal.ITIMER_REAL, time.monotonic), (signal.ITIMER_VIRTUAL, lambda: os.times().user),
                             (signal.ITIMER_PROF, time.process_time)):
            left, interval = signal.getitimer(timer)
            self.timers[timer] = clock, clock() + left if left else -math.inf, interval
        self.limits = {}
        if resource:
            for name in dir(resource):
                if name.startswith("RLIMIT_") and name != "RLIMIT_CPU":
                    self.limits[name] = resource.getrlimit(getattr(resource, name))
        #: The one in which coroutines run, if there is one.
        self.loop_thread = None
        #: Whether what belongs to the process is to be put back when the main thread's call ends.
        self.is_due = False
        changed.clear()

    def put_back(self, runs_beside):
        """In the thread of the call that has ended.

        runs_beside: Whether a call runs in the main thread, which this is not: what belongs to the process is that call's too, and
        waits for its end.

        Returns: what could not be put back.
        """
        stuck = set(lasting)
        here, main = threading.get_ident(), threading.main_thread().ident
        work = [("priority", self._priority), ("affinity", self._affinity), ("mask", self._mask)] if here in changed else []
        changed.discard(here)
        self.is_due = runs_beside
        if not runs_beside:
            # Of threads that a call has started itself nobody but they can put back what is theirs.
            changed.intersection_update({main, self.loop_thread})
            work += [("directory", self._directory), ("umask", self._umask),
                     *((name, functools.partial(self._limit, name)) for name in self._limits())]
            if here == main:
                # Only its calls note variables: the loop, which may look before one begins, is not to take them away.
                work += [("environment", self._environment), ("signals", self._signals)]
        for name, put in work:
            try:
                put()
            except (OSError, ValueError):
                stuck.add(name)
        changed.discard(here)  # by this
        return stuck

    @staticmethod
    def _names():
        return sys.stdout, sys.stderr, sys.excepthook, sys.unraisablehook, threading.excepthook

    def put_names_back(self):
        """After each call: where it prints to, and who hears of what fails in threads."""
        stdout, stderr, hook, unraisable, of_threads = self.names
        try:
            if (sys.stdout is stdout and sys.stderr is stderr and sys.excepthook is hook and sys.unraisablehook is unraisable
                    and threading.excepthook is of_threads):
                return
        except AttributeError:  # it has removed one
            pass
        sys.stdout, sys.stderr, sys.excepthook, sys.unraisablehook, threading.excepthook = self.names

    def _environment(self):
        os.environ = self.environment
        is_zone = b"TZ" in variables
        while variables:
            try:
                name, value = variables.popitem()
            except KeyError:  # a thread that a call has left has imported a module
                break
            if value is not None:
                _environment[name] = value  # at once: whoever looks meanwhile finds the one or the other
            else:
                os.unsetenv(name)  # what `os.putenv` has set is not in there
                _environment.pop(name, None)
        if is_zone:
            time.tzset()

    def _directory(self):
        os.chdir(self.directory)

    def _priority(self):
        if os.getpriority(os.PRIO_PROCESS, 0) != self.priority:
            os.setpriority(os.PRIO_PROCESS, 0, self.priority)

    def _affinity(self):
        if self.affinity is not None and os.sched_getaffinity(0) != self.affinity:
            os.sched_setaffinity(0, self.affinity)

    def _mask(self):
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)

    def _umask(self):
        os.umask(self.mode)

    def _signals(self):
        """In the main thread, which alone can have changed them."""
        for timer, (clock, ends, interval) in self.timers.items():
            left, repeats = signal.getitimer(timer)
            if interval:
                if repeats != interval:
                    signal.setitimer(timer, interval, interval)
                continue
            wanted = ends - clock()
            if wanted < -TICK or abs(left - wanted) > TICK:
                signal.setitimer(timer, max(wanted, 0))
        for number, handler in self.handlers.items():
            if signal.getsignal(number) != handler and handler is not None:
                signal.signal(number, handler)

    def _limits(self):
        return {**self.limits, "RLIMIT_CPU": (self.cpu.soft, self.cpu.hard)} if resource else {}

    def _limit(self, name):
        limit, wanted = getattr(resource, name), self._limits()[name]
        if resource.getrlimit(limit) != wanted:
            resource.setrlimit(limit, wanted)
