"""What readers of events are shown by servers that are killed again and again, soon after their start too.

What a reader has seen is what the store says, but for gaps, and every reader hears the end. SPINDLE_KILLS makes it longer.
"""
import concurrent.futures
import contextlib
import http.client
import itertools
import json
import os
import random
import sqlite3
import threading
import time
import unittest

from server import PATIENCE, Server
from waiting import asking

KILLS = int(os.environ.get("SPINDLE_KILLS", "200"))
READERS = 8
SOON = 0.25  # seconds that history may be in memory alone
LIVE = "scheduled,blocked,queued,running,suspended,cancelling"
FORMATS = ("application/x-ndjson", "text/event-stream", "application/json")
ENDS = ("succeeded", "failed", "cancelled")
TALK = '''i=0; while [ $i -lt 12 ]; do i=$((i + 1))
for word in a b c; do echo "$SPINDLE_ATTEMPT $i $word $$"; done; echo "::progress $i/12 at $$"; sleep 0.03; done'''


class View:
    """What one reader has seen of one job."""

    def __init__(self, job):
        self.job = job
        self.events = []

    @property
    def last(self):
        return self.events[-1]["seq"] if self.events else 0

    @property
    def has_end(self):
        return bool(self.events) and self.events[-1]["type"] in ENDS

    def take(self, event):
        first = event["from"] if event["type"] == "gap" else event["seq"]
        assert not self.has_end, f"{event} after the end of {self.events[-3:]}"
        assert first == self.last + 1, f"{event} after {self.events[-3:]}"
        self.events.append(event)

    def differences(self, stored):
        """What the store does not say, or says otherwise."""
        gaps = [(event["from"], event["to"]) for event in stored if event["type"] == "gap"]
        known = {event["seq"]: event for event in stored}
        for event in self.events:
            seq = event["seq"]
            if event["type"] == "gap" or any(first <= seq <= last for first, last in gaps):
                continue
            if known.get(seq) != event:
                yield event, known.get(seq)


class Readers:
    """Clients that submit jobs and follow them over the ends of their servers, each with its last number."""

    def __init__(self, server, seed):
        self.server = server
        self.up = threading.Event()
        self.up.set()
        self.news = threading.Condition()
        self.count = 0
        self.isEnough = False
        self.isOver = False
        self.failures = []
        self.views = []
        self.jobs = []
        self.threads = [threading.Thread(target=self.run, args=(random.Random(seed + n),), daemon=True)
                        for n in range(READERS)]
        for thread in self.threads:
            thread.start()

    def run(self, rng):
        try:
            while not self.isEnough:
                if job := self.choose(rng):
                    self.follow(View(job), rng)
        except Exception as failure:
            self.failures.append(failure)

    def choose(self, rng):
        if self.jobs and rng.randrange(2):
            return rng.choice(self.jobs[-4:])
        try:
            answer = self.server.ask("POST", "/v1/jobs", {"task": "talk", "max_attempts": rng.choice([1, 3, 20])})
        except (OSError, http.client.HTTPException):
            self.up.wait(PATIENCE)
            return None
        assert answer.status == 202, answer.body
        self.jobs.append(answer.json["id"])
        return answer.json["id"]

    def follow(self, view, rng):
        self.views.append(view)
        while not view.has_end and not self.isOver:
            try:
                self.read(view, rng)
            except (OSError, http.client.HTTPException):
                self.up.wait(PATIENCE)

    def read(self, view, rng):
        """Reads until the stream ends, as events of a browser or as lines."""
        headers = {"Authorization": "Bearer " + self.server.token, "Last-Event-ID": str(view.last)}
        headers["Accept"] = rng.choice(["text/event-stream", "application/x-ndjson"])
        connection = self.server.connect()
        answer = None
        try:
            connection.request("GET", f"/v1/jobs/{view.job}/events", headers=headers)
            answer = connection.getresponse()
            assert answer.status == 200, f"{answer.status} after {view.events[-3:]}, without an end"
            data = None
            while line := answer.readline():
                if not line.endswith(b"\n"):
                    return
                if line.startswith(b"{"):
                    self.take(view, line)
                elif line.startswith(b"data:"):
                    data = line[5:]
                elif line == b"\n" and data:
                    self.take(view, data)
                    data = None
        finally:
            if answer:
                answer.close()
            connection.close()

    def take(self, view, line):
        view.take(json.loads(line))
        with self.news:
            self.count += 1
            self.news.notify_all()

    def wait_for(self, more, seconds):
        """Until they have seen so many more events, and no longer than that."""
        with self.news:
            wanted = self.count + more
            self.news.wait_for(lambda: self.count >= wanted or self.failures, seconds)

    def leave(self):
        """Whatever they have heard."""
        self.isEnough = self.isOver = True

    def join(self):
        self.isEnough = True
        deadline = time.monotonic() + 2 * PATIENCE
        for thread in self.threads:
            thread.join(max(0, deadline - time.monotonic()))
        assert not any(thread.is_alive() for thread in self.threads), "some have not heard the end"


class KilledServerTests(unittest.TestCase):
    def test_what_readers_have_seen_is_what_the_store_says_but_for_gaps_and_they_hear_the_end(self):
        seed = int(os.environ.get("SPINDLE_SEED", time.time_ns() % 10**9))
        rng = random.Random(seed)
        config = f'[commands.talk]\ncommand = ["sh", "-c", {json.dumps(TALK)}]\n'
        server = Server("--config", "c.toml", "--processes", "4", "--threads", "1", files={"c.toml": config})
        self.addCleanup(server.stop)
        readers = Readers(server, seed)
        self.addCleanup(readers.leave)
        for kill in range(KILLS):
            # At times the history of the new server is on disk, at times nothing of it is.
            readers.wait_for(rng.randrange(1, 60), rng.choice([SOON * rng.random(), PATIENCE]))
            readers.up.clear()
            server.kill()
            ended = {view.job for view in list(readers.views) if view.has_end}
            server.start()
            readers.up.set()
            for job in server.get(f"/v1/jobs?state={LIVE}&limit=500").json["jobs"]:
                self.assertIn(job["state"], LIVE.split(","), job)
                self.assertNotIn(job["id"], ended, f"SPINDLE_SEED={seed}, kill {kill}: among those that go on: {job}")
            self.assertEqual(readers.failures, [], f"SPINDLE_SEED={seed}, kill {kill}")
        readers.join()
        self.assertEqual(readers.failures, [], f"SPINDLE_SEED={seed}")
        # What the disk has, no memory.
        server.end()
        server.start()
        stored = {job: self.stored(server, job) for job in readers.jobs}
        for view in readers.views:
            self.assertTrue(view.has_end)
            self.assertEqual(list(view.differences(stored[view.job])), [], f"SPINDLE_SEED={seed}, job {view.job}")
        print(f"{KILLS} kills, {len(readers.views)} readers of {len(readers.jobs)} jobs, {readers.count} events: ",
              end="", flush=True)

    def test_an_event_is_the_same_bytes_live_and_stored_in_every_format(self):
        talk = TALK + '\n[ "$SPINDLE_ATTEMPT" -gt 2 ]'  # two attempts fail
        config = f'[commands.talk]\ncommand = ["sh", "-c", {json.dumps(talk)}]\n'
        server = Server("--config", "c.toml", "--threads", "1", "--processes", "2", files={"c.toml": config})
        self.addCleanup(server.stop)
        self.assertEqual(server.ask("PATCH", "/v1/queues/held", {"paused": True}).status, 200)
        jobs = [server.submit("talk", max_attempts=3, queue="held"),
                server.submit("mandelbrot", {"width": 64, "height": 64, "iterations": 9}, pool="process", queue="held")]
        live = self.followed(server, jobs)
        for restart in (server.end, server.kill, server.kill):
            lists = [self.shown(server, job, "application/json") for job in jobs]
            restart()
            server.start()
            for job, seen, listed in zip(jobs, live, lists):
                stored = {accept: self.shown(server, job, accept) for accept in FORMATS}
                self.assertEqual(stored["application/x-ndjson"], seen["application/x-ndjson"])
                self.assertEqual(stored["text/event-stream"], seen["text/event-stream"])
                self.assertEqual(stored["application/json"], listed)
                # And all formats say the same.
                self.assertEqual(stored["application/x-ndjson"], stored["text/event-stream"])
                self.assertEqual(stored["application/x-ndjson"], listed)
        attempts = {event["attempt"] for event in map(json.loads, live[0]["application/x-ndjson"]) if event["type"] == "progress"}
        self.assertEqual(attempts, {1, 2, 3})
        etas = [event["eta"] for event in map(json.loads, live[0]["application/x-ndjson"]) if event["type"] == "progress"]
        self.assertNotIn(None, etas)

    def followed(self, server, jobs):
        """The bytes of each event of jobs that wait in a queue, by streams that are all open before the first of them begins."""
        with contextlib.ExitStack() as open_ones, concurrent.futures.ThreadPoolExecutor(len(jobs) * 2) as readers:
            streams = []
            for job, accept in itertools.product(jobs, FORMATS[:2]):
                connection = open_ones.enter_context(contextlib.closing(server.connect()))
                connection.request("GET", f"/v1/jobs/{job}/events", headers={
                    "Accept": accept, "Authorization": "Bearer " + server.token})
                answer = connection.getresponse()
                self.assertEqual(answer.status, 200)
                begun = bytearray()
                asking(lambda: begun.extend(answer.readline()) or b'"type":"queued"' in begun, f"it does not wait: {begun}")
                streams.append((job, accept, begun, answer))
            for job in jobs:
                self.assertEqual(server.get(f"/v1/jobs/{job}").json["state"], "queued")
            self.assertEqual(server.ask("PATCH", "/v1/queues/held", {"paused": False}).status, 200)
            bodies = readers.map(lambda stream: stream[2] + stream[3].read(), streams)
            seen = {job: {} for job in jobs}
            for (job, accept, begun, _), body in zip(streams, bodies):
                self.assertGreater(len(self.lines(body)), len(self.lines(begun)) + 1)
                seen[job][accept] = self.lines(body)
        return [seen[job] for job in jobs]

    def lines(self, body):
        """The events of a stream."""
        lines = [line for line in body.decode().split("\n") if line.startswith(("{", "data: "))]
        return [line.removeprefix("data: ") for line in lines]

    def shown(self, server, job, accept):
        """The bytes of each event of a job, to its end."""
        answer = server.get(f"/v1/jobs/{job}/events", Accept=accept)
        self.assertEqual(answer.status, 200)
        if accept == "application/json":
            body = answer.body.decode().removeprefix('{"events":[').removesuffix("]}\n")
            decoder, found = json.JSONDecoder(), []
            while body:
                _, end = decoder.raw_decode(body)
                found.append(body[:end])
                body = body[end:].removeprefix(",")
            return found
        return self.lines(answer.body)

    def test_a_start_writes_nothing_of_jobs_that_wait_as_before(self):
        for in_order in (True, False):
            with self.subTest(in_order=in_order):
                self.check_starts(in_order)

    def check_starts(self, in_order):
        server = Server("--threads", "1", "--processes", "1")
        self.addCleanup(server.stop)
        jobs = [server.submit("squares", {"n": 1}, delay="1h") for _ in range(20)]
        server.ask("PATCH", "/v1/queues/default", {"paused": True})
        jobs += [server.submit("squares", {"n": 1}) for _ in range(20)]
        # What this server has said of them it writes when it ends in order; what an earlier one has left is as it was.
        ways = ((server.end, len(jobs)), (server.end, 0), (server.kill, 0), (server.end, 0), (server.end, 0))
        for end, more in ways if in_order else ((server.kill, 0), (server.kill, 0), (server.end, 0), (server.end, 0)):
            before = self.history(server)
            end()
            self.assertEqual(self.history(server) - before, more)
            before = self.history(server)
            server.start()
            # What is written after it would be behind what its start has written.
            self.assertEqual(server.wait(server.submit("squares", {"n": 1}, queue="other"))["state"], "succeeded")
            self.assertEqual(self.history(server) - before, 0)
        # Whoever looks at one is shown where it stands all the same.
        events = server.events(jobs[-1])
        while next(events)["type"] != "queued":
            pass
        events.close()

    def history(self, server):
        """Rows of events that the store has of jobs that have not ended."""
        store = sqlite3.connect(server.store)
        try:
            return store.execute("SELECT count(*) FROM events WHERE job IN (SELECT id FROM live)").fetchone()[0]
        finally:
            store.close()

    def stored(self, server, job):
        events, after = [], 0
        while page := server.get(f"/v1/jobs/{job}/events?after={after}", Accept="application/json").json["events"]:
            events += page
            after = page[-1]["seq"]
        return events


if __name__ == "__main__":
    unittest.main()
