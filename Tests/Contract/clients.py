"""Clients that others' generators make of /openapi.json are made and used: what the description says is what the server does.

`openapi-python-client` makes functions for the routes, `datamodel-code-generator` models for what they answer, closed ones, so
that a member which the description does not know is a failure.
"""
import contextlib
import importlib
import json
import pathlib
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "EndToEnd"))
MADE = HERE.parent.parent / ".build-contract/made"
CONFIG = """
[commands.cat]
command = ["cat"]
stdin = true
[commands.lines]
command = ["sh", "-c", "echo one; echo '::progress 1/2 half'; echo two >&2"]
[commands.bad]
command = ["false"]
max_attempts = 2
"""

from server import Server  # noqa: E402


def make(tool, *arguments):
    subprocess.run([pathlib.Path(sys.executable).with_name(tool), *arguments], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, cwd=MADE)


class ClientTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--config", "c.toml", "--threads", "2", "--processes", "2", files={"c.toml": CONFIG})
        cls.addClassCleanup(cls.server.stop)
        MADE.mkdir(parents=True, exist_ok=True)
        (MADE / "openapi.json").write_bytes(cls.server.get("/openapi.json").body)
        make("openapi-python-client", "generate", "--path", "openapi.json", "--meta", "none", "--output-path", "spindle_client",
             "--overwrite")
        make("datamodel-codegen", "--input", "openapi.json", "--input-file-type", "openapi", "--output", "spindle_models.py",
             "--output-model-type", "pydantic_v2.BaseModel", "--extra-fields", "forbid", "--formatters", "builtin")
        sys.path.insert(0, str(MADE))
        cls.models = importlib.import_module("spindle_models")
        package = importlib.import_module("spindle_client")
        cls.client = package.AuthenticatedClient(base_url=cls.server.url, token=cls.server.token, timeout=60)
        cls.addClassCleanup(cls.client.get_httpx_client().close)

    def call(self, name, *arguments, status=200, **named):
        """What the client's function for an operation returns, read by it."""
        module = importlib.import_module(f"spindle_client.api.default.{name}")
        answer = module.sync_detailed(*arguments, client=self.client, **named)
        self.assertEqual(answer.status_code, status, answer.content)
        return answer

    def read(self, model, path):
        """An answer, as the model reads it; nothing may be left over."""
        answer = self.server.get(path)
        self.assertEqual(answer.status, 200, answer.body)
        return getattr(self.models, model).model_validate_json(answer.body)

    def until(self, job, type):
        """Waits for an event of a job."""
        with contextlib.closing(self.server.events(job)) as events:
            self.assertTrue(any(event["type"] == type for event in events))

    def submission(self, task, value=None, **options):
        made = importlib.import_module("spindle_client.models.submission").Submission
        return made.from_dict({"task": task, "input": value or {}, **options})

    def ended(self, task, value=None, **options):
        job = self.call("submit_job", body=self.submission(task, value, **options), status=202).parsed
        self.server.wait(job.id)
        return self.call("get_job", job.id).parsed

    def test_a_job_by_the_client(self):
        job = self.ended("squares", {"n": 3}, labels={"of": "clients"}, priority=5)
        self.assertEqual((job.state.value, job.result, job.priority, job.labels.additional_properties),
                         ("succeeded", {"sum": 5}, 5, {"of": "clients"}))
        self.assertEqual(json.loads(self.call("get_result", job.id).content), {"sum": 5})
        self.assertEqual(json.loads(self.call("run_task", "squares", body={"n": 4}).content), {"sum": 14})
        listed = self.call("list_jobs", limit=500).parsed
        self.assertIn(job.id, [each.id for each in listed.jobs])
        problem = self.call("cancel_job", job.id, status=409).parsed
        self.assertEqual((problem.status, problem.job), (409, job.id))
        problem = self.call("get_task", "squarez", status=404).parsed
        self.assertIn("squares", problem.detail)

    def test_what_runs_is_changed_by_the_client(self):
        job = self.call("submit_job", body=self.submission("cat"), status=202).parsed
        self.until(job.id, "started")
        self.assertEqual(self.call("suspend_job", job.id).parsed.id, job.id)
        self.call("resume_job", job.id)
        signal = importlib.import_module("spindle_client.models.signal_request").SignalRequest
        self.call("signal_job", job.id, body=signal.from_dict({"signal": "WINCH"}))
        cancelled = self.server.ask("POST", f"/v1/jobs/{job.id}/cancel", {"grace": "1s"}, headers={"Prefer": "wait=30"})
        self.assertEqual(self.models.Job.model_validate_json(cancelled.body).state.value, "cancelled")
        queue = importlib.import_module("spindle_client.models.queue_change").QueueChange
        changed = self.call("change_queue", "by-client", body=queue.from_dict({"paused": True, "limit": 7})).parsed
        self.assertEqual((changed.paused, changed.limit), (True, 7))

    def test_all_that_is_answered_is_described(self):
        ids = [self.ended(task, value).id for task, value in (
            ("squares", {}), ("lines", {}), ("bad", {}), ("mandelbrot", {"width": 8, "height": 8}), ("burn", {"milliseconds": 1}))]
        waiting = self.server.submit("sleep", {"seconds": 60}, delay="1h", key="k")
        stuck = self.server.submit("sleep", {"seconds": 60})
        self.until(stuck, "started")
        for model, path in (
                ("Health", "/healthz"), ("Health", "/readyz"), ("JobList", "/v1/jobs?limit=500"), ("TaskList", "/v1/tasks"),
                ("Task", "/v1/tasks/hash"), ("QueueList", "/v1/queues"), ("Queue", "/v1/queues/default"), ("PoolList", "/v1/pools"),
                ("Pool", "/v1/pools/process"), ("Pool", "/v1/pools/gpu"), ("ErrorList", "/v1/errors"), ("Timeline", "/v1/timeline"),
                ("Trace", "/v1/timeline?format=trace"), *(("Job", f"/v1/jobs/{id}") for id in (*ids, waiting, stuck)),
                *(("EventList", f"/v1/jobs/{id}/events") for id in (*ids, waiting, stuck))):
            with self.subTest(path=path):
                self.read(model, path)
        for path in ("/v1/jobs/none", "/v1/jobs?limit=0", f"/v1/jobs/{stuck}/result", f"/v1/jobs/{ids[2]}/result"):
            with self.subTest(path=path):
                answer = self.server.get(path)
                self.assertEqual(self.models.Problem.model_validate_json(answer.body).status, answer.status)
        self.server.ask("POST", f"/v1/jobs/{stuck}/cancel", headers={"Prefer": "wait=30"})
        self.read("Job", f"/v1/jobs/{stuck}")
        self.read("EventList", f"/v1/jobs/{stuck}/events")

    def test_what_the_server_refuses_the_models_refuse(self):
        for wrong in ({}, {"task": "squares", "no": 1}, {"task": 1}, {"task": "squares", "priority": 101},
                      {"task": "squares", "max_attempts": 0}, {"task": "squares", "timeout": "soon"},
                      {"task": "squares", "pool": "there"}, {"task": "squares", "labels": {"a": 1}},
                      {"task": "squares", "queue": "no blanks"}):
            with self.subTest(wrong=wrong):
                self.assertEqual(self.server.ask("POST", "/v1/jobs", wrong).status, 422)
                with self.assertRaises(ValueError):
                    self.models.Submission.model_validate(wrong)


if __name__ == "__main__":
    unittest.main()
