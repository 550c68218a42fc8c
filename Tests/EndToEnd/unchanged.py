"""A server of which everything that a request could have changed is looked at. Standard library only."""
import unittest

from server import Server
from waiting import begun


class UnchangedTest(unittest.TestCase):
    """One job runs, another one waits in a paused queue."""
    loops = "1"
    #: What stands in for the parameters of a path; for a job's id, the one that runs.
    names = {"{task}": "sleep", "{queue}": "default", "{pool}": "thread"}

    @classmethod
    def serve(cls, *more, token=None):
        cls.server = Server(*more, "--loops", cls.loops, "--threads", "2", "--processes", "2", "--store", "memory")
        if token:
            cls.server.token = token
        cls.server.ask("PATCH", "/v1/queues/held", {"paused": True})
        cls.running = cls.server.submit("sleep", {"seconds": 600}, pool="process")
        cls.queued = cls.server.submit("squares", {"n": 3}, queue="held")
        begun(cls.server, cls.running)
        cls.paths = cls.server.get("/openapi.json").json["paths"]

    @classmethod
    def tearDownClass(cls):
        assert cls.server.stop() == 0

    def state(self):
        """Everything that a request could have changed."""
        ask = self.server.get
        jobs = ask("/v1/jobs?limit=500").json["jobs"]
        return {
            "jobs": [(job["id"], job["state"], job["attempt"]) for job in jobs],
            "events": [[event["type"] for event in ask(f"/v1/jobs/{job['id']}/events", Accept="application/json").json["events"]
                        if event["type"] != "progress"] for job in jobs],
            "queues": [(queue["name"], queue["depth"], queue["paused"], queue["limit"]) for queue in ask("/v1/queues").json["queues"]],
            "pools": [(pool["name"], pool["capacity"]) for pool in ask("/v1/pools").json["pools"]],
            "submitted": [line for line in ask("/metrics").body.splitlines() if line.startswith(b"spindle_jobs_submitted_total")],
        }

    def target(self, path):
        for name, value in {"{id}": self.running, **self.names}.items():
            path = path.replace(name, value)
        return path
