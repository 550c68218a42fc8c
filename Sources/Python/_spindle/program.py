"""What `python3 spindle.py FILE` does."""
import os
import sys

from . import processes, streams, surroundings, threads
from .tasks import load, tasks
from .worker import Worker
from .zygote import Zygote


def main(arguments):
    zygote = arguments[1:] == ["--zygote"]
    if len(arguments) != 1 and not zygote:
        sys.exit("usage: python3 spindle.py FILE [--zygote]    (spindle serve --python FILE does it)")
    # Who imports spindle gets this module, not another one of that name; where it stands comes last among the places
    # that are searched, for the processes that tasks start.
    sys.modules["spindle"] = sys.modules["__main__"]
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path[:] = [entry for entry in sys.path if entry != here] + [here]
    # What tasks start does not get the channel.
    descriptor = os.environ.get("SPINDLE_FD")
    if descriptor is not None:
        os.set_inheritable(int(descriptor), False)
    for part in (streams, threads, processes, surroundings):
        part.install()
    path = os.path.abspath(arguments[0])
    os.chdir(os.path.dirname(path))
    load(path)
    if not tasks:
        sys.exit(f"{arguments[0]} has no tasks: put @spindle.task above a function")
    if descriptor is None:
        sys.exit("there is no server: start it with `spindle serve --python FILE`")
    (Zygote if zygote else Worker)(tasks, int(descriptor)).serve()
