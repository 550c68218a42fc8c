import json
import unittest

from server import ServerTest


class StreamTests(ServerTest):
    def test_a_stream_tells_a_job_from_its_beginning_to_its_end(self):
        job = self.server.submit("sleep", {"seconds": 0.4})
        events = list(self.server.events(job))
        self.assertEqual([e["seq"] for e in events], list(range(1, len(events) + 1)))
        self.assertEqual([e["type"] for e in events[:3]], ["accepted", "queued", "started"])
        self.assertEqual(events[-1]["type"], "succeeded")
        self.assertEqual(events[-1]["result"], {"slept": 0.4})
        # How many there are is the machine's business; the last one comes always.
        fractions = [e["fraction"] for e in events if e["type"] == "progress"]
        self.assertEqual((fractions, fractions[-1]), (sorted(fractions), 1))

    def test_server_sent_events_are_framed_and_resumed(self):
        job = self.server.submit("sleep", {"seconds": 0.2})
        self.server.wait(job)
        answer = self.server.get(f"/v1/jobs/{job}/events", Accept="text/event-stream")
        self.assertEqual(answer.headers["content-type"], "text/event-stream")
        self.assertEqual(answer.headers["cache-control"], "no-store")
        self.assertEqual(answer.headers["x-accel-buffering"], "no")
        frames = answer.body.decode().split("\n\n")
        self.assertEqual(frames[0], "retry: 2000")
        self.assertEqual(frames[-1], "")
        for number, frame in enumerate(frames[1:-1], 1):
            lines = dict(line.split(": ", 1) for line in frame.split("\n"))
            event = json.loads(lines["data"])
            self.assertEqual((int(lines["id"]), lines["event"]), (number, event["type"]))
        last = len(frames) - 2
        rest = self.server.get(f"/v1/jobs/{job}/events", Accept="text/event-stream", Last_Event_ID=str(last - 1))
        self.assertIn(f"id: {last}\n", rest.body.decode())
        self.assertNotIn(f"id: {last - 1}\n", rest.body.decode())
        self.assertEqual(self.server.get(f"/v1/jobs/{job}/events", Accept="text/event-stream", Last_Event_ID=str(last)).status, 204)

    def test_a_list_of_events_has_bounds(self):
        job = self.server.submit("squares")
        self.server.wait(job)
        events = self.server.get(f"/v1/jobs/{job}/events?after=1&limit=2").json["events"]
        self.assertEqual([e["seq"] for e in events], [2, 3])

    def test_a_submission_may_be_answered_with_its_events(self):
        answer = self.server.ask("POST", "/v1/jobs", {"task": "squares"}, {"Accept": "application/x-ndjson"})
        events = [json.loads(line) for line in answer.body.splitlines()]
        self.assertEqual([e["type"] for e in events], ["accepted", "queued", "started", "succeeded"])
        self.assertTrue(all(e["job"] == answer.headers["spindle-job"] for e in events))

    def test_unknown_formats_are_refused(self):
        job = self.server.submit("squares")
        self.assertEqual(self.server.get(f"/v1/jobs/{job}/events", Accept="image/png").status, 406)

    def test_the_stream_of_all_jobs_tells_of_new_ones(self):
        connection = self.server.connect()
        connection.request("GET", "/v1/events?queue=watched", headers={
            "Authorization": "Bearer " + self.server.token, "Accept": "application/x-ndjson"})
        response = connection.getresponse()
        self.server.submit("squares", queue="other")
        job = self.server.submit("squares", queue="watched")
        types = []
        while not types or types[-1] != "succeeded":
            event = json.loads(response.readline())
            self.assertEqual(event["job"], job)
            types.append(event["type"])
        self.assertEqual(types, ["accepted", "queued", "started", "succeeded"])
        connection.close()

    def test_many_readers_miss_nothing(self):
        job = self.server.submit("mandelbrot", {"width": 400, "height": 300, "iterations": 2000})
        readers = [self.server.events(job) for _ in range(20)]
        stories = [list(reader) for reader in readers]
        for story in stories:
            self.assertEqual([e["seq"] for e in story], list(range(1, len(story) + 1)))
            self.assertEqual(len([e for e in story if e["type"] == "output"]), 10)


class CommandTests(ServerTest):
    files = {"spindle.toml": """
threads = 1
[commands.echo]
command = ["echo", "{text}"]
[commands.steps]
command = ["sh", "-c", "for i in 1 2 3; do echo \\"::progress $i/3 step $i\\"; echo line $i; done; echo '{\\"done\\":true}' >&3"]
[commands.percent]
command = ["printf", "at 10%%\\\\nat 55.5%%\\\\n"]
progress = '(\\d+(?:\\.\\d+)?)%'
[commands.json]
command = ["printf", '[1,\\n2]']
result = "json"
[commands.no-json]
command = ["echo", "no"]
result = "json"
[commands.talk]
command = ["seq", "-f", "line %.0f of a long story that somebody reads slowly", "100000"]
[commands.tell]
command = ["sh", "-c", "for i in $(seq 40); do echo $i; sleep 0.01; done"]
[commands.fails]
command = ["sh", "-c", "echo why >&2; exit 7"]
[commands.deaf]
command = ["sh", "-c", "trap '' TERM; sleep 600 & setsid sleep 601 & echo $$ $!; wait; wait; sleep 602"]
"""}
    arguments = ("--config", "spindle.toml", "--processes", "2")

    def test_placeholders_fill_one_argument_and_no_more(self):
        answer = self.server.ask("POST", "/v1/run/echo", {"text": "a; b $(c) 'd'"})
        self.assertEqual((answer.status, answer.json), (200, "a; b $(c) 'd'"))
        for value in ({"text": "-n"}, {"text": ["a"]}, {}, {"text": "a", "more": 1}):
            self.assertEqual(self.server.ask("POST", "/v1/run/echo", value).status, 422, value)

    def test_output_becomes_log_and_progress(self):
        job = self.server.submit("steps")
        events = list(self.server.events(job))
        self.assertEqual([e["text"] for e in events if e["type"] == "log"], ["line 1", "line 2", "line 3"])
        progress = [e for e in events if e["type"] == "progress"]
        self.assertEqual([(e["done"], e["total"], e["message"]) for e in progress], [(i, 3, f"step {i}") for i in (1, 2, 3)])
        self.assertEqual(self.server.get(f"/v1/jobs/{job}/log").body, b"line 1\nline 2\nline 3\n")
        percent = list(self.server.events(self.server.submit("percent")))
        self.assertEqual([e["fraction"] for e in percent if e["type"] == "progress"], [0.1, 0.555])

    def test_results_are_what_was_configured(self):
        self.assertEqual(self.server.ask("POST", "/v1/run/json").json, [1, 2])
        self.assertEqual(self.server.ask("POST", "/v1/run/no-json").json["error"]["type"], "InvalidOutput")
        error = self.server.ask("POST", "/v1/run/fails").json["error"]
        self.assertEqual(error["exit_code"], 7)

    def test_a_slow_reader_is_told_what_it_missed_and_slows_nobody(self):
        job = self.server.submit("talk", delay="200ms")
        slow = self.server.events(job)
        self.assertEqual(next(slow)["type"], "accepted")
        self.assertEqual(self.server.wait(job)["state"], "succeeded")
        expected = 2
        for event in slow:
            first = event["from"] if event["type"] == "gap" else event["seq"]
            self.assertEqual(first, expected)
            expected = event["seq"] + 1
        self.assertEqual(event["type"], "succeeded")
        log = self.server.get(f"/v1/jobs/{job}/log").body
        self.assertTrue(log.endswith(b"line 100000 of a long story that somebody reads slowly\n"))
        self.assertGreaterEqual(len(log), 2**20)

    def test_of_many_readers_each_sees_every_line(self):
        job = self.server.submit("tell")
        readers = [self.server.events(job) for _ in range(300)]
        for reader in readers:
            self.assertEqual(next(reader)["type"], "accepted")
        for reader in readers:
            rest = list(reader)
            self.assertEqual([e["seq"] for e in rest], list(range(2, len(rest) + 2)))
            self.assertEqual([e["text"] for e in rest if e["type"] == "log"], [str(i) for i in range(1, 41)])
            self.assertEqual(rest[-1]["type"], "succeeded")

    def test_cancel_leaves_nobody_behind(self):
        job = self.server.submit("deaf")
        pids = next(e for e in self.server.events(job) if e["type"] == "log")["text"].split()
        answer = self.server.ask("POST", f"/v1/jobs/{job}/cancel", None, {"Prefer": "wait=30"})
        self.assertEqual((answer.status, answer.json["cancel"]["how"]), (200, "sigkill"))
        for pid in pids:
            try:
                state = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                continue
            self.assertIn(state, ("Z", "X"), f"process {pid} lives")


class StreamsOverLoopsTests(StreamTests):
    """The same, with most readers on other loops than the jobs."""
    arguments = (*StreamTests.arguments, "--loops", "4")


class CommandsOverLoopsTests(CommandTests):
    arguments = (*CommandTests.arguments, "--loops", "4")


if __name__ == "__main__":
    unittest.main()
