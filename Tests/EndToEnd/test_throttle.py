"""What a job says too often costs no events: progress is told at most ten times a second, logs by their bytes."""
import datetime
import re
import unittest

from server import ServerTest

TASKS = """
import asyncio, time
import spindle

@spindle.task
def chatter(seconds: float):
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        count += 1
        yield spindle.progress(count, 1_000_000_000)
    yield spindle.progress(999, 1000)

@spindle.task
async def murmur(seconds: float):
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        count += 1
        yield spindle.progress(count, 1_000_000_000)
        await asyncio.sleep(0)
    yield spindle.progress(999, 1000)
"""

# Braces are placeholders in a command.
SHOUT = r"""
import os, sys, time
end, count, on = time.monotonic() + 1.5, 0, int(sys.argv[1])
words = "\x7b\"done\":%d,\"total\":%d\x7d\n" if on == 3 else "::progress %d/%d\n"
while time.monotonic() < end:
    count += 1
    os.write(on, (words % (count, 10**9)).encode())
os.write(on, (words % (999, 1000)).encode())
"""

COMMANDS = f"""
[commands.shout]
command = ["python3", "-c", '''{SHOUT}''', "1"]

[commands.shout-on-3]
command = ["python3", "-c", '''{SHOUT}''', "3"]

[commands.flood]
command = ["sh", "-c", "yes $(printf %0400d 7) | head -n 50000; echo this is the end"]

[commands.count]
command = ["seq", "1", "200"]
"""


def seconds(event):
    return datetime.datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp()


class ThrottleTest(ServerTest):
    arguments = ("--config", "spindle.toml", "--python", "tasks.py", "--threads", "2", "--processes", "2")
    files = {"spindle.toml": COMMANDS, "tasks.py": TASKS}

    def check(self, task, value=None, last=None, **options):
        job = self.server.submit(task, value, **options)
        events = [event for event in self.server.events(job) if event["type"] in ("progress", "succeeded", "failed")]
        self.assertEqual(events[-1]["type"], "succeeded", events[-1])
        times = [seconds(event) for event in events[:-1]]
        self.assertGreater(len(times), 4)
        # Three at once, and the last one with the end; between them ten a second.
        for earlier, later in zip(times[2:-2], times[3:-1]):
            self.assertGreaterEqual(later - earlier, 0.095, times)
        if last:
            self.assertEqual((events[-2]["done"], events[-2]["total"]), last, "the last one is never lost")
            shown = self.server.get(f"/v1/jobs/{job}").json["progress"]
            self.assertEqual((shown["done"], shown["total"]), last)

    def test_progress_is_told_ten_times_a_second_from_every_pool(self):
        for pool in ("thread", "process", "loop"):
            with self.subTest(pool):
                self.check("sleep", {"seconds": 1.2}, pool=pool)

    def test_progress_of_workers_is_told_ten_times_a_second(self):
        for task in ("chatter", "murmur"):
            with self.subTest(task):
                self.check(task, {"seconds": 1.5}, last=(999, 1000))

    def test_progress_of_commands_is_told_ten_times_a_second(self):
        for task in ("shout", "shout-on-3"):
            with self.subTest(task):
                self.check(task, last=(999, 1000))

    def test_a_flood_of_lines_is_counted_and_its_end_is_in_the_log(self):
        job = self.server.submit("flood")
        done = self.server.wait(job)
        self.assertEqual(done["state"], "succeeded")
        events = self.server.get(f"/v1/jobs/{job}/events", accept="application/json").json["events"]
        said = [event for event in events if event["type"] == "log"]
        dropped = [re.match(r"(\d+) lines dropped", event["text"]) for event in said]
        self.assertTrue(any(dropped), said[-3:])
        took = seconds(events[-1]) - datetime.datetime.fromisoformat(
            done["started_at"].replace("Z", "+00:00")).timestamp()
        self.assertLess(events[-1]["seq"], 17_000 * (took + 2), "events of one job a second")
        log = self.server.get(f"/v1/jobs/{job}/log").body
        self.assertTrue(log.endswith(b"07\n" + b"0" * 399 + b"7\nthis is the end\n"))

    def test_what_is_no_flood_is_told_line_by_line(self):
        seen = []
        for event in self.server.events(self.server.submit("count", delay="100ms")):
            self.assertNotEqual(event["type"], "gap")
            if event["type"] == "log":
                seen.append(event["text"])
        self.assertEqual(seen, [str(number) for number in range(1, 201)])


if __name__ == "__main__":
    unittest.main()
