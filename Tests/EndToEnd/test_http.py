import json
import os
import re
import socket
import ssl
import subprocess
import tempfile
import unittest

from server import PATIENCE, Server, ServerTest
from waiting import asking


class HTTPTests(ServerTest):
    def test_malformed_http_is_a_400_and_a_close(self):
        for request in (b"GET / HTTP/1.1\nHost: x\n\n", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 3\r\n\r\nabc"):
            self.assertTrue(self.server.raw(request).startswith(b"HTTP/1.1 400 "), request)

    def test_pipelined_requests_are_answered_in_order(self):
        head = f"Host: localhost\r\nAuthorization: Bearer {self.server.token}\r\nContent-Type: application/json\r\n"
        one = f"POST /v1/run/squares HTTP/1.1\r\n{head}Content-Length: 7\r\n\r\n"
        last = f"GET /healthz HTTP/1.1\r\n{head}Connection: close\r\n\r\n"
        request = "".join(one + '{"n":%d}' % n for n in range(10)) + last
        answer = self.server.raw(request.encode()).decode()
        sums = [sum(i * i for i in range(n)) for n in range(10)]
        positions = [answer.index('{"sum":%d}' % value) for value in sums[2:]]
        self.assertEqual(positions, sorted(positions))
        self.assertEqual(answer.count("HTTP/1.1 200 OK"), 11)

    def test_a_chunked_body_is_a_body(self):
        body = b'2\r\n{"\r\n6\r\nn":100\r\n1\r\n}\r\n0\r\n\r\n'
        answer = self.server.raw(
            b"POST /v1/run/squares HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"Transfer-Encoding: chunked\r\nAuthorization: Bearer " + self.server.token.encode() + b"\r\n\r\n" + body)
        self.assertTrue(answer.endswith(b'{"sum":328350}'), answer)

    def test_expect_continue_is_answered_before_the_body(self):
        with socket.create_connection(("127.0.0.1", self.server.port), PATIENCE) as connection:
            connection.sendall(
                b"POST /v1/run/squares HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n"
                b"Expect: 100-continue\r\nAuthorization: Bearer " + self.server.token.encode() + b"\r\n\r\n")
            self.assertEqual(connection.recv(100), b"HTTP/1.1 100 Continue\r\n\r\n")
            connection.sendall(b'{"n":100}')
            self.assertIn(b'{"sum":328350}', connection.recv(4096))

    def test_head_and_options_have_no_body(self):
        answer = self.server.ask("HEAD", "/v1/tasks")
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertGreater(int(answer.headers["content-length"]), 100)
        job = self.server.submit("sleep", {"seconds": 60})
        for path in (f"/v1/jobs/{job}/events", "/v1/events"):
            answer = self.server.ask("HEAD", path, headers={"Accept": "text/event-stream"})
            self.assertEqual((answer.status, answer.body), (200, b""))
        self.server.ask("DELETE", f"/v1/jobs/{job}")
        answer = self.server.ask("OPTIONS", "/v1/jobs")
        self.assertEqual((answer.status, answer.headers["allow"]), (204, "POST, GET, HEAD, OPTIONS"))

    def test_errors_have_their_statuses(self):
        ask = self.server.ask
        self.assertEqual(ask("GET", "/nothing/here").status, 404)
        self.assertEqual(ask("GET", "/v1/jobs/nojob").status, 404)
        answer = ask("PUT", "/v1/jobs", {})
        self.assertEqual((answer.status, answer.headers["allow"]), (405, "POST, GET, HEAD, OPTIONS"))
        self.assertEqual(ask("BREW", "/v1/jobs").status, 501)
        self.assertEqual(ask("POST", "/v1/jobs", b"a=b", {"Content-Type": "text/plain"}).status, 415)
        self.assertEqual(ask("POST", "/v1/jobs", b'"' + b"a" * 2**20 + b'"').status, 413)
        self.assertEqual(ask("GET", "/" + "a" * 9000).status, 414)
        self.assertEqual(ask("GET", "/healthz", headers={"A": "b" * 17000}).status, 431)

    def test_bad_json_is_named_by_line_and_column(self):
        answer = self.server.ask("POST", "/v1/jobs", b'{\n "task": "squares",\n "input": {,}\n}')
        self.assertEqual(answer.status, 400)
        self.assertIn("line 3, column 12", answer.json["detail"])
        self.assertEqual(answer.headers["content-type"], "application/problem+json")

    def test_bad_input_is_named_by_a_pointer(self):
        cases = {
            '{"task":"primez"}': "/task", '{"input":{}}': "/task", '{"task":"primes","input":{"limit":"x"}}': "/input/limit",
            '{"task":"primes","input":{"limit":-1}}': "/input/limit", '{"task":"primes","piority":1}': "/piority",
            '{"task":"primes","priority":1000}': "/priority", '{"task":"primes","timeout":"5"}': "/timeout",
            '{"task":"primes","pool":"loop"}': "/pool", '{"task":"primes","pool":"gpu"}': "/pool",
            '{"task":"primes","labels":{"a":1}}': "/labels/a", '{"task":"primes","run_at":"noon"}': "/run_at",
            '{"task":"primes","max_attempts":0}': "/max_attempts", '{"task":"primes","queue":"a b"}': "/queue",
        }
        for body, pointer in cases.items():
            answer = self.server.ask("POST", "/v1/jobs", body)
            self.assertEqual(answer.status, 422, body)
            self.assertEqual(answer.json["errors"][0]["pointer"], pointer, body)

    def test_openapi_names_every_route(self):
        paths = self.server.get("/openapi.json").json["paths"]
        for path in ("/v1/jobs", "/v1/run/{task}", "/v1/jobs/{id}/events", "/v1/pools/{pool}", "/metrics"):
            self.assertIn(path, paths)

    def test_metrics_count(self):
        self.server.ask("POST", "/v1/run/squares", {"n": 1})
        text = self.server.get("/metrics").body.decode()
        self.assertRegex(text, r'spindle_jobs_ended_total\{task="squares",state="succeeded"\} \d+')
        self.assertRegex(text, r'spindle_job_run_seconds_bucket\{pool="thread",le="\+Inf"\} \d+')


class GateTests(ServerTest):
    def test_no_token_no_entry(self):
        for path in ("/v1/jobs", "/metrics", "/openapi.json", "/v1/events"):
            answer = self.server.ask("GET", path, token=False)
            self.assertEqual(answer.status, 401, path)
        self.assertEqual(self.server.ask("POST", "/v1/run/squares", {}, {"Authorization": "Bearer " + "0" * 64}).status, 401)
        for path in ("/healthz", "/readyz", "/"):
            self.assertEqual(self.server.ask("GET", path, token=False).status, 200, path)

    def test_a_browser_trades_its_address_for_a_cookie(self):
        answer = self.server.ask("GET", "/?token=" + self.server.token, token=False)
        self.assertEqual((answer.status, answer.headers["location"]), (303, "/"))
        cookie = answer.headers["set-cookie"]
        self.assertIn("HttpOnly", cookie)
        self.assertIn("SameSite=Strict", cookie)
        self.assertNotIn(self.server.token, cookie)
        value = cookie.split(";")[0]
        self.assertEqual(self.server.ask("GET", "/v1/jobs", headers={"Cookie": value}, token=False).status, 200)
        self.assertEqual(self.server.ask("GET", "/?token=" + "0" * 64, token=False).status, 401)

    def test_foreign_hosts_and_origins_are_refused_for_every_method(self):
        for method in ("GET", "POST", "DELETE", "OPTIONS", "HEAD"):
            for headers, status in (
                ({"Host": "evil.example"}, 421), ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403),
                ({"Origin": "http://127.0.0.1:1"}, 403), ({"Sec-Fetch-Site": "cross-site"}, 403), ({"Sec-Fetch-Site": "same-site"}, 403)):
                self.assertEqual(self.server.ask(method, "/v1/jobs", headers=headers).status, status, (method, headers))
        own = {"Origin": self.server.url, "Sec-Fetch-Site": "same-origin"}
        self.assertEqual(self.server.ask("GET", "/v1/jobs", headers=own).status, 200)

    def test_the_page_is_locked_down(self):
        answer = self.server.ask("GET", "/", token=False)
        self.assertIn("default-src 'none'", answer.headers["content-security-policy"])
        self.assertEqual(answer.headers["x-content-type-options"], "nosniff")
        self.assertEqual(answer.headers["referrer-policy"], "no-referrer")

    def test_scopes_bound_what_a_token_may_do(self):
        with tempfile.TemporaryDirectory() as home:
            path = home + "/tokens"
            with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                file.write("a" * 64 + "\n" + "b" * 40 + " read\n")
            server = Server("--token-file", path)
            self.addCleanup(server.stop)
            reader = {"Authorization": "Bearer " + "b" * 40}
            self.assertEqual(server.ask("GET", "/v1/jobs", headers=reader).status, 200)
            self.assertEqual(server.ask("POST", "/v1/run/squares", {}, reader).status, 403)


class ListeningTests(unittest.TestCase):
    def test_several_loops_answer_on_one_port(self):
        server = Server("--loops", "3", "--no-auth")
        for n in range(30):
            self.assertEqual(server.ask("POST", "/v1/run/squares", {"n": 3}).json, {"sum": 5})
        job = server.submit("sleep", {"seconds": 0.1})
        self.assertEqual(list(server.events(job))[-1]["type"], "succeeded")
        self.assertEqual(server.stop(), 0)

    def test_who_leaves_takes_its_job_along_on_whatever_loop(self):
        server = Server("--loops", "3", "--no-auth", "--threads", "64")
        self.addCleanup(server.stop)
        clients = [server.connect() for _ in range(24)]
        for client in clients:
            client.request("POST", "/v1/run/sleep", b'{"seconds":60}', {"Content-Type": "application/json"})
        running = asking(
            lambda: len(jobs := server.get("/v1/jobs?state=running").json["jobs"]) == len(clients) and jobs, "they do not run")
        # Whoever is on another loop is counted, too.
        count = re.search(rb"^spindle_http_connections (\d+)$", server.get("/metrics").body, re.M)
        self.assertGreaterEqual(int(count.group(1)), len(clients))
        for client in clients:
            client.close()
        for job in running:
            self.assertEqual(list(server.events(job["id"]))[-1]["type"], "cancelled")

    def test_tls_is_spoken_with_a_certificate(self):
        with tempfile.TemporaryDirectory() as home:
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", home + "/key", "-out", home + "/cert",
                 "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
            server = Server("--no-auth", "--tls-cert", home + "/cert", "--tls-key", home + "/key")
            context = ssl.create_default_context(cafile=home + "/cert")
            with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as plain:
                with context.wrap_socket(plain, server_hostname="localhost") as secure:
                    secure.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    self.assertIn(b"200 OK", secure.recv(4096))
            server.stop()

    def test_a_unix_socket_is_for_its_owner_only(self):
        with tempfile.TemporaryDirectory() as home:
            path = home + "/s"
            server = Server("--listen", "unix:" + path, "--no-auth")
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
            done = server.command("run", "squares", '{"n":3}', "--url", "unix:" + path)
            self.assertEqual((done.returncode, json.loads(done.stdout)), (0, {"sum": 5}))
            server.stop()
            self.assertFalse(os.path.exists(path))

    def test_a_stopping_server_lets_running_jobs_finish(self):
        server = Server("--no-auth")
        job = server.submit("sleep", {"seconds": 0.5})
        events = server.events(job)
        self.assertEqual(next(events)["type"], "accepted")
        server.process.terminate()
        self.assertEqual(list(events)[-1]["type"], "succeeded")
        self.assertEqual(server.stop(), 0)


class CommandLineTests(ServerTest):
    def test_results_go_to_stdout_and_statuses_say_why(self):
        run = self.server.command
        done = run("run", "squares", '{"n":100}')
        self.assertEqual((done.returncode, done.stdout), (0, '{"sum":328350}\n'))
        self.assertEqual(run("run", "fault", '{"how":"throw"}').returncode, 1)
        self.assertEqual(run("run", "squares", "{").returncode, 2)
        self.assertEqual(run("list", "--url", "http://127.0.0.1:1").returncode, 3)
        self.assertEqual(run("list", env={"SPINDLE_TOKEN": "wrong"}).returncode, 4)

    def test_a_job_is_submitted_watched_listed_and_cancelled(self):
        run = self.server.command
        job = run("submit", "sleep", '{"seconds":60}').stdout.strip()
        self.assertIn(job, run("list", "--state", "running").stdout)
        self.assertRegex(run("cancel", job).stdout, "^cancelled  cooperative")
        watched = run("watch", job, "--json")
        self.assertEqual(json.loads(watched.stdout.splitlines()[-1])["type"], "cancelled")
        self.assertEqual(watched.returncode, 1)

    def test_tables_and_json_say_the_same(self):
        run = self.server.command
        for command, key in (("tasks", "tasks"), ("queues", "queues"), ("pools", "pools")):
            names = [entry["name"] for entry in json.loads(run(command, "--json").stdout)[key]]
            self.assertEqual([line.split()[0] for line in run(command).stdout.splitlines()[1:]], names)

    def test_usage_errors_name_the_word_and_its_neighbour(self):
        cases = (
            (("serve", "--thread", "3"), "--threads"), (("serve", "--threads", "many"), "--threads must be a whole number"),
            (("serve", "--listen", "8080"), "is no ADDR:PORT"), (("serve", "--listen", "0.0.0.0:0"), "--allow-plaintext-on-network"),
            (("serve", "--no-auth", "--listen", "0.0.0.0:0"), "loopback only"), (("serve", "--allow-fetch", "x"), "no address range"),
            (("serve", "--tls-cert", "/x"), "--tls-key"), (("serve", "--config", "/nope"), "cannot read"))
        for arguments, words in cases:
            done = self.server.command(*arguments)
            self.assertEqual(done.returncode, 2, (arguments, done.stderr))
            self.assertIn(words, done.stderr)

    def test_config_says_where_each_value_came_from(self):
        done = self.server.command("config", "--json", "--threads", "3", env={"SPINDLE_LOOPS": "2"})
        values = json.loads(done.stdout)
        self.assertEqual(values["threads"], {"value": ["3"], "from": "--threads"})
        self.assertEqual(values["loops"], {"value": ["2"], "from": "SPINDLE_LOOPS"})
        self.assertEqual(values["store"]["from"], "default")

    def test_bench_measures(self):
        done = self.server.command("bench", "--duration", "300ms", "--connections", "4", "--json")
        figures = json.loads(done.stdout)
        self.assertEqual(figures["failed"], 0)
        self.assertGreater(figures["jobs"], 0)

    def test_every_command_helps_with_an_example(self):
        for command in ("serve", "demo", "run", "submit", "watch", "list", "cancel", "tasks", "queues", "pools", "bench", "config"):
            done = self.server.command(command, "--help")
            self.assertEqual(done.returncode, 0)
            self.assertIn("xample", done.stdout, command)


if __name__ == "__main__":
    unittest.main()
