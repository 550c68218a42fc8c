"""Stores with as many jobs as one wants, put into a file that a server has made."""
import hashlib
import os
import sqlite3
import time

DAY = 86_400 * 10**9
# Of every hundred live jobs: so many wait for their time, for a key, and for another attempt; the others for a pool.
SCHEDULED, KEYED, RETRIED = 10, 5, 5


def fill(path, live=0, finished=0, task="squares", pool="thread", paused=True):
    """Adds jobs to a store that no server uses, older than all that are there; their queues are paused, if nothing is to run."""
    store = sqlite3.connect(path)
    store.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -65536")
    now = time.time_ns()
    first = (now // 10**6 - 10 * 86_400_000) << 22
    with store:
        store.executemany(
            "INSERT INTO finished (id, state, task, pool, queue, finished_at, priority, max_attempts, attempt, labels, created_at,"
            " started_at, facts, events, input, result) VALUES (?,?,?,?,'default',?,0,1,1,NULL,?,?,?,?,?,?)",
            (finished_row(first + n, n, now - DAY + n * 1000, task, pool) for n in range(finished)))
        store.executemany(
            "INSERT INTO live (id, task, pool, queue, priority, max_attempts, timeout, key, labels, input, created_at, not_before,"
            " due_at, started_at, attempt, running, reserved, grants)"
            " VALUES (?,?,?,?,?,?,NULL,?,?,?,?,?,?,?,?,0,?,?)",
            (live_row(first + finished + n, n, now - DAY // 2 + n * 1000, now, task, pool) for n in range(live)))
        store.executemany(
            "INSERT INTO events (job, last, events) VALUES (?,4,?)",
            ((first + finished + n, retried_events(now - DAY // 2 + n * 1000)) for n in range(live) if kind(n) == "retried"))
        if paused:
            store.executemany("INSERT OR REPLACE INTO controls VALUES ('queue',?,'paused',1)", [("q%d" % n,) for n in range(7)])
    store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    # As after a start of the machine at which all is written.
    descriptor = os.open(path, os.O_RDWR)
    os.fsync(descriptor)
    os.close(descriptor)


def kind(n):
    place = n % 100
    for name, share in (("scheduled", SCHEDULED), ("keyed", KEYED), ("retried", RETRIED)):
        if place < share:
            return name
        place -= share
    return "queued"


def live_row(number, n, created, now, task, pool):
    what = kind(n)
    start = now + DAY + n * 1000 if what == "scheduled" else None
    due = start or (now + DAY if what == "retried" else None)
    ran = what == "retried"
    labels = '{"of":"%d"}' % (n % 1000) if n % 4 == 0 else None
    return (number, task, pool, "q%d" % (n % 7), n % 3, 3 if ran else 1, "k%d" % (n % 50) if what == "keyed" else None, labels,
            '{"n":%d}' % (n % 100), created, start, due, created if ran else None, int(ran), 4 if ran else 8, int(ran))


def retried_events(created):
    return ('[[1,%d,0,"accepted"],\n[2,%d,0,"queued",1],\n[3,%d,1,"started","thread","thread-0"],\n'
            '[4,%d,1,"retrying",["Oops","no",[],null,null],%d]]' % (created, created, created, created, created + DAY))


def finished_row(number, n, ended, task, pool):
    state = "failed" if n % 20 == 0 else "succeeded"
    error = '["Oops","it went wrong",[],null,null]' if state == "failed" else "null"
    events = ('[[1,%d,0,"accepted"],\n[2,%d,0,"queued",1],\n[3,%d,1,"started","thread","thread-0"],\n[4,%d,1,"%s"]]'
              % (ended, ended, ended, ended, state))
    return (number, state, task, pool, ended, ended, ended, '["thread-0",null,[1000,1000,null,0,0],null,%s]' % error, events,
            '{"n":%d}' % (n % 100), None if state == "failed" else "%d" % n)


def contents(path, tables=("live", "events", "finished", "keys", "controls")):
    """How many rows each table has, and a digest of all that stands in them."""
    store = sqlite3.connect(path)
    try:
        found = {}
        for table in tables:
            digest, count = hashlib.sha256(), 0
            for row in store.execute(f"SELECT * FROM {table}"):
                digest.update(repr(row).encode())
                count += 1
            found[table] = (count, digest.hexdigest())
        return found
    finally:
        store.close()
