"""What is refused has one answer and no effect: every route, every method, every reason, every form of request."""
import json
import os
import tempfile
import unittest

from unchanged import UnchangedTest
from wire import Wire, request

ADMIN, SUBMIT, READ = "a" * 64, "b" * 64, "c" * 64
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW")
AUTHORIZED = ("Authorization", "Bearer " + ADMIN)
GOOD = request("GET", "/healthz", [("Connection", "close")])

# By reason: the fields that make a request refused, and its status.
REASONS = {
    "no token": ("localhost", [], 401),
    "wrong token": ("localhost", [("Authorization", "Bearer " + "f" * 64)], 401),
    "narrow token": ("localhost", [("Authorization", "Bearer " + READ)], 403),
    "foreign host": ("evil.example", [AUTHORIZED], 421),
    "foreign origin": ("localhost", [AUTHORIZED, ("Origin", "http://evil.example")], 403),
    "cross-site": ("localhost", [AUTHORIZED, ("Sec-Fetch-Site", "cross-site")], 403),
}

BODIES = {
    ("POST", "/v1/jobs"): {"task": "squares", "input": {"n": 3}}, ("POST", "/v1/run/{task}"): {"seconds": 0},
    ("POST", "/v1/jobs/{id}/signal"): {"signal": "KILL"}, ("PATCH", "/v1/queues/{queue}"): {"paused": True, "limit": 1},
    ("PATCH", "/v1/pools/{pool}"): {"capacity": 1},
}


class RefusalTests(UnchangedTest):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as home:
            path = home + "/tokens"
            with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                file.write(f"{ADMIN}\n{SUBMIT} submit\n{READ} read\n")
            cls.serve("--token-file", path, token=ADMIN)
        cls.routes = {path: {method.upper(): operation for method, operation in operations.items() if method.upper() in METHODS}
                      for path, operations in cls.paths.items()}
        # What is not described: the dashboard's files, and nothing at all.
        cls.routes |= {"/app.js": {}, "/v1/nothing": {}, "/v1/jobs/{id}/": {}}

    def cases(self):
        """Every request that is to be refused: its name, its status, and a function that makes its bytes of a form."""
        for path, operations in self.routes.items():
            for method in METHODS:
                operation = operations.get(method)
                isOpen = operation is not None and operation.get("security") == [] or path == "/app.js"
                for reason, (host, fields, status) in REASONS.items():
                    if status == 401 and (isOpen or path in ("/", "/healthz", "/readyz")):
                        continue  # nothing to refuse
                    # Who may read is refused only what changes something.
                    if reason == "narrow token" and (operation is None or method == "GET" or path == "/v1/session"):
                        continue
                    body = json.dumps(BODIES.get((method, path), {})).encode()

                    def make(more, body=b"", method=method, path=path, host=host, fields=fields):
                        return request(method, self.target(path), [*fields, *more], body, host)

                    yield f"{method} {path}, {reason}", method, status, make, body

    def assertRefused(self, name, answer, status):
        self.assertEqual(answer.status, status, name)
        self.assertEqual(answer.fields.get("content-type"), "application/problem+json", name)
        self.assertGreater(int(answer.fields["content-length"]), 0, name)

    def test_a_refusal_is_the_only_answer_and_the_next_request_has_its_own(self):
        before = self.state()
        for name, method, status, make, _ in self.cases():
            with Wire(self.server.port) as wire:
                # Alone, with a length of nothing, and with others behind it; the last one shows that no answer is left over.
                first = wire.send(make([]), method).read(1)
                self.assertRefused(name, first[0], status)
                wire.send(make([("Content-Length", "0")]) + make([]) + GOOD, method, method, "GET")
                found = wire.rest()
                self.assertEqual([answer.status for answer in found], [status] * 3 + [200], name)
                self.assertEqual(found[-1].body, b'{"status":"ok"}\n', name)
        self.assertEqual(self.state(), before)

    def test_a_refused_request_that_closes_or_carries_a_body_is_the_last(self):
        before = self.state()
        pending = []

        def settle():
            for name, wire, status in pending:
                with wire:
                    found = wire.rest()
                    self.assertEqual(len(found), 1, name)
                    self.assertRefused(name, found[0], status)
                    self.assertTrue(found[0].closes, name)
                    self.assertEqual(found[0].interim, [100] if "narrow" in name and "expects" in name else [], name)
            pending.clear()

        self.addCleanup(lambda: [wire.socket.close() for _, wire, _ in pending])
        json_type = ("Content-Type", "application/json")
        for name, method, status, make, body in self.cases():
            sized, chunked = ("Content-Length", len(body)), ("Transfer-Encoding", "chunked")
            chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            close = ("Connection", "close")
            forms = {
                "closes": make([close]) + GOOD, "closes, length 0": make([close, ("Content-Length", "0")]) + GOOD,
                "has a body": make([json_type, sized, close], body) + GOOD, "has chunks": make([json_type, chunked, close], chunks) + GOOD,
                "expects 100": make([json_type, sized, close, ("Expect", "100-continue")], body) + GOOD,
            }
            if "narrow" not in name:
                # Refused at its head, a request closes even if it did not ask to, and even if its body never comes.
                forms |= {
                    "body stays out": make([json_type, sized, ("Expect", "100-continue")]),
                    "body follows": make([json_type, sized], body) + GOOD, "chunks follow": make([json_type, chunked], chunks) + GOOD,
                }
            for form, data in forms.items():
                pending.append((f"{name}, {form}", Wire(self.server.port).send(data, method, "GET"), status))
            if len(pending) > 100:
                settle()
        settle()
        self.assertEqual(self.state(), before)

    def test_a_body_that_is_refused_is_not_taken_for_a_request(self):
        before = self.state()
        inner = request("DELETE", f"/v1/jobs/{self.running}", [AUTHORIZED])
        for host, fields, status in REASONS.values():
            for method in METHODS:
                if status == 403 and fields == REASONS["narrow token"][1]:
                    continue
                data = request(method, "/v1/jobs", [*fields, ("Content-Length", len(inner))], inner, host)
                with Wire(self.server.port) as wire:
                    found = wire.send(data, method).rest()
                    self.assertEqual([answer.status for answer in found], [status], (method, fields))
        self.assertEqual(self.state(), before)

    def test_an_answer_to_a_broken_request_has_the_form_of_its_own_request(self):
        broken = {  # what is wrong with it, its own method, the status
            b"GET /\r\n\r\n": ("GET", 400), b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n": ("GET", 400),
            b"HEAD / HTTP/2.0\r\n\r\n": ("HEAD", 505), b"HEAD / HTTP/1.1\r\nA b\r\n\r\n": ("HEAD", 400),
            b"HEADS / HTTP/1.1\r\nA b\r\n\r\n": ("GET", 400), b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n": ("POST", 400),
            request("POST", "/v1/jobs", [AUTHORIZED, ("Transfer-Encoding", "chunked")], b"x\r\n"): ("POST", 400),
            request("HEAD", "/v1/jobs", [AUTHORIZED, ("Transfer-Encoding", "chunked")], b"x\r\n"): ("HEAD", 400),
            request("GET", "/", [("Content-Length", "99999999")]): ("GET", 413),
            request("GET", "/" + "a" * 9000): ("GET", 414), request("GET", "/", [("A", "b" * 17000)]): ("GET", 431),
        }
        earlier = {
            "nothing": (b"", []), "HEAD": (request("HEAD", "/healthz"), ["HEAD"]), "refused HEAD": (request("HEAD", "/v1/jobs"), ["HEAD"]),
            "HTTP/1.0": (request("GET", "/healthz", [("Connection", "keep-alive")], version="1.0"), ["GET"]),
        }
        for name, (before, methods) in earlier.items():
            for data, (method, status) in broken.items():
                with self.subTest(after=name, request=data[:60]), Wire(self.server.port) as wire:
                    found = wire.send(before + data, *methods, method).rest()
                    self.assertEqual(len(found), len(methods) + 1)
                    self.assertRefused(data[:60], found[-1], status)
                    self.assertTrue(found[-1].closes)
                    self.assertEqual(bool(found[-1].body), method != "HEAD")


class RefusalOnSeveralLoopsTests(RefusalTests):
    loops = "3"


if __name__ == "__main__":
    unittest.main()
