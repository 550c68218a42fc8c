"""The metrics: well formed, and true."""
import os
import pathlib
import re
import shutil
import subprocess
import unittest

from server import ServerTest
from waiting import asking

SAMPLE = re.compile(r'([a-z_:][a-z0-9_:]*)(?:\{((?:[a-z_]+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)')


class MetricsTests(ServerTest):
    arguments = ("--threads", "2", "--processes", "1", "--loops", "2")

    def text(self):
        answer = self.server.get("/metrics")
        self.assertEqual(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")
        return answer.body.decode()

    def samples(self):
        """Values by name and labels."""
        found = {}
        for line in self.text().splitlines():
            if not line.startswith("#"):
                name, labels, value = SAMPLE.fullmatch(line).groups()
                key = (name, tuple(sorted(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', labels or ""))))
                self.assertNotIn(key, found)
                found[key] = float(value)
        return found

    def exercise(self):
        self.server.ask("POST", "/v1/run/squares", {"n": 3})
        self.server.ask("POST", "/v1/run/squares", {"n": -3})
        self.server.ask("GET", "/v1/jobs", token=False)
        self.server.ask("PUT", "/v1/jobs")
        self.server.raw(b"nonsense\r\n\r\n")
        job = self.server.submit("sleep", {"seconds": 60})
        self.server.ask("DELETE", f"/v1/jobs/{job}", headers={"Prefer": "wait=20"})
        for queue in ("a", "b-c", "d.e_f"):
            self.server.submit("squares", {"n": 3}, queue=queue)

    def test_every_family_is_one_group_with_one_head(self):
        self.exercise()
        families, kinds, present = [], {}, None
        for line in self.text().splitlines():
            if line.startswith("# HELP "):
                present = line.split()[2]
                self.assertNotIn(present, families)
                families.append(present)
            elif line.startswith("# TYPE "):
                self.assertEqual(line.split()[2], present)
                kinds[present] = line.split()[3]
            else:
                name = SAMPLE.fullmatch(line).group(1)
                suffixes = ("_bucket", "_sum", "_count") if kinds[present] == "histogram" else ("",)
                self.assertIn(name, [present + suffix for suffix in suffixes])
        self.assertEqual(sorted(families), sorted(kinds))
        for name, kind in kinds.items():
            self.assertEqual(name.endswith("_total"), kind == "counter", name)

    def test_promtool_finds_nothing(self):
        if not shutil.which("promtool"):
            self.skipTest("promtool is not installed; docker/install-packages test brings it")
        self.exercise()
        done = subprocess.run(["promtool", "check", "metrics"], input=self.text(), capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_answers_are_counted_by_route_and_status_with_their_time(self):
        def count(method, route, status):
            return self.samples().get(("spindle_http_requests_total", (("method", method), ("route", route), ("status", status))), 0)

        cases = [("POST", "/v1/run/{task}", "200"), ("POST", "/v1/run/{task}", "422"), ("none", "refused", "401"), ("none", "none", "405"),
                 ("none", "refused", "400"), ("DELETE", "/v1/jobs/{id}", "200"), ("POST", "/v1/jobs", "202")]
        before = [count(*case) for case in cases]
        self.exercise()
        self.assertEqual([count(*case) - earlier for case, earlier in zip(cases, before)], [1, 1, 1, 1, 1, 1, 4])
        found = self.samples()
        run = (("method", "POST"), ("route", "/v1/run/{task}"))
        answers = sum(value for (name, labels), value in found.items() if name == "spindle_http_requests_total" and set(run) <= set(labels))
        self.assertEqual(found["spindle_http_request_seconds_count", run], answers)
        self.assertEqual(found["spindle_http_request_seconds_bucket", (("le", "+Inf"), *run)], answers)
        self.assertGreater(found["spindle_http_request_seconds_sum", run], 0)

    def test_loops_and_the_process_are_measured(self):
        found = self.samples()
        proc = pathlib.Path(f"/proc/{self.server.process.pid}")
        status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines())
        limits = [line.split() for line in (proc / "limits").read_text().splitlines() if line.startswith("Max open files")][0]
        self.assertEqual(found["process_max_fds", ()], float(limits[3]))
        self.assertLess(abs(found["process_open_fds", ()] - len(os.listdir(proc / "fd"))), 5)
        resident = int(status["VmRSS"].split()[0]) * 1024
        self.assertLess(abs(found["process_resident_memory_bytes", ()] - resident), resident / 4)
        cpu = sum(int(word) for word in (proc / "stat").read_text().rsplit(")", 1)[1].split()[11:13])
        self.assertLess(abs(found["process_cpu_seconds_total", ()] - cpu / os.sysconf("SC_CLK_TCK")), 1)
        started = os.stat(proc).st_ctime
        self.assertLess(abs(found["process_start_time_seconds", ()] - started), 30)
        lags = asking(
            lambda: len(found := [labels for name, labels in self.samples() if name == "spindle_loop_lag_seconds"]) >= 2 and found,
            "a loop does not tell its lag")
        self.assertEqual(sorted(lags), [(("loop", "0"),), (("loop", "1"),)])


if __name__ == "__main__":
    unittest.main()
