"""Python functions as jobs behind HTTP: the worker's side of Spindle, of the standard library alone.

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
import sys

from _spindle.api import Cancelled, attempt, directory, job, log, output, progress
from _spindle.program import main
from _spindle.tasks import task
from _spindle.values import InvalidInput, InvalidOutput, Never

__version__ = "0.1"
__all__ = ["task", "progress", "log", "output", "job", "attempt", "directory", "Cancelled", "Never", "InvalidInput",
           "InvalidOutput", "main"]

if __name__ == "__main__":
    main(sys.argv[1:])
elif __name__ == "__mp_main__":
    # In a process that multiprocessing has started for a task.
    from _spindle import processes
    sys.modules.setdefault("spindle", sys.modules[__name__])
    processes.install_multiprocessing()
