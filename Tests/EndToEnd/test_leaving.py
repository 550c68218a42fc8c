"""Who has finished sending is still there; who is gone is missed."""
import http.client
import json
import re
import socket
import ssl
import struct
import subprocess
import tempfile
import unittest

from server import PATIENCE, Server
from wire import Wire, answers, request
from waiting import asking

JSON = ("Content-Type", "application/json")


def run(seconds, *fields, version="1.1", query=""):
    body = json.dumps({"seconds": seconds}).encode()
    return request("POST", "/v1/run/sleep" + query, [JSON, ("Content-Length", len(body)), *fields], body, version=version)


def context():
    made = ssl.create_default_context()
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


class SecureServer(Server):
    def connect(self):
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE, context=context())


class Secure:
    """A client of TLS that says goodbye and goes on reading, which Python's own sockets do not."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context().wrap_bio(self.incoming, self.outgoing)
        self.until_done(self.tls.do_handshake)

    def until_done(self, work):
        while True:
            try:
                return work()
            except ssl.SSLWantReadError:
                self.push()
                self.pull()

    def push(self):
        if data := self.outgoing.read():
            self.socket.sendall(data)

    def pull(self):
        data = self.socket.recv(65536)
        self.incoming.write(data) if data else self.incoming.write_eof()

    def send(self, data, apart=True):
        """Sends this and goodbye: in writes of their own, or in one."""
        if data:
            self.tls.write(data)
        if apart:
            self.push()
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass  # the answer to it comes last
        self.push()
        return self

    def rest(self, methods):
        received = b""
        try:
            while piece := self.until_done(lambda: self.tls.read(65536)):
                received += piece
        except ssl.SSLZeroReturnError:
            pass
        self.socket.close()
        return answers(received, methods)[0]


class LeavingTests(unittest.TestCase):
    arguments = ("--threads", "32")

    @classmethod
    def setUpClass(cls):
        cls.home = tempfile.TemporaryDirectory()
        cls.path = cls.home.name + "/s"
        cls.server = Server("--no-auth", "--listen", "unix:" + cls.path, *cls.arguments)

    @classmethod
    def tearDownClass(cls):
        assert cls.server.stop() == 0
        cls.home.cleanup()

    def wire(self):
        wire = Wire(self.server.port)
        self.addCleanup(wire.socket.close)
        return wire

    def running(self, who):
        """The job with this label, once it runs."""
        return asking(lambda: self.server.get(f"/v1/jobs?state=running&label.who={who}").json["jobs"], "it does not run")[0]["id"]

    def assertCancelled(self, who, leave):
        job = self.running(who)
        leave()
        self.assertEqual(list(self.server.events(job))[-1]["type"], "cancelled")

    # Finished sending

    def test_a_half_closed_client_gets_its_answer(self):
        for version in ("1.1", "1.0"):
            found = self.wire().send(run(0.3, version=version), "POST").shut().rest()
            self.assertEqual([answer.status for answer in found], [200], version)
        with Wire(None, path=self.path) as wire:
            found = wire.send(run(0.3), "POST").shut().rest()
        self.assertEqual([(answer.status, answer.interim) for answer in found], [(200, [])])

    def test_one_that_waits_long_is_asked_with_an_interim_answer(self):
        found = self.wire().send(run(3), "POST").shut().rest()
        self.assertEqual([(answer.status, answer.interim) for answer in found], [(200, [100])])

    def test_all_that_was_sent_before_the_end_is_answered(self):
        get = request("GET", "/healthz")
        found = self.wire().send(run(0.2) + get + run(0.1) + get, "POST", "GET", "POST", "GET").shut().rest()
        self.assertEqual([answer.status for answer in found], [200] * 4)
        # More than is held while one is answered: reading stops, and goes on.
        many = 600
        found = self.wire().send(run(0.2) + get * many, "POST", *["GET"] * many).shut().rest()
        self.assertEqual([answer.status for answer in found], [200] * (many + 1))

    def test_waits_and_streams_last_to_their_end(self):
        job = self.server.submit("sleep", {"seconds": 0.5})
        asks = [
            request("GET", f"/v1/jobs/{job}", [("Prefer", "wait=20")]), request("GET", f"/v1/jobs/{job}/events", [("Accept", "text/event-stream")]),
            request("GET", f"/v1/jobs/{job}/events", [("Accept", "application/x-ndjson")]), request("GET", f"/v1/jobs/{job}/log"),
        ]
        wires = [self.wire().send(ask, "GET").shut() for ask in asks]
        polled, events, lines, _ = [wire.rest()[0] for wire in wires]
        self.assertEqual(polled.json["state"], "succeeded")
        self.assertIn(b"event: succeeded\n", events.body)
        self.assertEqual(json.loads(lines.body.splitlines()[-1])["type"], "succeeded")

    def test_a_stream_that_begins_after_the_client_has_finished_lasts_to_its_end(self):
        # Longer than the time after which one that waits for its answer is asked whether it is there.
        body = json.dumps({"task": "sleep", "input": {"seconds": 3}}).encode()
        for accept, last in (("text/event-stream", b"event: succeeded\n"), ("application/x-ndjson", b'"type":"succeeded"')):
            ask = request("POST", "/v1/jobs", [JSON, ("Content-Length", len(body)), ("Accept", accept)], body)
            self.assertIn(last, self.wire().send(ask, "POST").shut().rest()[0].body)

    def test_a_request_that_is_cut_short_is_told_so(self):
        for part in (b"GET / HTT", request("POST", "/v1/jobs", [JSON, ("Content-Length", 10)], b"{"),
                     request("POST", "/v1/jobs", [JSON, ("Transfer-Encoding", "chunked")], b"5\r\nabc")):
            found = self.wire().send(part, "GET").shut().rest()
            self.assertEqual([answer.status for answer in found], [400])
        self.assertEqual(self.wire().shut().rest(), [])

    # Finished sending, as TLS says it

    def test_a_client_that_says_goodbye_in_tls_gets_its_answers(self):
        server = self.tls_server()
        get = request("GET", "/healthz")
        for ask, methods in ((run(0.3), ["POST"]), (get, ["GET"]), (run(3), ["POST"]), (run(0.2) + get * 3, ["POST"] + ["GET"] * 3)):
            for apart in (True, False):
                found = Secure(server.port).send(ask, apart).rest(methods)
                self.assertEqual([answer.status for answer in found], [200] * len(methods), ask[:30])
        job = server.submit("sleep", {"seconds": 0.5})
        found = Secure(server.port).send(request("GET", f"/v1/jobs/{job}/events", [("Accept", "application/x-ndjson")])).rest(["GET"])
        self.assertEqual(json.loads(found[0].body.splitlines()[-1])["type"], "succeeded")
        # More than the kernel takes at once.
        big = json.dumps({"width": 1200, "height": 1200, "iterations": 3}).encode()
        found = Secure(server.port).send(
            request("POST", "/v1/run/mandelbrot", [JSON, ("Content-Length", len(big))], big)).rest(["POST"])
        self.assertEqual(found[0].status, 200)

    def test_a_request_that_is_cut_short_in_tls_is_told_so(self):
        server = self.tls_server()
        found = Secure(server.port).send(request("POST", "/v1/jobs", [JSON, ("Content-Length", 10)], b"{")).rest(["POST"])
        self.assertEqual([answer.status for answer in found], [400])
        self.assertEqual(Secure(server.port).send(b"").rest([]), [])

    def test_who_says_goodbye_in_tls_and_closes_takes_its_job_along(self):
        server = self.tls_server()
        client = Secure(server.port).send(run(600, query="?label.who=gone"))
        job = asking(lambda: server.get("/v1/jobs?state=running&label.who=gone").json["jobs"], "it does not run")[0]["id"]
        client.socket.close()
        self.assertEqual(list(server.events(job))[-1]["type"], "cancelled")

    def tls_server(self):
        home = tempfile.TemporaryDirectory()
        self.addCleanup(home.cleanup)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", home.name + "/key", "-out", home.name + "/cert",
             "-days", "2", "-subj", "/CN=localhost"], check=True, capture_output=True)
        server = SecureServer("--no-auth", "--tls-cert", home.name + "/cert", "--tls-key", home.name + "/key", "--threads", "4")
        self.addCleanup(server.stop)
        return server

    # Gone

    def test_who_closes_takes_its_job_along(self):
        wire = self.wire().send(run(600, query="?label.who=closed"), "POST")
        self.assertCancelled("closed", wire.socket.close)
        wire = Wire(None, path=self.path).send(run(600, query="?label.who=unix"), "POST")
        self.assertCancelled("unix", wire.socket.close)

    def test_who_finishes_first_and_closes_later_takes_its_job_along(self):
        wire = self.wire().send(run(600, query="?label.who=later"), "POST").shut()
        self.assertCancelled("later", lambda: (wire.until(b"100 Continue"), wire.socket.close()))

    def test_who_resets_takes_its_job_along_even_when_much_is_unread(self):
        wire = self.wire().send(run(600, query="?label.who=reset") + request("GET", "/healthz") * 2000, "POST")
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.assertCancelled("reset", wire.socket.close)

    def test_who_closes_with_much_unread_takes_its_job_along(self):
        wire = self.wire().send(run(600, query="?label.who=pipelined") + request("GET", "/healthz") * 2000, "POST")
        self.assertCancelled("pipelined", wire.socket.close)

    def test_who_is_killed_takes_its_job_along(self):
        curl = subprocess.Popen(
            ["curl", "-s", "--json", '{"seconds":600}', f"{self.server.url}/v1/run/sleep?label.who=killed"], stdout=subprocess.DEVNULL)
        self.addCleanup(curl.wait)
        self.assertCancelled("killed", curl.kill)

    def test_readers_that_left_are_not_kept(self):
        job = self.server.submit("sleep", {"seconds": 600})
        asks = [(f"/v1/jobs/{job}/events", "text/event-stream"), (f"/v1/jobs/{job}/log", "*/*"), ("/v1/events?task=pi", "application/x-ndjson"),
                ("/v1/events?every=20ms", "text/event-stream")]
        wires = [self.wire().send(request("GET", path, [("Accept", accept)]), "GET") for path, accept in asks]
        for wire in wires:
            wire.until(b"\r\n\r\n")
        self.assertGreaterEqual(self.streams(), len(asks))
        for wire in wires:
            wire.socket.close()
        asking(lambda: self.streams() == 0, "streams without a reader are open")
        self.server.ask("DELETE", f"/v1/jobs/{job}")

    def streams(self):
        return int(re.search(rb"^spindle_streams_open (\d+)$", self.server.get("/metrics").body, re.M)[1])


class LeavingOnSeveralLoopsTests(LeavingTests):
    arguments = ("--threads", "32", "--loops", "3")


if __name__ == "__main__":
    unittest.main()
