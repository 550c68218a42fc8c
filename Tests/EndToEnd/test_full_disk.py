"""A full disk: what runs is recorded, what comes is refused, nothing hangs, and room that comes back is used."""
import concurrent.futures
import http.server
import os
import pathlib
import signal
import tempfile
import threading
import unittest

from disks import disk, needs_disk
from server import PATIENCE, Server
from waiting import asking, begun

RUNNING = 600

BIG = """
import spindle

@spindle.task
def big(gate: str, size: int) -> str:
    open(gate).read()
    return "x" * size
"""
BIG_SIZE = 20 << 20  # more than a small disk's reserve


class Gate:
    """Answers `/now` at once, and everything else when it is opened."""

    def __init__(self):
        gate = self
        self.opened, self.waiting, self.changed = threading.Event(), 0, threading.Condition()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path != "/now":
                    with gate.changed:
                        gate.waiting += 1
                        gate.changed.notify_all()
                    gate.opened.wait()
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        class Listener(http.server.ThreadingHTTPServer):
            request_queue_size = 1024
            daemon_threads = True

        self.server = Listener(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever).start()

    def wait_for(self, count):
        with self.changed:
            return self.changed.wait_for(lambda: self.waiting >= count, PATIENCE)

    def close(self):
        self.opened.set()
        self.server.shutdown()
        self.server.server_close()


@needs_disk
class FullDiskTests(unittest.TestCase):
    def setUp(self):
        self.disk = disk(self, "64m")

    def serve(self, *arguments, **options):
        server = Server("--store", self.disk + "/jobs.db", "--threads", "1", "--processes", "1", *arguments, **options)
        server.store = self.disk + "/jobs.db"
        self.addCleanup(server.stop)
        return server

    def fill(self):
        with open(self.disk + "/filler", "ab", buffering=0) as filler:
            for size in (1 << 16, 1 << 12):
                try:
                    while filler.write(bytes(size)) == size:
                        pass
                except OSError:
                    pass

    def keep_full(self):
        """Somebody else takes whatever room there is, as soon as there is some."""
        over = threading.Event()

        def take():
            while not over.wait(0.005):
                self.fill()

        thread = threading.Thread(target=take)
        thread.start()

        def end():
            over.set()
            thread.join()

        self.addCleanup(end)
        return end

    def make_room(self):
        os.unlink(self.disk + "/filler")

    def submit_until(self, server, status):
        job = {"task": "squares", "labels": {"p": "x" * 200}}
        asking(lambda: server.ask("POST", "/v1/jobs", job).status == status, f"{status} is not answered")

    def states(self, server, jobs):
        with concurrent.futures.ThreadPoolExecutor(8) as several:
            answers = list(several.map(lambda job: server.get(f"/v1/jobs/{job}"), jobs))
        return [answer.json["state"] if answer.status == 200 else answer.status for answer in answers]

    def test_600_running_jobs_that_report_progress_all_record_their_ends(self):
        gate = Gate()
        self.addCleanup(gate.close)
        server = self.serve("--allow-fetch", "127.0.0.0/8")
        urls = [gate.url + "/now", gate.url + "/later"]
        sleeping, fetching = [], []
        for _ in range(RUNNING // 2):
            sleeping.append(server.submit("sleep", {"seconds": 3600}))
            fetching.append(server.submit("fetch", {"urls": urls}))
        # What has not started yet would wait for room.
        asking(lambda: server.get("/v1/pools/loop").json["busy"] >= RUNNING, "the loop pool is not so busy")
        self.assertTrue(gate.wait_for(len(fetching)))
        relent = self.keep_full()
        self.submit_until(server, 507)
        done = server.get(f"/v1/jobs/{sleeping[0]}").json["progress"]["done"]
        asking(lambda: server.get(f"/v1/jobs/{sleeping[0]}").json["progress"]["done"] > done + 1, "no progress")
        gate.opened.set()
        with concurrent.futures.ThreadPoolExecutor(16) as several:
            self.assertEqual(set(several.map(lambda job: server.wait(job)["state"], fetching)), {"succeeded"})
            wait = {"Prefer": f"wait={PATIENCE}"}
            answers = several.map(lambda job: server.ask("POST", f"/v1/jobs/{job}/cancel", headers=wait), sleeping)
            self.assertEqual({(a.status, a.json["state"]) for a in answers}, {(200, "cancelled")})
        self.assertEqual(server.ask("POST", "/v1/jobs", {"task": "squares"}).status, 507)
        server.kill()
        relent()
        server.start()  # with what is left of the reserve
        self.assertEqual(set(self.states(server, fetching)), {"succeeded"})
        self.assertEqual(set(self.states(server, sleeping)), {"cancelled"})
        # Progress has made way, and says so: a reader's past is a prefix but for gaps.
        events = server.get(f"/v1/jobs/{sleeping[0]}/events", Accept="application/json").json["events"]
        seen = 0
        for event in events:
            self.assertEqual(event.get("from", event["seq"]), seen + 1, events)
            seen = event["seq"]
        self.assertNotIn("progress", [event["type"] for event in events])
        self.make_room()
        self.submit_until(server, 202)

    def test_a_start_is_made_with_the_reserve_and_takes_jobs_when_there_is_room(self):
        for end in (Server.kill, Server.end):  # with a log, and without
            with self.subTest(end.__name__):
                server = self.serve()
                job = server.submit("squares")
                server.wait(job)
                waiting = server.submit("sleep", {"seconds": 0}, delay="1h")
                end(server)
                self.fill()
                server.start()
                self.assertEqual(server.get(f"/v1/jobs/{job}").json["state"], "succeeded")
                self.assertEqual(server.get(f"/v1/jobs/{waiting}").json["state"], "scheduled")
                self.submit_until(server, 507)
                # What it has not needed is there for ends.
                answer = server.ask("POST", f"/v1/jobs/{waiting}/cancel", headers={"Prefer": f"wait={PATIENCE}"})
                self.assertEqual((answer.status, answer.json["state"]), (200, "cancelled"))
                self.make_room()
                self.submit_until(server, 202)
                server.end()

    def test_a_stop_does_not_wait_for_room(self):
        server = self.serve("--drain", "1s")
        jobs = [server.submit("sleep", {"seconds": 3600}) for _ in range(50)]
        asking(lambda: server.get("/v1/pools/loop").json["busy"] >= 50, "the loop pool is not so busy")
        self.fill()
        self.submit_until(server, 507)
        self.fill()  # the reserve too, if it is free to take
        self.assertEqual(server.end(), 0)
        self.make_room()
        server.start()
        self.assertEqual({server.wait(job)["error"]["type"] for job in jobs}, {"Stopped"})

    def test_what_waits_does_not_start_but_can_be_cancelled_and_goes_on_with_the_next_server(self):
        server = self.serve("--drain", "60s")
        holder = server.submit("sleep", {"seconds": 3600}, pool="thread")
        begun(server, holder)
        queued = [server.submit("squares", pool="thread") for _ in range(20)]
        self.fill()
        self.submit_until(server, 507)
        for job in (queued[0], holder, queued[1]):
            # Once the holder is gone, one has its place and waits for room to start.
            answer = server.ask("POST", f"/v1/jobs/{job}/cancel", headers={"Prefer": f"wait={PATIENCE}"})
            self.assertEqual((answer.status, answer.json["state"]), (200, "cancelled"))
            asking(lambda: server.get("/v1/pools/thread").json["busy"] == 1, "the thread pool is not so busy")
        self.assertEqual(set(self.states(server, queued[2:])), {"queued"})
        self.assertEqual(server.end(), 0)  # not after the drain's minute
        self.make_room()
        server.start()
        self.assertEqual({server.wait(job)["state"] for job in queued[2:]}, {"succeeded"})
        self.assertEqual({server.get(f"/v1/jobs/{job}").json["attempt"] for job in queued[2:]}, {1})

    def hold_back(self):
        """A server on a full disk, with a job that has ended so that the reserve does not hold it, and one that runs."""
        server = self.serve("--python", "tasks.py", files={"tasks.py": BIG})
        gate = server.home.name + "/gate"
        os.mkfifo(gate)
        big = server.submit("big", {"gate": gate, "size": BIG_SIZE})
        small = server.submit("sleep", {"seconds": 3600})
        for job in (big, small):
            begun(server, job)
        self.fill()
        self.submit_until(server, 507)
        with open(gate, "w"):
            pass
        asking(lambda: server.get("/v1/pools/process").json["busy"] == 0, "the process pool is not so busy")
        return server, big, small

    def test_an_end_that_has_no_room_is_told_to_nobody_and_holds_up_no_other(self):
        server, big, small = self.hold_back()
        answer = server.ask("POST", f"/v1/jobs/{small}/cancel", headers={"Prefer": f"wait={PATIENCE}"})
        self.assertEqual((answer.status, answer.json["state"]), (200, "cancelled"))
        self.assertEqual(server.get(f"/v1/jobs/{big}").json["state"], "running")
        self.assertEqual(server.get(f"/v1/jobs/{big}/result").status, 409)
        self.make_room()
        self.assertEqual(server.wait(big)["state"], "succeeded")
        self.assertGreater(os.path.getsize(self.disk + "/jobs.db.reserve"), 1 << 20)
        server.kill()
        server.start()
        self.assertEqual(len(server.get(f"/v1/jobs/{big}/result").json), BIG_SIZE)
        self.assertEqual(server.get(f"/v1/jobs/{small}").json["state"], "cancelled")

    def test_a_stop_with_an_end_that_has_no_room_ends_says_so_and_has_recorded_the_rest(self):
        server, big, small = self.hold_back()
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.end(), 74)
        server.log.flush()
        self.assertIn("what became of 1 jobs cannot be recorded", pathlib.Path(server.log.name).read_text())
        self.make_room()
        server.start()
        self.assertEqual(server.wait(big)["error"]["type"], "Lost")
        self.assertEqual(server.wait(small)["error"]["type"], "Stopped")

    def test_what_is_refused_has_no_effect(self):
        config = '[commands.mark]\ncommand = ["sh", "-c", "echo x >> marks"]\n'.replace("marks", self.marks())
        server = self.serve("--config", "c.toml", files={"c.toml": config})
        self.fill()
        self.submit_until(server, 507)
        keyed = {"Idempotency-Key": "\"k\""}
        before = server.get("/v1/jobs?limit=500").json["jobs"]
        for _ in range(50):
            self.assertEqual(server.ask("POST", "/v1/jobs", {"task": "mark"}, keyed).status, 507)
            self.assertEqual(server.ask("POST", "/v1/run/mark", {}).status, 507)
        self.make_room()
        self.submit_until(server, 202)
        answer = server.ask("POST", "/v1/jobs", {"task": "mark"}, keyed)
        self.assertEqual(answer.status, 202)
        self.assertNotIn("idempotent-replay", answer.headers)
        self.assertEqual(server.wait(answer.json["id"])["state"], "succeeded")
        self.assertEqual(pathlib.Path(self.marks()).read_text(), "x\n")
        self.assertEqual(len(server.get("/v1/jobs?limit=500&task=mark").json["jobs"]), 1, before)

    def marks(self):
        return self.disk + "/marks"


class FileLimitTests(unittest.TestCase):
    def test_a_limit_for_files_is_a_full_disk(self):
        with tempfile.TemporaryDirectory() as home:
            config = '[commands.mark]\ncommand = ["true"]\ninput = { type = "object" }\n'
            server = Server("--store", home + "/jobs.db", "--threads", "1", "--processes", "1", "--config", "c.toml",
                            prefix=("prlimit", f"--fsize={32 << 20}"), files={"c.toml": config})
            self.addCleanup(server.stop)
            running = server.submit("sleep", {"seconds": 3600})
            job = {"task": "mark", "input": {"pad": "x" * 500_000}, "delay": "1h"}
            taken = []
            while (answer := server.ask("POST", "/v1/jobs", job)).status == 202:
                taken.append(answer.json["id"])
                self.assertLess(len(taken), 100)
            self.assertEqual(answer.status, 507, answer.body)
            answer = server.ask("POST", f"/v1/jobs/{running}/cancel", headers={"Prefer": f"wait={PATIENCE}"})
            self.assertEqual((answer.status, answer.json["state"]), (200, "cancelled"))
            server.kill()
            server.line = server.line[2:]
            server.start()
            self.assertEqual(server.get(f"/v1/jobs/{running}").json["state"], "cancelled")
            for job in taken[:3] + taken[-3:]:
                self.assertEqual(server.get(f"/v1/jobs/{job}").json["state"], "scheduled")


if __name__ == "__main__":
    unittest.main()
