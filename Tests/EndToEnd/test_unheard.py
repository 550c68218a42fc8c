"""What a request says and nobody would hear is refused by name, and has no effect: members that a route does not know, bodies
where it takes none, in all routes that there are."""
import unittest
from urllib.parse import quote

from server import Server
from unchanged import UnchangedTest

UNKNOWN = "nobody~knows/it"
POINTER = "/nobody~0knows~1it"
# What each route that takes members takes at least.
TAKEN = {
    "submitJob": {"task": "squares", "input": {"n": 3}}, "cancelJob": {}, "deleteJob": {}, "signalJob": {"signal": "KILL"},
    "changeQueue": {"paused": True, "limit": 1}, "changePool": {"capacity": 1}, "runTask": {"seconds": 0},
}
# Answers as they come, without end.
STREAMS = ("getEvents", "getLog", "followEvents")


class UnheardTests(UnchangedTest):
    names = {**UnchangedTest.names, "{queue}": "held"}

    @classmethod
    def setUpClass(cls):
        cls.serve()
        cls.routes = [(method.upper(), path, operation) for path, operations in cls.paths.items()
                      for method, operation in operations.items() if path.startswith("/v1/")]

    def ask(self, method, path, body, **headers):
        return self.server.ask(method, self.target(path), body, headers)

    def assertRefused(self, answer, pointer, status=422):
        self.assertEqual((answer.status, answer.headers["content-type"]), (status, "application/problem+json"), answer.body)
        if pointer is not None:
            self.assertEqual([error["pointer"] for error in answer.json["errors"]], [pointer])

    def test_a_member_that_a_route_does_not_know_is_refused(self):
        before = self.state()
        seen = set()
        for method, path, operation in self.routes:
            if "application/json" not in operation.get("requestBody", {}).get("content", {}):
                continue
            known = TAKEN[operation["operationId"]]
            seen.add(operation["operationId"])
            with self.subTest(operation["operationId"]):
                for body in ({**known, UNKNOWN: 1}, {UNKNOWN: None, **known}):
                    self.assertRefused(self.ask(method, path, body), POINTER)
        self.assertEqual(seen, set(TAKEN))
        self.assertEqual(self.state(), before)

    def test_a_body_where_none_is_taken_is_refused_unless_it_says_nothing(self):
        before = self.state()
        count = 0
        for method, path, operation in self.routes:
            if "requestBody" in operation:
                continue
            count += 1
            with self.subTest(operation["operationId"]):
                self.assertIn("422", operation["responses"])
                self.assertRefused(self.ask(method, path, {UNKNOWN: 1, "other": 2}), POINTER)
                for body in ("[]", "1", "null", '"x"', '[{"priority":1}]'):
                    self.assertRefused(self.ask(method, path, body), "")
                for body in ("{", "{}{}", "priority=1"):
                    self.assertRefused(self.ask(method, path, body), None, 400)
        self.assertGreater(count, 15)
        self.assertEqual(self.state(), before)

    def test_a_body_that_says_nothing_is_as_none(self):
        ended = self.server.submit("squares", {"n": 3})
        self.server.wait(ended)
        for method, path, operation in self.routes:
            if "requestBody" in operation or operation["operationId"] in STREAMS or method == "DELETE":
                continue
            path = path.replace("{id}", ended)
            with self.subTest(operation["operationId"]):
                self.assertEqual(self.ask(method, path, "{}").status, self.ask(method, path, None).status)
                self.assertEqual(self.ask(method, path, " { } ").status, self.ask(method, path, "").status)

    def test_what_cannot_be_asked_for_is_not_taken(self):
        before = self.state()
        for options, pointer in [
            ({"labels": {"a": "\0"}}, "/labels/a"), ({"labels": {"a": "x\0y"}}, "/labels/a"), ({"labels": {"a/\0": "x"}}, "/labels/a~1\0"),
            ({"key": "\0"}, "/key"), ({"key": "a\0b"}, "/key"), ({"queue": "a\0"}, "/queue"), ({"pool": "thread\0"}, "/pool"),
            ({"task": "squares\0"}, "/task"),
        ]:
            with self.subTest(options):
                self.assertRefused(self.ask("POST", "/v1/jobs", {"task": "squares", "input": {"n": 3}, **options}), pointer)
        for query in ("label.a=%00", "label.%00=a", "key=%00", "queue=a%00"):
            self.assertRefused(self.ask("POST", "/v1/run/squares?" + query, {"n": 3}), None, 400)
            if not query.startswith("key"):
                self.assertRefused(self.ask("GET", "/v1/jobs?" + query, None), None, 400)
        self.assertEqual(self.state(), before)


class UnheardOnSeveralLoopsTests(UnheardTests):
    loops = "3"


class FoundTests(unittest.TestCase):
    # Whatever may stand in a label.
    TEXTS = ["\"", "a\"b", "\\", "\\u0041", "'", "$.x", "[0]", ".", "%", "a b", "+", "&=", "\n", "\x01", "\x7f", "\u0301", "\"\u0301", "é", "\U0001f600", "x" * 200]

    def test_every_label_that_was_taken_is_found_by_its_name_and_value_running_and_ended(self):
        for store in ("memory", "jobs.db"):
            server = Server("--store", store, "--threads", "1", "--processes", "1")
            self.addCleanup(server.stop)
            server.ask("PATCH", "/v1/queues/held", {"paused": True})
            for text in self.TEXTS:
                labels = {text: text[::-1], "beside": "1"}
                jobs = [server.submit("squares", {"n": 3}, labels=labels, queue="held"), server.submit("squares", {"n": 3}, labels=labels)]
                server.wait(jobs[1])
                with self.subTest(store=store, text=text):
                    asked = server.get(f"/v1/jobs?label.{quote(text, safe='')}={quote(text[::-1], safe='')}")
                    self.assertEqual((asked.status, sorted(job["id"] for job in asked.json["jobs"])), (200, sorted(jobs)), asked.body)
                    other = server.get(f"/v1/jobs?label.{quote(text, safe='')}=other")
                    self.assertEqual((other.status, other.json["jobs"]), (200, []))


if __name__ == "__main__":
    unittest.main()
