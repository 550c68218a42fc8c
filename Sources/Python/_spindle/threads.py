"""Threads and executors that a call uses belong to it: what they print is its log, and `spindle.job()` is right there."""
import _thread
import concurrent.futures
import functools
import sys
import threading

from .api import current

_start = threading.Thread.start
_submit = concurrent.futures.ThreadPoolExecutor.submit


#: Whether a thread was started that `threading` does not know.
has_unknown = False


def install():
    threading.main_thread().of_spindle = True
    threading.Thread.start = start
    _thread.start_new_thread = _thread.start_new = start_unknown
    concurrent.futures.ThreadPoolExecutor.submit = submit


def start_for_nobody(thread):
    """Starts a thread that belongs to no call."""
    thread.of_spindle = True
    token = current.set(None)
    try:
        _start(thread)
    finally:
        current.reset(token)


def are_left():
    """Whether threads live that are not the worker's own: they may write at any time, whoever is called then."""
    if has_unknown:
        return True
    for thread in threading.enumerate():
        if not hasattr(thread, "of_spindle"):
            return True
    return False


_start_new = _thread.start_new_thread


@functools.wraps(_start_new)
def start_unknown(*arguments, **named):
    global has_unknown
    has_unknown = True
    return _start_new(*arguments, **named)


@functools.wraps(_start)
def start(self):
    call = current.get()
    if "multiprocessing.pool" in sys.modules:
        _install_pool(sys.modules["multiprocessing.pool"])
    if call is not None:
        run = self.run

        def run_for_call():
            # As it was: a thread is often run by calling this.
            del self.run
            current.set(call)
            run()
        self.run = run_for_call
    return _start(self)


@functools.wraps(_submit)
def submit(self, function, /, *arguments, **named):
    call = current.get()
    if call is None:
        return _submit(self, function, *arguments, **named)
    # Its threads live on and work for others: they belong to nobody.
    token = current.set(None)
    try:
        return _submit(self, carried(function, call), *arguments, **named)
    finally:
        current.reset(token)


def carried(function, call):
    """The function, wherever it is called, as a part of this call."""
    @functools.wraps(function, assigned=(), updated=())
    def run(*arguments, **named):
        token = current.set(call)
        try:
            return function(*arguments, **named)
        finally:
            current.reset(token)
    return run


def _install_pool(module):
    """The same for `multiprocessing.pool.ThreadPool`, which is there once somebody has imported it."""
    pool = module.ThreadPool
    if "apply_async" in vars(pool):
        return
    for name in ("apply_async", "_map_async", "imap", "imap_unordered"):
        def bound(self, function, *arguments, original=getattr(pool, name), **named):
            call = current.get()
            return original(self, function if call is None else carried(function, call), *arguments, **named)
        setattr(pool, name, bound)
    made = pool.__init__

    def __init__(self, *arguments, **named):
        token = current.set(None)
        try:
            made(self, *arguments, **named)
        finally:
            current.reset(token)
    pool.__init__ = __init__
