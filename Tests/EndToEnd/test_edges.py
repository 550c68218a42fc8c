"""Nothing that comes from outside ends the server or makes it stand still: requests, programs, workers, files, flags."""
import json
import pathlib
import subprocess
import time
import unittest

from server import BINARY, PATIENCE, ROOT, Server, ServerTest

COMMANDS = {
    "show": ["printf", "%s\\n", "{text}"],
}


def toml(commands, **more):
    lines = []
    for name, argv in commands.items():
        lines += [f"[commands.{name}]", f"command = {json.dumps(argv)}"]
        lines += [f"{key} = {value}" for key, value in more.get(name, {}).items()]
    return "\n".join(lines) + "\n"


LIAR = f"""
[workers.liar]
command = ["python3", {json.dumps(str(ROOT / "Tests/Workers/liar.py"))}]
"""


class EdgeTest(ServerTest):
    """The server is one and the same from the first test to the last: whatever ends it fails what comes after."""

    def setUp(self):
        self.pid = self.server.process.pid

    def tearDown(self):
        self.assertIsNone(self.server.process.poll(), "the server has ended")
        self.assertEqual(self.server.get("/healthz").status, 200)


class TimeTests(EdgeTest):
    def refused(self, answer, pointer):
        self.assertEqual((answer.status, answer.headers["content-type"]), (422, "application/problem+json"))
        self.assertEqual([e["pointer"] for e in answer.json["errors"]], [pointer])

    def test_a_time_after_2200_or_before_1970_is_refused_by_name(self):
        for time in ["9999-12-31T23:59:59Z", "2262-04-11T23:47:16Z", "2262-04-12T00:00:00Z", "2201-01-01T00:00:00Z",
                     "2200-12-31T23:59:59-23:59", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00+01:00", "0000-01-01T00:00:00Z",
                     "2026-01-01T00:00:00+99:99", "2026-02-30T00:00:00Z", "99999-01-01T00:00:00Z", "", "now"]:
            with self.subTest(time=time):
                self.refused(self.server.ask("POST", "/v1/jobs", {"task": "squares", "run_at": time}), "/run_at")
                encoded = time.replace("+", "%2B")
                self.refused(self.server.ask("POST", f"/v1/run/squares?run_at={encoded}"), "/run_at")
        for time in ["2200-12-31T23:59:59.999999999999Z", "2199-01-01T00:00:00+14:00"]:
            job = self.server.submit("squares", run_at=time)
            shown = self.server.get(f"/v1/jobs/{job}").json
            self.assertEqual((shown["state"], shown["due_at"][:2]), ("scheduled", time[:2] if time < "2199" else shown["due_at"][:2]))
            self.assertEqual(self.server.ask("POST", f"/v1/jobs/{job}/cancel").status, 200)

    def test_durations_of_any_length_are_taken_or_refused(self):
        for text in ["99999999999999999999s", "1e30s", "-1s", "nans", "infs", "1.2.3s", "s", "9" * 400 + "d", "106752d"]:
            for name in ["delay", "timeout"]:
                with self.subTest(text=text, name=name):
                    self.refused(self.server.ask("POST", "/v1/jobs", {"task": "squares", name: text}), "/" + name)
        # Long enough to leave the years that there are.
        self.refused(self.server.ask("POST", "/v1/jobs", {"task": "squares", "delay": "104000d"}), "/delay")
        self.assertEqual(self.server.wait(self.server.submit("squares", timeout="104000d"))["state"], "succeeded")
        job = self.server.submit("sleep", {"seconds": 600})
        for grace in ["99999999999999999999s", "-1s", "xs"]:
            self.refused(self.server.ask("POST", f"/v1/jobs/{job}/cancel", {"grace": grace}), "/grace")
        answer = self.server.ask("POST", f"/v1/jobs/{job}/cancel", {"grace": "104000d"}, {"Prefer": "wait=10"})
        self.assertEqual((answer.status, answer.json["state"]), (200, "cancelled"))

    def test_a_wish_to_wait_of_any_length_is_taken_or_ignored(self):
        for wait in ["99999999999999999999", "1e308", "1e999", "inf", "nan", "-5", "", "0x10", "9" * 300]:
            with self.subTest(wait=wait):
                answer = self.server.ask("POST", "/v1/jobs", {"task": "squares"}, {"Prefer": f"wait={wait}"})
                self.assertIn(answer.status, (200, 202))

    def test_flags_of_any_length_are_taken_or_refused(self):
        for flag in ["--drain", "--keep-age", "--worker-max-age", "--worker-idle", "--cpu-limit"]:
            for text in ["99999999999999999999s", "-1s", "1e9d", "106752d", "x"]:
                with self.subTest(flag=flag, text=text):
                    done = subprocess.run(
                        [BINARY, "serve", "--listen", "127.0.0.1:0", "--store", "memory", "--no-auth", flag, text],
                        capture_output=True, timeout=PATIENCE)
                    self.assertEqual(done.returncode, 2, done.stderr)

    def test_the_longest_times_in_the_configuration_trap_nothing(self):
        server = Server("--processes", "1", files={"spindle.toml": "\n".join(
            f'{key} = "104000d"' for key in ["drain", "keep_age", "worker_max_age", "worker_idle", "cpu_limit"])
            + '\nworker_max_jobs = 1000000000\nmemory_limit = "8388607GiB"\n'},
            env={"SPINDLE_CONFIG": "spindle.toml"})
        try:
            jobs = [server.submit("squares", pool="process") for _ in range(3)]
            self.assertEqual([server.wait(job)["state"] for job in jobs], ["succeeded"] * 3)
            # The fleet is inspected ten times a second.
            self.assertEqual(server.wait(server.submit("sleep", {"seconds": 0.3}, pool="process"))["state"], "succeeded")
        finally:
            self.assertEqual(server.stop(), 0)


class ProgressTests(EdgeTest):
    files = {"spindle.toml": toml(COMMANDS) + LIAR}
    arguments = ("--processes", "2", "--config", "spindle.toml")

    def test_a_directive_with_nothing_or_nonsense_behind_it_is_a_line_of_the_log(self):
        for text in ["::progress ", "::progress", "::progress  ", "::progress /", "::progress 1/", "::progress /1",
                     "::progress nan", "::progress inf", "::progress -inf/1", "::progress 1/0", "::progress -1/2", "::progress 1/-2",
                     "::progress 1/nan", "::progress 1/2/3", "::progress \t", "::progress 0x", "::progress one/two"]:
            with self.subTest(text=text):
                job = self.server.wait(self.server.submit("show", {"text": text}))
                self.assertEqual((job["state"], job["progress"]), ("succeeded", None))
                self.assertEqual(self.server.get(f"/v1/jobs/{job['id']}/log").body.decode(), text + "\n")

    def test_progress_of_any_size_can_be_looked_at_ever_after(self):
        texts = ["::progress 1/1000000000000", "::progress 1e-300/1e300", "::progress 1e308/1e-308", "::progress 4.9e-324/1",
                 "::progress 1e308", "::progress 42/100 half way"]
        jobs = [self.server.submit("show", {"text": text}) for text in texts]
        for round in range(2):
            for job in jobs:
                shown = self.server.wait(job)
                self.assertEqual((shown["state"], type(shown["progress"]["done"])), ("succeeded", type(shown["progress"]["done"])))
                for accept in ["application/json", "text/event-stream", "application/x-ndjson", "text/plain"]:
                    self.assertEqual(self.server.get(f"/v1/jobs/{job}/events", Accept=accept).status, 200)
            listed = {j["id"] for j in self.server.get("/v1/jobs?limit=500").json["jobs"]}
            self.assertLessEqual(set(jobs), listed)
            self.server.end()
            self.server.start()

    def test_figures_of_a_worker_out_of_all_range_are_cut_and_logged(self):
        def lines(usage, done="1", total="2"):
            return ['{"jsonrpc":"2.0","method":"progress","params":{"id":@ID@,"done":%s,"total":%s}}' % (done, total),
                    '{"jsonrpc":"2.0","id":@ID@,"result":{"value":1,"usage":%s}}' % usage]
        wild = ["1e300", "-1e300", "1e10", "-1", "9223372036854775807", "-9223372036854775808", "18446744073709551616", "null",
                '"x"', "[]", "1e-300"]
        for number in wild:
            usage = '{"cpu_seconds":%s,"max_rss_bytes":%s,"voluntary_switches":%s,"involuntary_switches":%s}' % ((number,) * 4)
            with self.subTest(number=number):
                job = self.server.wait(self.server.submit("say", {"lines": lines(usage, number, number)}))
                self.assertEqual(job["state"], "succeeded")
                self.assertTrue(0 <= job["usage"]["cpu_seconds"] <= 1e9, job["usage"])
                self.assertTrue(0 <= (job["usage"]["max_rss_bytes"] or 0) <= 2**53, job["usage"])
                self.assertTrue(0 <= job["usage"]["voluntary_switches"] <= 2**53, job["usage"])
        self.assertEqual(self.server.get("/v1/jobs?limit=500").status, 200)
        self.assertEqual(self.server.get("/metrics").status, 200)
        self.assertIn("cannot be true", pathlib.Path(self.server.log.name).read_text())


class ResumeTests(EdgeTest):
    arguments = ("--threads", "2", "--processes", "1")
    beyond = ["5", "100", str(2**53)]
    nonsense = [str(2**53 + 1), str(2**63 - 1), str(2**63), str(-2**63), "-1", "1.5", "x", "0x1", " ", "1e3"]

    def test_beyond_the_end_means_the_end(self):
        job = self.server.submit("squares")
        last = self.server.wait(job) and self.server.get(f"/v1/jobs/{job}/events").json["events"][-1]["seq"]
        for seq in [str(last), *self.beyond]:
            for query, headers in [(f"?after={seq}", {}), ("", {"Last_Event_ID": seq})]:
                with self.subTest(seq=seq, query=query):
                    path = f"/v1/jobs/{job}/events{query}"
                    self.assertEqual(self.server.get(path, **headers).json, {"events": []})
                    self.assertEqual(self.server.get(path, Accept="text/event-stream", **headers).status, 204)
                    answer = self.server.get(path, Accept="application/x-ndjson", **headers)
                    self.assertEqual((answer.status, answer.body), (200, b""))

    def test_who_is_ahead_of_a_running_job_still_hears_its_end(self):
        for headers in [{"Last_Event_ID": "1000"}, {"Last_Event_ID": str(2**53)}]:
            job = self.server.submit("sleep", {"seconds": 0.5})
            events = list(self.server.events(job, **headers))
            self.assertEqual(events[-1]["type"], "succeeded")
            self.assertNotIn("gap", [e["type"] for e in events])

    def test_what_is_no_number_of_an_event_is_refused(self):
        job = self.server.submit("squares")
        self.server.wait(job)
        for seq in self.nonsense:
            for accept in ["application/json", "text/event-stream", "application/x-ndjson"]:
                with self.subTest(seq=seq, accept=accept):
                    encoded = seq.replace(" ", "%20")
                    self.assertEqual(self.server.get(f"/v1/jobs/{job}/events?after={encoded}", Accept=accept).status, 422)
                    if seq.strip():
                        self.assertEqual(
                            self.server.get(f"/v1/jobs/{job}/events", Accept=accept, Last_Event_ID=seq).status, 400)


class OutputTests(EdgeTest):
    commands = {
        "survivor": ["sh", "-c", "yes & exit 0"],
        "flood": ["yes"],
        "digits": ["sh", "-c", "head -c 16000 /dev/zero | tr '\\0' 7; sleep 0.1; echo; echo 42%"],
        "evil": ["sh", "-c", "head -c 16000 /dev/zero | tr '\\0' a; echo b; echo done"],
        "bar": ["sh", "-c", r"printf '1%%\r2%%\r3%%'; cat > /dev/null; printf '\r99%%\r100%%\n'"],
        "many": ["seq", "1", "60000"],
    }
    more = {"digits": {"progress": r"'(\d+)%'"}, "evil": {"progress": "'(a+)+c'"},
            "bar": {"progress": r"'(\d+)%'", "stdin": "true"}}
    files = {"spindle.toml": toml(commands, **more) + LIAR}
    arguments = ("--processes", "2", "--config", "spindle.toml")

    def test_a_child_that_is_left_behind_and_writes_for_ever_keeps_nobody(self):
        for _ in range(3):
            self.assertEqual(self.server.wait(self.server.submit("survivor"))["state"], "succeeded")

    def test_patterns_make_no_line_expensive(self):
        began = time.monotonic()
        job = self.server.submit("digits")
        evil = self.server.submit("evil")
        for _ in range(50):
            self.assertEqual(self.server.get("/healthz").status, 200)
        done = self.server.wait(job)
        self.assertEqual((done["state"], done["progress"]["done"]), ("succeeded", 42))
        self.assertEqual(self.server.wait(evil)["state"], "succeeded")
        self.assertLess(time.monotonic() - began, PATIENCE / 2)

    def test_a_bar_that_is_drawn_with_carriage_returns_counts_as_it_is_drawn(self):
        job = self.server.submit("bar")
        for event in self.server.events(job):
            if event["type"] == "progress" and event["done"] == 3:
                self.server.ask("POST", f"/v1/jobs/{job}/stdin?close=true")
        self.assertEqual(self.server.wait(job)["progress"]["done"], 100)

    def test_a_program_that_never_stops_talking_is_heard_and_can_be_ended(self):
        job = self.server.submit("flood")
        for number, event in enumerate(self.server.events(job)):
            if number == 20_000:
                answer = self.server.ask("POST", f"/v1/jobs/{job}/cancel", headers={"Prefer": "wait=20"})
                self.assertEqual((answer.status, answer.json["state"]), (200, "cancelled"))

    def test_every_line_of_a_long_output_is_in_the_log(self):
        job = self.server.submit("many")
        self.assertEqual(self.server.wait(job)["state"], "succeeded")
        self.assertEqual(self.server.get(f"/v1/jobs/{job}/log").body.decode().split(), [str(n) for n in range(1, 60_001)])

    def test_a_result_by_file_is_a_regular_file_of_the_worker_or_nothing(self):
        def submit(file, **more):
            line = '{"jsonrpc":"2.0","id":@ID@,"result":{"file":"%s"}}' % file
            return self.server.submit("say", {"lines": [line], **more})
        good = submit("@DIR@/r.json", files={"r.json": "[1.0, 18446744073709551615]"})
        self.assertEqual(self.server.wait(good)["state"], "succeeded")
        self.assertEqual(self.server.get(f"/v1/jobs/{good}/result").body, b"[1.0, 18446744073709551615]")
        for name, more in {
            "fifo": {"pipes": ["r"]}, "link": {"links": {"r": "/etc/hostname"}}, "device": {"links": {"r": "/dev/zero"}},
            "directory": {"links": {"r": "/"}}, "nothing": {}, "no JSON": {"files": {"r": "{"}}, "empty": {"files": {"r": ""}},
        }.items():
            with self.subTest(kind=name):
                job = self.server.wait(submit("@DIR@/r", **more))
                self.assertEqual((job["state"], job["error"]["type"]), ("failed", "InvalidOutput"))
        for path in ["/etc/hostname", "@DIR@/../../../etc/hostname", "../x", "", "/", "@DIR@", "@DIR@/", "@DIR@/../r.json"]:
            with self.subTest(path=path):
                job = self.server.wait(submit(path))
                self.assertEqual((job["state"], job["error"]["type"]), ("failed", "InvalidOutput"))
        self.assertTrue(pathlib.Path("/etc/hostname").exists())


del EdgeTest, ServerTest
