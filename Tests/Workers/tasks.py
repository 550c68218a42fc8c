"""The tasks of the end-to-end tests, and an example of each kind."""
import asyncio
import dataclasses
import enum
import os
import signal
import subprocess
import time
from typing import Dict, List, Literal, Optional

import spindle


@spindle.task
def empty():
    pass


@spindle.task(kind="cpu")
def crunch(n: int = 1000) -> int:
    """Sums squares, and says nothing meanwhile."""
    return sum(i * i for i in range(n))


@spindle.task
def steps(count: int, pause: float = 0.0):
    """A generator: progress and partial results."""
    for i in range(count):
        time.sleep(pause)
        yield spindle.progress(i + 1, count, "stepping")
        yield {"step": i}
    return {"steps": count, "job": spindle.job(), "attempt": spindle.attempt()}


@spindle.task
async def nap(seconds: float = 0.1):
    """A coroutine: a thousand of them fit into one process."""
    await asyncio.sleep(seconds)
    spindle.log("awake")
    return {"napped": seconds}


@spindle.task(max_attempts=2)
def failing(why: str = "no reason", never: bool = False):
    print("about to fail")
    raise (spindle.Never if never else ValueError)(why)


@spindle.task
def hanging():
    while True:
        try:
            time.sleep(60)
        except Exception:
            pass  # a cancel is no Exception: it gets through


@spindle.task
def stubborn():
    while True:
        try:
            print("deaf from here on")
            time.sleep(60)
        except BaseException:
            pass


@spindle.task
def deaf_family(seconds: str):
    """Ignores SIGTERM, and has a child in its group and one in a session of its own."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for own_session in (False, True):
        subprocess.Popen(["sleep", seconds], start_new_session=own_session)
    stubborn()


@spindle.task
def dying(how: str):
    os.kill(os.getpid(), 9) if how == "kill" else os._exit(3)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


@spindle.task
def typed(point: Point, color: Color, mode: Literal["a", "b"] = "a", more: Optional[List[int]] = None) -> Dict[str, object]:
    assert isinstance(point, Point) and isinstance(color, Color)
    return {"x": point.x, "color": color, "mode": mode, "more": more}


@spindle.task
def wrong() -> int:
    return "no number"


@spindle.task
def big(size: int):
    return "x" * size
