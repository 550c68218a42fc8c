"""A worker without the library, that says by memory which call has begun and what it has not sent yet, as Workers.md has it,
and lies as its argument says: what `spindle worker-check` makes of that is what is tested.

Tasks: `count` for calls of the line, `nap` for concurrent ones.
"""
import json
import mmap
import os
import socket
import sys
import time

LIE = sys.argv[1] if len(sys.argv) > 1 else ""
SPOKEN, BEGUN, SINCE, BESIDE, STEP, WRITTEN, SENT, SHARED, HEEDS, WITHDRAWN = range(10)
RING, CAPACITY = 4096, 32768

channel = socket.socket(fileno=3)
memory = mmap.mmap(int(os.environ["SPINDLE_STATE_FD"]), RING + CAPACITY)
given = words = memoryview(memory)[:RING].cast("Q")
ring = memoryview(memory)[RING:]
with open(os.environ["SPINDLE_BEGUN"], "r+b") as file:
    page = memoryview(mmap.mmap(file.fileno(), 4096)).cast("Q")
if LIE in ("silent", "late"):
    words, ring = memoryview(bytearray(RING)).cast("Q"), bytearray(CAPACITY)
page[0] = 1
words[SPOKEN] = {"unspoken": 0, "neither": 2}.get(LIE, 1)


def tell(message):
    """Puts a line into the ring."""
    for byte in json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n":
        ring[words[WRITTEN] % CAPACITY] = byte
        words[WRITTEN] += 1


def flush():
    """Sends what is in the ring."""
    channel.sendall(bytes(ring[at % CAPACITY] for at in range(words[SENT], words[WRITTEN])))
    words[SENT] = words[WRITTEN]


def begin(id, is_beside):
    if LIE == "never":
        return
    id = {"stranger": 4711, "last": id - 1}.get(LIE, id)
    is_beside ^= LIE == "place"
    if LIE != "page":
        page[2 if is_beside else 1] = id
    if not is_beside:
        words[SINCE] = {"before": 1, "after": 1 << 62}.get(LIE, time.monotonic_ns())
    words[BESIDE if is_beside else BEGUN] = id
    if is_beside:
        words[STEP] = id


def run(id, task):
    is_beside = task == "nap"
    begin(id, is_beside)
    tell({"method": "progress", "params": {"id": id, "done": 1}})
    if LIE != "step":
        words[STEP] = 0
    if LIE == "turned":
        tell({"id": id + 1, "result": {"value": None}})
    tell({"id": id, "result": {"value": None}})


def receive():
    """Lines, as many at once as there are; all of them are answered together."""
    rest = b""
    while data := channel.recv(1 << 16):
        *lines, rest = (rest + data).split(b"\n")
        yield from map(json.loads, lines)
        flush()


for message in receive():
    method, id = message["method"], message.get("id")
    if method == "initialize":
        tell({"id": id, "result": {"protocol": 1, "worker": {"sdk": "none", "language": "python"}, "concurrency": 10,
                                   "tasks": [{"name": "count", "concurrent": False}, {"name": "nap"}]}})
    elif method == "run" and message["params"]["task"] in ("count", "nap"):
        run(id, message["params"]["task"])
    elif method == "run":
        tell({"id": id, "error": {"code": -32000, "message": "no such task"}})
    elif method == "ping":
        if LIE == "late":
            given[SPOKEN] = 1
        tell({"id": id, "result": {}})
    elif method == "drain":
        flush()
        break
    elif id is not None:
        tell({"id": id, "error": {"code": -32601, "message": "unknown method"}})

if LIE in ("unsent", "early", "half"):
    tell({"method": "log", "params": {"text": "never sent"}})
    words[SENT] += {"unsent": 0, "early": words[WRITTEN] - words[SENT], "half": 10}[LIE]
if LIE == "overfull":
    words[WRITTEN] += CAPACITY + 1
if LIE == "shared":
    words[SHARED] = 2
if LIE == "heeds":
    words[HEEDS] = 2
if LIE == "withdrawn":
    words[WITHDRAWN] = 7
