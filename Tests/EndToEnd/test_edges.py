"""Nothing that comes from outside ends the server or makes it stand still: requests, programs, workers, files, flags."""
import json
import pathlib
import re
import signal
import subprocess
import unittest

from processes import cpu_seconds
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
        for time, due in {"2200-12-31T23:59:59.999999999999Z": "2200-12-31T23:59:59.999Z",
                          "2199-01-01T00:00:00+14:00": "2198-12-31T10:00:00.000Z"}.items():
            job = self.server.submit("squares", run_at=time)
            shown = self.server.get(f"/v1/jobs/{job}").json
            self.assertEqual((shown["state"], shown["due_at"]), ("scheduled", due))
            self.assertEqual(self.server.ask("POST", f"/v1/jobs/{job}/cancel").status, 200)

    def test_durations_of_any_length_are_taken_or_refused(self):
        for text in ["99999999999999999999s", "1e30s", "-1s", "nans", "infs", "1.2.3s", "s", "9" * 400 + "d", "106752d"]:
            for name in ["delay", "timeout"]:
                with self.subTest(text=text, name=name):
                    self.refused(self.server.ask("POST", "/v1/jobs", {"task": "squares", name: text}), "/" + name)
        # None at all, or less than a nanosecond.
        for text in ["0s", "0us", "0.0s", "0.0000004ms", "0.0004us"]:
            for name in ["delay", "timeout"]:
                self.refused(self.server.ask("POST", "/v1/jobs", {"task": "squares", name: text}), "/" + name)
        # What is taken is shown as it is, and reads back as the same.
        for text, shown in {"0.0001ms": "0.1us", "0.9us": "0.9us", "0.001us": "0.001us", "1.001us": "1.001us", "1.5us": "1.5us",
                            "1.0005ms": "1000.5us", "4.35s": "4350ms", "0.57s": "570ms", "1.1m": "66s", "90m": "90m", "1d": "24h",
                            "0.000000001s": "0.001us"}.items():
            for again in (text, shown):
                job = self.server.submit("squares", timeout=again, delay="1h")
                self.assertEqual(self.server.get(f"/v1/jobs/{job}").json["timeout"], shown, text)
                self.assertEqual(self.server.ask("DELETE", f"/v1/jobs/{job}").status, 200)
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
                     "::progress 1/nan", "::progress 1/2/3", "::progress \t", "::progress 0x", "::progress 0x1/2", "::progress one/two"]:
            with self.subTest(text=text):
                job = self.server.wait(self.server.submit("show", {"text": text}))
                self.assertEqual((job["state"], job["progress"]), ("succeeded", None))
                self.assertEqual(self.server.get(f"/v1/jobs/{job['id']}/log").body.decode(), text + "\n")

    def test_a_directive_counts_as_it_is_drawn(self):
        for text, fraction, message in (("::progress 1/4\r", 0.25, None), ("::progress 1/4 a\r::progress 2/4 b\r", 0.5, "b"),
                                        ("\r::progress 3/4", 0.75, None), ("::progress 1/4\rdone", None, None)):
            with self.subTest(text=text):
                job = self.server.wait(self.server.submit("show", {"text": text}))
                progress = job["progress"] or {"fraction": None, "message": None}
                self.assertEqual((progress["fraction"], progress["message"]), (fraction, message))

    def test_progress_of_any_size_can_be_looked_at_ever_after(self):
        texts = ["::progress 1/1000000000000", "::progress 1e-300/1e300", "::progress 1e308/1e-308", "::progress 4.9e-324/1",
                 "::progress 1e308", "::progress 42/100 half way"]
        jobs = [self.server.submit("show", {"text": text}) for text in texts]
        for round in range(2):
            for job in jobs:
                shown = self.server.wait(job)
                self.assertEqual(shown["state"], "succeeded")
                self.assertGreaterEqual(shown["progress"]["done"], 0)
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
        "many": ["seq", "1", "60000"], "long": ["seq", "1", "200000"],
        **COMMANDS,
    }
    more = {"digits": {"progress": r"'(\d+)%'"}, "evil": {"progress": "'(a+)+c'"},
            "bar": {"progress": r"'(\d+)%'", "stdin": "true"}}
    files = {"spindle.toml": toml(commands, **more) + LIAR}
    arguments = ("--processes", "2", "--config", "spindle.toml")

    def test_a_child_that_is_left_behind_and_writes_for_ever_keeps_nobody(self):
        for _ in range(3):
            self.assertEqual(self.server.wait(self.server.submit("survivor"))["state"], "succeeded")

    def test_patterns_make_no_line_expensive(self):
        before = cpu_seconds(self.server.process.pid)
        job = self.server.submit("digits")
        evil = self.server.submit("evil")
        for _ in range(50):
            self.assertEqual(self.server.get("/healthz").status, 200)
        done = self.server.wait(job)
        self.assertEqual((done["state"], done["progress"]["done"]), ("succeeded", 42))
        self.assertEqual(self.server.wait(evil)["state"], "succeeded")
        self.assertLess(cpu_seconds(self.server.process.pid) - before, PATIENCE / 2)

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

    def test_of_output_that_is_no_whole_result_the_job_says_so(self):
        job = self.server.submit("long")
        done = self.server.wait(job)
        log = self.server.get(f"/v1/jobs/{job}/log").body.decode()
        said = re.search(r"the result is the last (\d+) of 1288895 bytes of output", self.server.get(f"/v1/jobs/{job}/events").body.decode())
        self.assertEqual(int(said[1]), len(done["result"]) + 1)
        self.assertTrue(done["result"].endswith("\n199999\n200000"))
        self.assertLess(len(log), 1288895 - 50_000)
        self.assertTrue(log.endswith("\n199999\n200000\n"))

    def test_what_is_too_long_for_a_program_is_the_inputs_fault_and_not_tried_again(self):
        job = self.server.wait(self.server.submit("show", {"text": "x" * 200_000}, max_attempts=3))
        self.assertEqual((job["state"], job["attempt"], job["error"]["type"]), ("failed", 1, "InvalidInput"))
        self.assertIn("too long", job["error"]["message"])

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


class FidelityTests(EdgeTest):
    numbers = ["18446744073709551615", "1.0", "1e2", "1" + "0" * 30, "-0", "-0.0", "0.10", "5e-324", "9007199254740993"]
    # The braces of an object are no placeholder: no name stands in them.
    echo = r"""printf '{"a":%s}\n' "$1" """
    emit = r"""printf '{"output":%s}\n' "$1" >&3"""
    files = {"spindle.toml": toml({
        "show": ["printf", "%s\\n", "{text}"], "echo": ["sh", "-c", echo, "sh", "{text}"],
        "emit": ["sh", "-c", emit, "sh", "{text}"]}, echo={"result": '"json"', "dash": '["text"]'},
        show={"dash": '["text"]'}, emit={"dash": '["text"]'}) + LIAR}
    arguments = ("--processes", "2", "--config", "spindle.toml")

    def test_numbers_leave_as_they_came(self):
        for number in self.numbers:
            with self.subTest(number=number):
                body = '{"task":"%s","input":{"text":%s}}'
                for task, result in [("show", json.dumps(number)), ("echo", '{"a":%s}' % number)]:
                    answer = self.server.ask("POST", "/v1/jobs", body % (task, number), {"Prefer": f"wait={PATIENCE}"})
                    text = answer.body.decode()
                    self.assertEqual(answer.status, 200, text)
                    self.assertIn('"input":{"text":%s}' % number, text)
                    self.assertIn('"result":%s' % result, text)
                    job = answer.json["id"]
                    self.assertIn('"result":%s' % result, self.server.get(f"/v1/jobs/{job}/events").body.decode())
                    self.assertIn('"input":{"text":%s}' % number, self.server.get("/v1/jobs?limit=1").body.decode())
                job = self.server.submit("say", {"lines": [
                    '{"jsonrpc":"2.0","method":"output","params":{"id":@ID@,"value":[%s]}}' % number,
                    '{"jsonrpc":"2.0","id":@ID@,"result":{"value":{"n":%s}}}' % number]})
                self.server.wait(job)
                events = self.server.get(f"/v1/jobs/{job}/events").body.decode()
                self.assertIn('"value":[%s]' % number, events)
                self.assertIn('"result":{"n":%s}' % number, events)
                self.assertEqual(self.server.get(f"/v1/jobs/{job}/result").body.decode(), '{"n":%s}' % number)
                for task, shown in [("echo", '{"a":%s}' % number), ("emit", '""')]:
                    done = self.server.command("run", task, '{"text":%s}' % number)
                    self.assertEqual((done.returncode, done.stdout), (0, shown + "\n"), done.stderr)
                done = self.server.command("run", "--json", "emit", '{"text":%s}' % number)
                self.assertIn('"value":%s}' % number, done.stdout)

    def test_what_was_accepted_can_be_listed_and_read_by_our_own_clients(self):
        deep = "[" * 63 + "]" * 63
        line = '{"jsonrpc":"2.0","id":@ID@,"result":{"value":%s}}' % ("[" + deep + "]")
        value = '{"lines":[%s],"deep":%s}' % (json.dumps(line), deep)
        for path, body in [("/v1/jobs", '{"task":"say","input":%s}' % value), ("/v1/run/say", value)]:
            answer = self.server.ask("POST", path, body, {"Prefer": f"wait={PATIENCE}"})
            self.assertEqual(answer.status, 200, answer.body)
        self.assertIn(deep, self.server.command("list", "--json").stdout)
        done = self.server.command("run", "say", value)
        self.assertEqual((done.returncode, done.stdout), (0, "[" + deep + "]\n"), done.stderr)
        done = self.server.command("list")
        self.assertIn("say", done.stdout)
        # One level more is the client's error, at both routes, and a worker's fails its job alone.
        deeper = value.replace(deep, "[" + deep + "]")
        for path, body in [("/v1/jobs", '{"task":"say","input":%s}' % deeper), ("/v1/run/say", deeper)]:
            self.assertEqual(self.server.ask("POST", path, body).status, 400)
        line = '{"jsonrpc":"2.0","id":@ID@,"result":{"value":[[%s]]}}' % deep
        for _ in range(2):
            job = self.server.wait(self.server.submit("say", {"lines": [line]}))
            self.assertEqual((job["state"], job["error"]["type"]), ("failed", "InvalidOutput"))
        workers = next(p for p in self.server.get("/v1/pools").json["pools"] if p["name"] == "process")["workers"]
        self.assertTrue(workers)

    def test_names_are_told_apart_by_their_bytes(self):
        composed, decomposed = "\u00e9", "e\u0301"
        body = '{"task":"squares","input":{"n":1},"labels":{"%s":"1","%s":"2"}}' % (composed, decomposed)
        answer = self.server.ask("POST", "/v1/jobs", body.encode(), {"Prefer": f"wait={PATIENCE}"})
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(answer.json["labels"], {composed: "1", decomposed: "2"})
        from urllib.parse import quote
        for name, value, count in [(composed, "1", 1), (decomposed, "2", 1), (composed, "2", 0), (decomposed, "1", 0)]:
            found = self.server.get(f"/v1/jobs?label.{quote(name)}={value}").json["jobs"]
            self.assertEqual(len(found), count, (name, value))


class CostTests(EdgeTest):
    schemas = {
        "unique": {"type": "object", "properties": {"v": {"type": "array", "uniqueItems": True}}},
        "alternatives": {"$defs": {"a": {"anyOf": [
            {"type": "array", "items": {"$ref": "#/$defs/a"}}, {"type": "array", "items": {"$ref": "#/$defs/a"}}, {"type": "null"}]}},
            "properties": {"v": {"$ref": "#/$defs/a"}}},
        "closed": {"type": "object", "additionalProperties": False, "properties": {f"property_{i}": True for i in range(50)}},
    }
    worker = """
import json, os, socket
channel = socket.socket(fileno=int(os.environ["SPINDLE_FD"]))
for line in channel.makefile("r"):
    request = json.loads(line)
    if request["method"] == "initialize":
        result = {"protocol": 1, "worker": {}, "tasks": [{"name": n, "input": s} for n, s in json.loads(%r).items()]}
    elif request["method"] == "run":
        result = {"value": None}
    else:
        break
    channel.sendall((json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}) + "\\n").encode())
""" % json.dumps(schemas)
    files = {"spindle.toml": "[workers.costly]\ncommand = " + json.dumps(["python3", "-c", worker]) + "\n"}
    arguments = ("--processes", "1", "--config", "spindle.toml")

    def test_no_input_makes_a_schema_expensive(self):
        for task, value, status in [
            ("unique", {"v": list(range(140_000))}, 202), ("unique", {"v": list(range(140_000)) + [0]}, 422),
            ("alternatives", {"v": json.loads("[" * 60 + "1" + "]" * 60)}, 422), ("alternatives", {"v": [[None], []]}, 202),
            ("closed", {f"unknown_{i}": 0 for i in range(45_000)}, 422), ("closed", {"p" * 900_000: 0}, 422),
        ]:
            with self.subTest(task=task, status=status):
                before = cpu_seconds(self.server.process.pid)
                answer = self.server.ask("POST", "/v1/jobs", {"task": task, "input": value})
                self.assertEqual(answer.status, status, answer.body[:200])
                # Minutes before. Of its own time: what else runs on the machine takes none of that.
                self.assertLess(cpu_seconds(self.server.process.pid) - before, PATIENCE / 2)

    def test_a_schema_that_only_leads_back_to_itself_is_refused_at_its_registration(self):
        files = {"spindle.toml": toml({"loop": ["true"]}, loop={"input": '{ anyOf = [{ "$ref" = "#" }, { type = "null" }] }'})}
        with self.assertRaisesRegex(RuntimeError, "refers to itself"):
            Server("--config", "spindle.toml", "--store", "memory", files=files)


class TrapTests(unittest.TestCase):
    def test_a_trap_that_happens_all_the_same_leaves_a_line_with_its_place_and_the_status_that_was_always_there(self):
        calls = []
        for number in [signal.SIGILL, signal.SIGTRAP, signal.SIGSEGV, signal.SIGABRT]:
            with self.subTest(signal=number.name):
                server = Server("--store", "memory", "--processes", "1")
                server.process.send_signal(number)
                self.assertEqual(server.process.wait(PATIENCE), -number)
                server.process.stdout.close()
                log = pathlib.Path(server.log.name).read_text().splitlines()
                server.log.close()
                server.home.cleanup()
                line = next(json.loads(line) for line in log if "trapped" in line)
                self.assertEqual((line["level"], line["signal"]), ("critical", number.name))
                self.assertRegex(line["time"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
                self.assertRegex(line["place"], r"^(0x[0-9a-f]+|\S+\+0x[0-9a-f]+)$")
                calls += line["from"]
        # Not from every instruction of a library is there a way back.
        self.assertRegex(" ".join(calls), r"spindle\w*Serve")


del EdgeTest, ServerTest
