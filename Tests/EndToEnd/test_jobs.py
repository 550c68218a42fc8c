import hashlib
import subprocess
import unittest
import urllib.parse

from server import Server, ServerTest
from waiting import asking

#: Pairs of texts that are canonically equivalent, and different bytes. Source: Unicode Standard Annex 15.
ALIKE = [("\u00e9", "e\u0301"), ("K", "\u212a"), ("\u00c5", "\u212b"), (";", "\u037e"), ("\uac00", "\u1100\u1161"),
         ("a\u0301\u0327", "a\u0327\u0301"), ("\u0958", "\u0915\u093c")]


class JobTests(ServerTest):
    files = {"data/a.txt": "alpha\n", "data/sub/b.txt": "beta\n", "secret.txt": "no\n"}
    arguments = ServerTest.arguments + ("--files-root", "data")

    def test_run_answers_with_the_result_alone(self):
        answer = self.server.ask("POST", "/v1/run/squares", {"n": 100})
        self.assertEqual((answer.status, answer.json), (200, {"sum": 328350}))
        self.assertRegex(answer.headers["spindle-job"], "^[0-9a-z]{13}$")
        self.assertRegex(answer.headers["server-timing"], r"^queue;dur=[\d.]+, run;dur=[\d.]+, store;dur=[\d.]+$")

    def test_the_built_in_tasks_give_their_results_in_every_pool(self):
        tasks = {task["name"]: task for task in self.server.get("/v1/tasks").json["tasks"]}
        wanted = {
            "squares": ({"n": 100}, lambda r: r == {"sum": 328350}),
            "primes": ({"limit": 10_000_000}, lambda r: r == {"count": 664579, "largest": 9999991}),
            "pi": ({"samples": 200_000, "seed": 1}, lambda r: abs(r["pi"] - 3.14) < 0.02),
            "mandelbrot": ({"width": 60, "height": 40, "iterations": 50}, lambda r: r["png"].startswith("iVBORw0KGgo")),
            "burn": ({"milliseconds": 5}, lambda r: r["iterations"] > 0),
            "sleep": ({"seconds": 0.05}, lambda r: r == {"slept": 0.05}),
        }
        for name, (value, fits) in wanted.items():
            results = []
            for pool in tasks[name]["pools"]:
                answer = self.server.ask("POST", f"/v1/run/{name}?pool={pool}", value)
                self.assertEqual(answer.status, 200, answer.body)
                self.assertTrue(fits(answer.json), (name, pool, answer.body[:200]))
                results.append(answer.json)
            if name != "burn":
                self.assertTrue(all(result == results[0] for result in results), name)

    def test_hash_is_what_sha256sum_says(self):
        lines = sorted(
            f"{hashlib.sha256(text.encode()).hexdigest()}  ./{name}\n"
            for name, text in (("a.txt", "alpha\n"), ("sub/b.txt", "beta\n")))
        answer = self.server.ask("POST", "/v1/run/hash", {"path": "."})
        self.assertEqual(answer.json, {"files": 2, "bytes": 11, "sha256": hashlib.sha256("".join(lines).encode()).hexdigest()})

    def test_hash_does_not_leave_its_root(self):
        subprocess.run(["ln", "-sf", "../secret.txt", "data/link"], cwd=self.server.home.name, check=True)
        for path in ("../secret.txt", "link", "/etc/passwd", "sub/../../secret.txt", "nowhere"):
            answer = self.server.ask("POST", "/v1/run/hash", {"path": path})
            self.assertEqual(answer.status, 422, path)
            self.assertEqual(answer.json["errors"][0]["pointer"], "/path")

    def test_fetch_reports_each_address(self):
        urls = [self.server.url + "/healthz", "http://127.0.0.1:1/"]
        responses = self.server.ask("POST", "/v1/run/fetch", {"urls": urls}).json["responses"]
        self.assertEqual([r["url"] for r in responses], urls)
        self.assertEqual(responses[0]["status"], 200)
        self.assertIn("error", responses[1])

    def test_submit_answers_202_with_the_job_and_where_it_is(self):
        answer = self.server.ask("POST", "/v1/jobs", {"task": "squares", "input": {"n": 3}, "labels": {"a": "b"}})
        job = answer.json
        self.assertEqual(answer.status, 202)
        self.assertEqual(answer.headers["location"], "/v1/jobs/" + job["id"])
        self.assertEqual(job["labels"], {"a": "b"})
        done = self.server.wait(job["id"])
        self.assertEqual((done["state"], done["result"], done["attempt"]), ("succeeded", {"sum": 5}, 1))
        self.assertEqual(self.server.get(f"/v1/jobs/{job['id']}/result").json, {"sum": 5})

    def test_prefer_wait_gives_the_finished_job_or_202(self):
        answer = self.server.ask("POST", "/v1/jobs", {"task": "squares"}, {"Prefer": "wait=10"})
        self.assertEqual((answer.status, answer.json["state"]), (200, "succeeded"))
        self.assertEqual(answer.headers["preference-applied"], "wait=10")
        answer = self.server.ask("POST", "/v1/jobs", {"task": "sleep", "input": {"seconds": 60}}, {"Prefer": "wait=0.05"})
        self.assertEqual((answer.status, answer.json["state"]), (202, "running"))
        self.server.ask("POST", f"/v1/jobs/{answer.json['id']}/cancel")

    def test_the_choice_of_a_pool_goes_by_what_was_measured(self):
        job = self.server.wait(self.server.submit("burn", {"milliseconds": 1}, pool="auto"))
        self.assertEqual(job["pool"], "thread")
        self.assertIn("are measured", job["pool_reason"])
        for _ in range(6):
            self.server.ask("POST", "/v1/run/sleep?pool=thread", {"seconds": 0.02})
            self.server.ask("POST", "/v1/run/burn?pool=thread", {"milliseconds": 20})
        for task, pool, reason in (("sleep", "loop", "mostly waits"), ("burn", "thread", "% CPU, short")):
            job = self.server.wait(self.server.submit(task, {}, pool="auto"))
            self.assertEqual(job["pool"], pool, job)
            self.assertIn(reason, job["pool_reason"])
        self.assertNotIn("pool_reason", self.server.wait(self.server.submit("squares")))

    def test_the_list_pages_from_newest_to_oldest(self):
        ids = [self.server.submit("squares", queue="pages") for _ in range(7)]
        seen, cursor = [], ""
        while cursor is not None:
            page = self.server.get(f"/v1/jobs?queue=pages&limit=3{cursor and '&cursor=' + cursor}").json
            seen += [job["id"] for job in page["jobs"]]
            cursor = page["next"]
        self.assertEqual(seen, ids[::-1])

    def test_an_etag_saves_the_second_answer(self):
        job = self.server.submit("squares")
        self.server.wait(job)
        etag = self.server.get(f"/v1/jobs/{job}").headers["etag"]
        self.assertEqual(self.server.get(f"/v1/jobs/{job}", If_None_Match=etag).status, 304)

    def test_an_idempotency_key_makes_one_job(self):
        headers = {"Idempotency-Key": '"k1"'}
        first = self.server.ask("POST", "/v1/jobs", {"task": "squares"}, headers)
        again = self.server.ask("POST", "/v1/jobs", {"task": "squares"}, headers)
        other = self.server.ask("POST", "/v1/jobs", {"task": "primes"}, headers)
        self.assertEqual(again.json["id"], first.json["id"])
        self.assertEqual(again.headers["idempotent-replay"], "true")
        self.assertEqual(other.status, 422)

    def test_a_failing_task_ends_its_own_job_only(self):
        kinds = {"throw": "Fault", "exit": "Crashed", "segv": "Crashed"}
        for how, kind in kinds.items():
            answer = self.server.ask("POST", "/v1/run/fault", {"how": how})
            self.assertEqual((answer.status, answer.json["error"]["type"]), (500, kind), how)
        answer = self.server.ask("POST", "/v1/run/fault?timeout=200ms", {"how": "throw"})
        self.assertEqual(answer.status, 500)
        self.assertEqual(self.server.ask("POST", "/v1/run/squares?pool=process", {"n": 2}).status, 200)

    def test_a_task_over_its_time_is_a_504(self):
        answer = self.server.ask("POST", "/v1/run/sleep?timeout=100ms", {"seconds": 60})
        self.assertEqual((answer.status, answer.json["error"]["type"]), (504, "Timeout"))

    def test_a_retried_job_tells_each_attempt(self):
        job = self.server.submit("fault", {"how": "throw"}, max_attempts=2)
        events = list(self.server.events(job))
        self.assertEqual([e["type"] for e in events if e["type"] != "progress"], [
            "accepted", "queued", "started", "retrying", "queued", "started", "failed"])
        self.assertEqual(next(e for e in events if e["type"] == "retrying")["error"]["type"], "Fault")
        self.assertEqual(events[-1]["attempt"], 2)

    def test_one_key_runs_one_job_at_a_time(self):
        first = self.server.submit("sleep", {"seconds": 60}, key="only")
        second = self.server.submit("squares", key="only")
        self.assertEqual(self.server.get(f"/v1/jobs/{second}").json["state"], "blocked")
        self.server.ask("POST", f"/v1/jobs/{first}/cancel")
        self.assertEqual(self.server.wait(second)["state"], "succeeded")

    def test_texts_that_unicode_holds_for_one_are_two_everywhere_and_over_a_restart(self):
        files = {"c.toml": '[commands.K]\ncommand = ["true"]\n'}
        server = Server("--config", "c.toml", "--threads", "32", "--no-auth", files=files)
        self.addCleanup(server.stop)
        held, behind, done = {}, {}, {}
        for one, other in ALIKE:
            for text in (one, other):
                held[text] = server.submit("sleep", {"seconds": 600}, key=text, max_attempts=20)
                behind[text] = server.submit("squares", key=text, labels={"behind": text})
                done[text] = server.submit("squares", labels={text: text, "value": text})
                server.wait(done[text])
        upper = server.submit("K", queue="K")
        server.wait(upper)
        for restart in (False, True):
            if restart:
                server.kill()
                server.start()
            for text in held:
                asking(lambda: server.get(f"/v1/jobs/{held[text]}").json["state"] == "running", f"{ascii(text)} is not free")
                self.assertEqual(server.get(f"/v1/jobs/{behind[text]}").json["state"], "blocked", ascii(text))
                quoted = urllib.parse.quote(text)
                for filter, job in ((f"label.{quoted}={quoted}", done[text]), (f"label.value={quoted}", done[text]),
                                    (f"label.behind={quoted}", behind[text])):
                    self.assertEqual([found["id"] for found in server.get("/v1/jobs?" + filter).json["jobs"]], [job], ascii(text))
            # The sign of Kelvin is no K.
            for path, status in (("tasks/K", 200), ("tasks/%E2%84%AA", 404), ("queues/%E2%84%AA", 404)):
                self.assertEqual(server.get("/v1/" + path).status, status, path)
            for name in ("task", "queue"):
                self.assertEqual([job["id"] for job in server.get(f"/v1/jobs?{name}=K").json["jobs"]], [upper])
                self.assertEqual(server.get(f"/v1/jobs?{name}=%E2%84%AA").json["jobs"], [])
            self.assertEqual(server.ask("POST", "/v1/jobs", {"task": "\u212a"}).status, 422)
        self.assertEqual(server.ask("POST", f"/v1/jobs/{held[ALIKE[0][0]]}/signal", {"signal": "\u212aILL"}).status, 422)
        # A label once in a query is one, whatever looks like it.
        one, other = map(urllib.parse.quote, ALIKE[0])
        self.assertEqual(server.ask("POST", f"/v1/run/squares?label.{one}=1&label.{other}=2", {}).status, 200)
        self.assertEqual(server.ask("POST", f"/v1/run/squares?label.{one}=1&label.{one}=2", {}).status, 422)
        for text in held:
            server.ask("DELETE", f"/v1/jobs/{held[text]}")
            self.assertEqual(server.wait(behind[text])["state"], "succeeded")

    def test_a_delayed_job_waits_for_its_time(self):
        job = self.server.submit("squares", delay="300ms")
        self.assertEqual(self.server.get(f"/v1/jobs/{job}").json["state"], "scheduled")
        self.assertEqual(self.server.wait(job)["state"], "succeeded")


class CancelTests(ServerTest):
    def cancel(self, job, grace=None, wait=30):
        return self.server.ask(
            "POST", f"/v1/jobs/{job}/cancel", {"grace": grace} if grace else None, {"Prefer": f"wait={wait}"})

    def test_each_pool_says_what_worked(self):
        for pool in ("loop", "thread", "process"):
            job = self.server.submit("sleep", {"seconds": 60}, pool=pool)
            answer = self.cancel(job)
            self.assertEqual((answer.status, answer.json["state"]), (200, "cancelled"))
            self.assertIn(answer.json["cancel"]["how"], ("cooperative", "before-start"))

    def test_what_does_not_listen_is_ended_by_a_signal(self):
        job = self.server.submit("fault", {"how": "spin"})
        next(event for event in self.server.events(job) if event["type"] == "progress")
        answer = self.cancel(job, grace="100ms")
        self.assertEqual((answer.status, answer.json["cancel"]["how"]), (200, "sigterm"))

    def test_a_job_that_waits_is_cancelled_at_once(self):
        job = self.server.submit("squares", delay="1h")
        answer = self.server.ask("DELETE", f"/v1/jobs/{job}")
        self.assertEqual((answer.status, answer.json["cancel"]["how"]), (200, "before-start"))
        self.assertEqual(self.server.ask("DELETE", f"/v1/jobs/{job}").status, 409)

    def test_a_client_that_leaves_takes_its_run_with_it(self):
        connection = self.server.connect()
        connection.request("POST", "/v1/run/sleep?label.who=leaver", '{"seconds":60}', {
            "Content-Type": "application/json", "Authorization": "Bearer " + self.server.token})
        jobs = asking(lambda: self.server.get("/v1/jobs?state=running&label.who=leaver").json["jobs"], "it does not run")
        connection.close()
        self.assertEqual(self.server.wait(jobs[0]["id"])["state"], "cancelled")


class ListTests(ServerTest):
    """A list stays small whatever its jobs hold."""
    arguments = ("--threads", "1", "--processes", "2", "--python", "t.py")
    files = {"t.py": "import spindle\n\n@spindle.task\ndef make(n: int, pad: str = ''):\n    return 'x' * n\n"}

    def page(self, **query):
        answer = self.server.get("/v1/jobs?" + urllib.parse.urlencode(query))
        self.assertEqual(answer.status, 200, answer.body)
        return answer

    def test_long_inputs_and_results_are_left_out_and_said_to_be_and_come_when_asked_for(self):
        self.server.ask("PATCH", "/v1/queues/held", {"paused": True})
        pad = "p" * 100_000
        waiting = self.server.submit("make", {"n": 1, "pad": pad}, queue="held")
        long = [self.server.submit("make", {"n": 900_000, "pad": pad}) for _ in range(30)]
        just, over = self.server.submit("make", {"n": 1022}), self.server.submit("make", {"n": 1023})
        for job in [*long, just, over]:
            self.assertEqual(self.server.wait(job)["state"], "succeeded")
        for again in (False, True):
            if again:
                self.server.end()
                self.server.start()
            answer = self.page(limit=100)
            self.assertLess(len(answer.body), 60_000)
            listed = {job["id"]: job for job in answer.json["jobs"]}
            self.assertEqual(set(listed), {waiting, *long, just, over})
            self.assertEqual({listed[job]["input"] for job in [waiting, *long]} | {listed[job]["result"] for job in long}, {None})
            self.assertEqual([listed[job].get("left_out") for job in (waiting, long[0], just, over)],
                             [["input"], ["input", "result"], None, ["result"]])
            self.assertEqual((len(listed[just]["result"]), listed[over]["result"]), (1022, None))
            # Whole, as many as go into some megabytes, and each once over all pages.
            seen, query = [], {"limit": 100, "fields": "result"}
            while True:
                answer = self.page(**query)
                self.assertLess(len(answer.body), 12 << 20)
                for job in answer.json["jobs"]:
                    self.assertNotIn("result", job.get("left_out", []))
                    if job["id"] in long:
                        self.assertEqual((len(job["result"]), job["input"], job["left_out"]), (900_000, None, ["input"]))
                    seen.append(job["id"])
                if answer.json["next"] is None:
                    break
                query["cursor"] = answer.json["next"]
            self.assertEqual(seen, [over, just, *reversed(long), waiting])
            whole = self.page(limit=100, fields="input,result", queue="held").json["jobs"]
            self.assertEqual([job["input"]["pad"] for job in whole], [pad])
            self.assertEqual(len(self.server.get(f"/v1/jobs/{long[0]}").json["result"]), 900_000)
        for wrong in ("", "result,", "error", "Result"):
            answer = self.server.get("/v1/jobs?fields=" + wrong)
            self.assertEqual((answer.status, answer.json["errors"][0]["pointer"]), (422, "/fields"))


if __name__ == "__main__":
    unittest.main()
