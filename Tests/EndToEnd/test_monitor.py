"""What the dashboard asks for, as anybody can: frames, the timeline, groups of failures, another try."""
import json
import time

from server import Server, ServerTest


class MonitorTests(ServerTest):
    def frames(self, every="20ms", accept="application/x-ndjson"):
        connection = self.server.connect()
        connection.request("GET", f"/v1/events?every={every}", headers={
            "Authorization": "Bearer " + self.server.token, "Accept": accept})
        try:
            response = connection.getresponse()
            self.assertEqual(response.status, 200)
            while line := response.readline():
                yield json.loads(line)
        finally:
            connection.close()

    def test_a_frame_comes_at_once_and_then_with_each_change(self):
        self.server.ask("POST", "/v1/run/squares")
        frames = self.frames()
        first = next(frames)
        self.assertEqual((first["type"], first["more"]), ("state", 0))
        self.assertLessEqual({"loop", "thread", "process"}, {pool["name"] for pool in first["pools"]})
        self.assertGreaterEqual(first["totals"]["succeeded"], 1)
        self.assertIn("squares", first["task_names"])
        job = self.server.submit("sleep", {"seconds": 0.3}, pool="thread", labels={"a": "b"})
        states, spans, ran, number = [], [], False, first["number"]
        while not spans:
            frame = next(frames)
            number += 1
            self.assertEqual(frame["number"], number)
            states += [one["state"] for one in frame["jobs"] if one["id"] == job]
            ran = ran or any(one[5] == job for one in frame["running"])
            spans += [one for one in frame["spans"] if one[9] == job]
        while states[-1] != "succeeded":
            states += [one["state"] for one in next(frames)["jobs"] if one["id"] == job]
        self.assertTrue(ran)
        self.assertIn("running", states)
        lane, _, ending, attempt, waited, began, ended, count, busy, _ = spans[0]
        self.assertEqual((ending, attempt, count), (0, 1, 1))
        self.assertLessEqual(waited, began)
        self.assertAlmostEqual(ended - began, busy, delta=0.01)
        self.assertGreater(busy, 290)

    def test_the_pace_is_kept_and_must_be_one(self):
        frames = self.frames(every="250ms")
        next(frames)
        job = self.server.submit("sleep", {"seconds": 1.2}, pool="loop")
        begun, count = time.monotonic(), 0
        for frame in frames:
            count += 1
            if any(one["id"] == job and one["state"] == "succeeded" for one in frame["jobs"]):
                break
        # Progress comes twenty times a second, frames four times.
        self.assertLessEqual(count, (time.monotonic() - begun) / 0.25 + 2)
        for wrong in ("fast", "1ms", "2h"):
            self.assertEqual(self.server.get(f"/v1/events?every={wrong}").status, 422)

    def test_the_timeline_has_retries_failures_and_cancels(self):
        begun = int(time.time() * 1000) - 1000
        failed = self.server.submit("fault", {"how": "throw"}, max_attempts=2)
        self.server.wait(failed)
        cancelled = self.server.submit("sleep", {"seconds": 60}, pool="process")
        next(event for event in self.server.events(cancelled) if event["type"] == "started")
        self.server.ask("DELETE", f"/v1/jobs/{cancelled}", headers={"Prefer": "wait=10"})
        answer = self.server.get(f"/v1/timeline?from={begun}&to={begun + 600_000}").json
        mine = {(span[9], span[3]): span[2] for span in answer["spans"]}
        self.assertEqual((mine[failed, 1], mine[failed, 2], mine[cancelled, 1]), (3, 1, 2))
        self.assertTrue(all(answer["lanes"][span[0]]["pool"] for span in answer["spans"]))
        for wrong in ("from=5&to=4", f"from=0&to={begun}", "limit=0", "format=xml", "form=1"):
            self.assertEqual(self.server.get(f"/v1/timeline?{wrong}").status, 422, wrong)

    def test_a_retry_is_a_new_job_with_the_same_input(self):
        job = self.server.submit("squares", {"n": 7}, pool="process", priority=3, labels={"a": "b"}, timeout="9s")
        self.server.wait(job)
        answer = self.server.ask("POST", f"/v1/jobs/{job}/retry", headers={"Prefer": "wait=10"})
        again = answer.json
        self.assertEqual((answer.status, again["result"]), (200, {"sum": 91}))
        self.assertNotEqual(again["id"], job)
        for member in ("task", "input", "pool", "priority", "labels", "timeout"):
            self.assertEqual(again[member], self.server.get(f"/v1/jobs/{job}").json[member])
        self.assertEqual(self.server.ask("POST", "/v1/jobs/0000000000000/retry").status, 404)

    def test_labels_filter_lists_of_live_and_finished_jobs(self):
        done = self.server.submit("squares", labels={"who": "x y", "n": "1"})
        self.server.wait(done)
        waiting = self.server.submit("squares", delay="1h", labels={"who": "x y", "n": "2"})
        self.server.submit("squares", delay="1h", labels={"who": "z"})
        ids = lambda query: [job["id"] for job in self.server.get(f"/v1/jobs?{query}").json["jobs"]]
        self.assertEqual(ids("label.who=x%20y"), [waiting, done])
        self.assertEqual(ids("label.who=x%20y&label.n=1"), [done])
        self.assertEqual(ids("label.who=x%20y&state=scheduled"), [waiting])
        self.assertEqual(self.server.get("/v1/jobs?label.=x").status, 422)
        self.assertEqual(self.server.get('/v1/jobs?label.a%22b=x').json["jobs"], [])

    def test_failures_are_grouped_and_survive_a_restart(self):
        server = Server("--threads", "1", "--processes", "1", "--demo-faults")
        self.addCleanup(server.stop)
        jobs = [server.submit("fault", {"how": "throw"}) for _ in range(3)]
        for job in jobs:
            server.wait(job)
        server.end()
        server.start()
        more = server.submit("fault", {"how": "exit"})
        server.wait(more)
        groups = {group["type"]: group for group in server.get("/v1/errors").json["errors"]}
        self.assertEqual((groups["Fault"]["count"], groups["Fault"]["jobs"]), (3, sorted(jobs, reverse=True)))
        self.assertEqual(groups["Crashed"]["jobs"], [more])
        server.wait(server.submit("fault", {"how": "throw"}))
        groups = {group["type"]: group for group in server.get("/v1/errors").json["errors"]}
        self.assertEqual(groups["Fault"]["count"], 4)
