"""The process table, as tests look at it. Standard library only."""
import itertools
import os
import pathlib
import random

from waiting import asking, ended

_counter = itertools.count()


def marker():
    """A number of seconds to sleep that no other process of this machine sleeps: it is found among its arguments."""
    return f"7{os.getpid()}{random.randrange(10**4):04}{next(_counter)}"


def alive(marker):
    """Processes with the marker among their arguments that have not ended."""
    return [pid for pid in _all() if marker in _arguments(pid) and is_alive(pid)]


def is_alive(pid):
    """Whether a process runs; one that has ended and waits for its parent's attention does not, unless in other threads."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] not in "ZX" or int(fields[17]) > 1


def cpu_seconds(pid):
    """What a process has taken of the processors so far, with all its threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for(count, marker):
    """Waits until so many processes carry the marker; their numbers."""
    if count == 0:
        ended(*alive(marker))
    # That a process has become another program is told to nobody but its tracer.
    asking(lambda: len(alive(marker)) == count, f"there are not {count} processes with {marker}")
    return alive(marker)


def _all():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _arguments(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (OSError, UnicodeDecodeError):
        return []
