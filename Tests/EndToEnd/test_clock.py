"""Somebody sets the wall clock while the server runs: `run_at` and timestamps follow within two seconds, timeouts never do."""
import datetime
import mmap
import pathlib
import struct
import subprocess
import tempfile
import time
import unittest

from server import PATIENCE, Server
from test_failing_calls import compiler

HERE = pathlib.Path(__file__).parent
FOLLOWS = 2.0  # seconds within which the server has noticed
HOUR = 3600


class ClockTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.library = cls.directory.name + "/stepping.so"
        subprocess.run([compiler(), "-shared", "-fPIC", "-O1", "-o", cls.library, HERE / "stepping.c"], check=True)

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def setUp(self):
        path = pathlib.Path(self.directory.name, "clock")
        path.write_bytes(bytes(8))
        with open(path, "r+b") as file:
            self.offset = mmap.mmap(file.fileno(), 8)
        self.seconds = 0
        self.server = Server("--threads", "2", "--processes", "1",
                             env={"LD_PRELOAD": self.library, "SPINDLE_CLOCK": str(path)})
        self.addCleanup(self.server.stop)

    def step(self, seconds):
        """Sets the clock; returns when."""
        self.seconds += seconds
        self.offset[0:8] = struct.pack("q", self.seconds * 1_000_000_000)
        return time.monotonic()

    def shown(self, time_text):
        """By how much a timestamp of the server is away from what its clock says."""
        stamp = datetime.datetime.fromisoformat(time_text.replace("Z", "+00:00")).timestamp()
        return stamp - (time.time() + self.seconds)

    def stamp(self, after):
        moment = datetime.datetime.fromtimestamp(time.time() + self.seconds + after, datetime.timezone.utc)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def follow(self, since):
        """Waits until a new job's timestamp goes by the clock as it was set; how long that took."""
        while True:
            created = self.server.ask("POST", "/v1/jobs", {"task": "squares", "input": {"n": 1}}).json["created_at"]
            if abs(self.shown(created)) < 0.5:
                return time.monotonic() - since
            self.assertLess(time.monotonic() - since, FOLLOWS + 1, created)

    def test_timestamps_follow_both_ways_and_ids_only_grow(self):
        ids = [self.server.submit("squares", {"n": 1})]
        for seconds in (HOUR, -2 * HOUR, 86400 * 400, -86400 * 400):
            took = self.follow(self.step(seconds))
            self.assertLess(took, FOLLOWS)
            ids.append(self.server.submit("squares", {"n": 1}))
        self.assertEqual(ids, sorted(ids))
        self.assertEqual(len(set(ids)), len(ids))
        done = self.server.wait(ids[-1])
        self.assertEqual(done["state"], "succeeded")

    def test_a_time_of_the_day_that_has_come_by_the_step_is_kept_within_two_seconds(self):
        job = self.server.submit("squares", {"n": 1}, run_at=self.stamp(HOUR))
        since = self.step(HOUR)
        self.assertEqual(self.server.wait(job)["state"], "succeeded")
        self.assertLess(time.monotonic() - since, FOLLOWS)

    def test_a_time_of_the_day_that_the_step_has_taken_away_is_waited_for(self):
        job = self.server.submit("squares", {"n": 1}, run_at=self.stamp(3))
        since = self.step(-HOUR)
        self.follow(since)
        # Four seconds later it would have run long ago by the old time; a delay tells when they are over.
        clock = self.server.submit("squares", {"n": 1}, delay="4s")
        self.assertEqual(self.server.wait(clock)["state"], "succeeded")
        self.assertGreater(time.monotonic() - since, 4)
        self.assertEqual(self.server.get(f"/v1/jobs/{job}").json["state"], "scheduled")
        since = self.step(HOUR)
        self.assertEqual(self.server.wait(job)["state"], "succeeded")
        self.assertLess(time.monotonic() - since, FOLLOWS)

    def test_timeouts_and_delays_do_not_follow(self):
        for seconds in (HOUR, -HOUR):
            with self.subTest(seconds):
                begin = time.monotonic()
                slow = self.server.submit("sleep", {"seconds": 60}, timeout="4s", pool="thread")
                fast = self.server.submit("sleep", {"seconds": 3}, timeout="20s", pool="thread")
                late = self.server.submit("squares", {"n": 1}, delay="4s")
                self.follow(self.step(seconds))
                self.assertEqual(self.server.wait(fast)["state"], "succeeded")
                done = self.server.wait(late)
                self.assertEqual(done["state"], "succeeded")
                self.assertGreaterEqual(time.monotonic() - begin, 4)
                failed = self.server.wait(slow)
                took = time.monotonic() - begin
                self.assertEqual((failed["state"], failed["error"]["type"]), ("failed", "Timeout"))
                self.assertGreaterEqual(took, 4)
                self.assertLess(took, PATIENCE / 2)

    def test_streams_show_signs_of_life_whatever_the_clock_says(self):
        job = self.server.submit("squares", {"n": 1}, delay="25s")
        connection = self.server.connect()
        connection.request("GET", f"/v1/jobs/{job}/events", headers={
            "Authorization": "Bearer " + self.server.token, "Accept": "text/event-stream"})
        answer = connection.getresponse()
        self.step(-HOUR)
        begin = time.monotonic()
        line = answer.readline()
        while not line.startswith(b":"):
            self.assertTrue(line, "the stream ended without a sign of life")
            line = answer.readline()
        self.assertLess(time.monotonic() - begin, 20)
        connection.close()


if __name__ == "__main__":
    unittest.main()
