"""HTTP as RFC 9110, 9112 and the contract have it, clause by clause, on raw bytes where that matters."""
import tempfile
import unittest

from server import Server, ServerTest
from wire import Wire, request
from waiting import asking

CLOSE = ("Connection", "close")


class SpecificationTests(ServerTest):
    def authorized(self, *fields):
        return [("Authorization", "Bearer " + self.server.token), *fields]

    def ask(self, method, target, *fields, body=b"", **options):
        """One request over a connection of its own, as these bytes; its answer."""
        with Wire(self.server.port) as wire:
            found = wire.send(request(method, target, [*self.authorized(*fields), CLOSE], body, **options), method).rest()
            self.assertEqual(len(found), 1)
            return found[0]

    # Targets and hosts

    def test_an_absolute_target_is_served_and_its_authority_is_the_host(self):
        own = f"127.0.0.1:{self.server.port}"
        for target, host, status in (
                (f"http://{own}/v1/tasks", "localhost", 200), (f"HTTP://LOCALHOST/v1/tasks?", "evil.example", 200),
                ("http://evil.example/v1/tasks", "localhost", 421), ("http://localhost.evil/v1/tasks", own, 421),
                ("http://localhost:80/v1/nothing", own, 404), ("http://a@localhost/v1/tasks", own, 400), ("localhost/v1/tasks", own, 400),
                ("ftp://localhost/v1/tasks", own, 400), ("http://[::1]:1/v1/tasks", own, 200), ("http://localhost", own, 200)):
            self.assertEqual(self.ask("GET", target, host=host).status, status, target)

    def test_hosts_are_names_with_a_port_and_nothing_else(self):
        good = ("localhost", "LocalHost:8080", "localhost.", "localhost.:1", "127.0.0.1", "[::1]", "[::1]:65535", "localhost:")
        bad = ("[::1]evil", "[::1]:x", "[::1].", "localhost:abc", "localhost:80a", "localhost:123456", "localhost..", "localhost.evil", ".",
               "evil", "localhost:1:1", "[::1", "xlocalhost", "")
        for hosts, status in ((good, 200), (bad, 421)):
            for host in hosts:
                self.assertEqual(self.ask("GET", "/v1/tasks", host=host).status, status, host)

    def test_http_1_0_without_a_host_reaches_health_and_nothing_else(self):
        for target, status in (("/healthz", 200), ("/readyz", 200), ("/v1/jobs", 421), ("/", 421), ("/openapi.json", 421)):
            self.assertEqual(self.ask("GET", target, host=None, version="1.0").status, status, target)
        self.assertEqual(self.ask("GET", "/healthz", host=None).status, 400)

    def test_a_unix_socket_takes_any_host(self):
        with tempfile.TemporaryDirectory() as home:
            server = Server("--listen", f"unix:{home}/s", "--no-auth")
            self.addCleanup(server.stop)
            for host in ("evil.example", "", "[::1]evil"):
                with Wire(None, path=home + "/s") as wire:
                    self.assertEqual(wire.send(request("GET", "/v1/tasks", [CLOSE], host=host), "GET").rest()[0].status, 200, host)

    # Connections and framing

    def test_who_says_close_is_closed_whatever_else_it_says(self):
        for fields in ([("Connection", "close, keep-alive")], [("Connection", "keep-alive"), ("Connection", "CLOSE")], [("Connection", "keep-alive,\tclose")]):
            for version in ("1.0", "1.1"):
                with Wire(self.server.port) as wire:
                    found = wire.send(request("GET", "/healthz", fields, version=version), "GET").rest()
                    self.assertEqual((len(found), found[0].status, found[0].closes), (1, 200, True))

    def test_blanks_may_stand_around_chunk_extensions(self):
        for size in (b"9;a", b"9 ;a=b", b"9\t ; a = \"b c\" ; d", b"9 ;a;b "):
            answer = self.ask("POST", "/v1/run/squares", ("Transfer-Encoding", "chunked"), ("Content-Type", "application/json"),
                              body=size + b'\r\n{"n":100}\r\n0 ; last\r\n\r\n')
            self.assertEqual((answer.status, answer.body), (200, b'{"sum":328350}'), size)
        for size in (b"9 ", b" 9", b"9 9", b"9\t"):
            answer = self.ask("POST", "/v1/run/squares", ("Transfer-Encoding", "chunked"), ("Content-Type", "application/json"),
                              body=size + b'\r\n{"n":100}\r\n0\r\n\r\n')
            self.assertEqual(answer.status, 400, size)

    def test_a_field_with_one_value_that_is_there_twice_is_refused_and_has_no_effect(self):
        body = b'{"task":"squares","input":{"n":3}}'
        given = {"Content-Type": "application/json", "Authorization": "Bearer " + self.server.token}
        ours = f"http://127.0.0.1:{self.server.port}"
        single = {**given, "Idempotency-Key": '"twice"', "Origin": ours, "Sec-Fetch-Site": "same-origin", "Cookie": "a=b", "Last-Event-ID": "1",
                  "Host": ours.removeprefix("http://"), "Content-Length": str(len(body))}
        before = self.submitted()
        for name, value in single.items():
            for other in (value, value + "x"):
                for first, second in ((value, other), (other, value)):
                    for spelled in (name, name.upper(), name.lower()):
                        fields = [(field, text) for field, text in {**given, "Host": single["Host"], "Content-Length": len(body)}.items() if field != name]
                        fields += [(name, first), ("X-Between", "1"), (spelled, second)]
                        with Wire(self.server.port) as wire:
                            found = wire.send(request("POST", "/v1/jobs", fields, body, host=None) + request("GET", "/healthz"), "POST", "GET").rest()
                        self.assertEqual([answer.status for answer in found], [400], (name, first, second))
                        self.assertIn(name.encode(), found[0].body)
        self.assertEqual(self.submitted(), before)
        self.server.submit("squares")
        self.assertNotEqual(self.submitted(), before, "what is counted here is not what requests submit")
        # Of others, which are lists or nobody's, there may be many.
        for name in ("Accept", "If-None-Match", "Prefer", "X-Trace", "Via", "Cache-Control"):
            self.assertEqual(self.ask("GET", "/v1/tasks", (name, "a"), (name, "b")).status, 200, name)

    def settings(self):
        """What a request could have changed."""
        queue, pool = self.server.get("/v1/queues/default").json, self.server.get("/v1/pools/thread").json
        return self.submitted(), queue["paused"], queue["limit"], pool["capacity"]

    def submitted(self):
        return [line for line in self.server.get("/metrics").body.splitlines() if line.startswith(b"spindle_jobs_submitted_total")]

    # Content

    def test_media_types_may_have_blanks_and_parameters(self):
        for value, status in (
                ("application/json\t;charset=utf-8", 200), ("application/json ; charset=utf-8", 200), ("Application/JSON;a=b", 200),
                ("application/problem+json", 200), ("text/plain", 415), ("application/x-www-form-urlencoded", 415), ("", 415),
                ("application/jsonx", 415), ("multipart/form-data", 415)):
            answer = self.ask("POST", "/v1/run/squares", ("Content-Type", value), ("Content-Length", 7), body=b'{"n":3}')
            self.assertEqual(answer.status, status, value)
            if status == 415:
                self.assertEqual(answer.fields["accept"], "application/json")

    def test_a_coded_body_is_told_which_codings_there_are(self):
        for coding, status in (("gzip", 415), ("identity", 200), ("Identity", 200), ("br, identity", 415)):
            answer = self.ask("POST", "/v1/run/squares", ("Content-Type", "application/json"), ("Content-Encoding", coding),
                              ("Content-Length", 7), body=b'{"n":3}')
            self.assertEqual(answer.status, status, coding)
            self.assertEqual(answer.fields.get("accept-encoding"), "identity" if status == 415 else None)

    def test_a_body_that_is_needed_has_a_length(self):
        for method, path in (("POST", "/v1/jobs"), ("PATCH", "/v1/queues/default"), ("PATCH", "/v1/pools/thread")):
            self.assertEqual(self.ask(method, path).status, 411, path)
        self.assertEqual(self.ask("POST", "/v1/jobs", ("Content-Length", "0")).status, 400)
        self.assertEqual(self.ask("POST", "/v1/run/squares?timeout=1s").status, 200)  # its input may be left out

    def test_a_method_that_is_not_there_is_told_those_that_are(self):
        for target, allow in (("/healthz", "GET, HEAD, OPTIONS"), ("/v1/jobs", "POST, GET, HEAD, OPTIONS"), ("/app.js", "GET, HEAD, OPTIONS"),
                              ("/v1/queues/default", "GET, PATCH, HEAD, OPTIONS")):
            answer = self.ask("PUT", target)
            self.assertEqual((answer.status, answer.fields["allow"]), (405, allow))
            answer = self.ask("OPTIONS", target)
            self.assertEqual((answer.status, answer.fields["allow"]), (204, allow))
        self.assertEqual(self.ask("PUT", "/nothing").status, 404)
        self.assertEqual(self.ask("BREW", "/v1/jobs").status, 501)
        self.assertEqual(self.ask("OPTIONS", "*").status, 204)

    def test_what_is_named_is_wanted_more_than_what_a_range_includes(self):
        for accept, kind in (
                ("text/event-stream, */*", "text/event-stream"), ("*/*, text/event-stream", "text/event-stream"),
                ("text/event-stream;q=0.5, */*", "application/json"), ("application/x-ndjson,\ttext/*;q=0.9", "application/x-ndjson"),
                ("*/*", "application/json"), ("application/json, text/event-stream", "application/json"), ("", "application/json"),
                ("text/*", "text/event-stream"), ("*/*;q=0.1, text/event-stream;q=0", "application/json")):
            answer = self.ask("POST", "/v1/jobs", ("Accept", accept), ("Content-Type", "application/json"), ("Content-Length", 36),
                              body=b'{"task": "squares", "input":{"n":3}}')
            self.assertEqual(answer.fields["content-type"], kind, accept)

    # Conditions

    def finished(self):
        job = self.server.submit("squares", {"n": 3})
        self.server.wait(job)
        return f"/v1/jobs/{job}", self.server.get(f"/v1/jobs/{job}").headers["etag"]

    def test_if_none_match_compares_weakly_and_knows_any(self):
        path, tag = self.finished()
        for value in (tag, "W/" + tag, f'"a", {tag}', f'W/"a,b" ,W/{tag}', f'"a,{tag[1:-1]}",\t{tag}', "*"):
            for method in ("GET", "HEAD"):
                answer = self.ask(method, path, ("If-None-Match", value))
                self.assertEqual((answer.status, answer.fields["etag"], answer.body), (304, tag, b""), value)
        for value in ('"a"', tag[1:-1], "W/" + tag[1:], f'"a,{tag[1:]}'):
            self.assertEqual(self.ask("GET", path, ("If-None-Match", value)).status, 200, value)
        two = self.ask("GET", path, ("If-None-Match", '"a"'), ("If-None-Match", tag))
        self.assertEqual(two.status, 304)

    def test_if_match_is_honoured_before_anything_happens(self):
        job = self.server.submit("squares", {"n": 3}, delay="1h")
        path = f"/v1/jobs/{job}"
        tag = self.server.get(path).headers["etag"]
        for value in ('"a"', "W/" + tag, "a", ""):
            for method, target in (("GET", path), ("DELETE", path), ("POST", path + "/cancel"), ("POST", path + "/retry")):
                self.assertEqual(self.ask(method, target, ("If-Match", value)).status, 412, (method, value))
        self.assertEqual(self.ask("DELETE", path, ("If-None-Match", "*")).status, 412)
        self.assertEqual(self.ask("DELETE", path, ("If-None-Match", "W/" + tag)).status, 412)
        self.assertEqual(self.ask("GET", path + "/events", ("If-Match", tag)).status, 412)
        self.assertEqual(self.ask("PATCH", "/v1/pools/thread", ("If-Match", '"a"'), ("Content-Type", "application/json"), ("Content-Length", 14),
                                  body=b'{"capacity":1}').status, 412)
        self.assertEqual(self.server.get("/v1/pools/thread").json["capacity"], 2)
        self.assertEqual(self.server.get(path).json["state"], "scheduled")
        self.assertEqual(self.ask("GET", path, ("If-Match", "*")).status, 200)
        self.assertEqual(self.ask("DELETE", path, ("If-Match", f'"a", {tag}')).status, 200)
        self.assertEqual(self.server.get(path).json["state"], "cancelled")

    # What may be kept, and how long one waits

    def test_nothing_about_jobs_may_be_kept(self):
        path, tag = self.finished()
        for method, target, fields in (
                ("GET", path, ()), ("GET", "/v1/jobs", ()), ("GET", path + "/result", ()), ("GET", path + "/events", (("Accept", "application/json"),)),
                ("GET", path + "/log", ()), ("GET", "/v1/timeline", ()), ("GET", "/v1/errors", ()), ("GET", "/v1/queues", ()), ("GET", "/metrics", ()),
                ("POST", "/v1/run/squares?timeout=x", ()), ("DELETE", path, ()), ("GET", "/v1/jobs/nothing", ()), ("GET", path, (("If-None-Match", tag),)),
                ("GET", path + "/events", (("Accept", "text/event-stream"), ("Last-Event-ID", "99"))), ("GET", "/%zz", ()), ("HEAD", path, ())):
            self.assertEqual(self.ask(method, target, *fields).fields["cache-control"], "no-store", (method, target))
        answer = self.ask("POST", "/v1/run/squares", ("Content-Type", "application/json"), ("Content-Length", 7), body=b'{"n":3}')
        self.assertEqual((answer.status, answer.fields["cache-control"]), (200, "no-store"))
        self.assertEqual(self.ask("GET", "/app.js").fields["cache-control"], "no-cache")

    def test_lines_and_logs_that_are_silent_get_an_empty_line(self):
        job = self.server.submit("sleep", {"seconds": 60}, queue="silent", delay="60s")
        wires = []
        for target, accept in ((f"/v1/jobs/{job}/events", "application/x-ndjson"), (f"/v1/jobs/{job}/events", "text/event-stream"),
                               (f"/v1/jobs/{job}/log", "*/*"), ("/v1/events?task=pi", "application/x-ndjson")):
            wires.append(Wire(self.server.port).send(request("GET", target, self.authorized(("Accept", accept))), "GET"))
        for wire, sign in zip(wires, (b"\r\n1\r\n\n\r\n", b"\r\n: still here\n\n\r\n", b"\r\n1\r\n\n\r\n", b"\r\n1\r\n\n\r\n")):
            with wire:
                wire.until(sign)
        self.server.ask("DELETE", f"/v1/jobs/{job}")

    # Queries

    def test_parameters_and_labels_have_the_same_bounds_in_a_query_as_in_a_body(self):
        def run(query):
            return self.ask("POST", "/v1/run/squares?" + query, ("Content-Type", "application/json"), ("Content-Length", 7), body=b'{"n":3}')

        for query, pointer in (
                ("label.a=1&label.a=2", "/label.a"), ("priority=1&priority=1", "/priority"), ("label.a=" + "x" * 201, "/labels/a"),
                ("label." + "a" * 201 + "=1", "/labels/" + "a" * 201), ("label.=1", "/labels/"), ("&".join(f"label.l{n}=1" for n in range(33)), "/labels"),
                ("priority=101", "/priority"), ("queue=" + "q" * 65, "/queue"), ("prio=1", "/prio")):
            answer = run(query)
            self.assertEqual((answer.status, answer.json["errors"][0]["pointer"]), (422, pointer), query[:60])
        self.assertEqual(run("&".join(f"label.l{n}=%C3%A9" for n in range(32))).status, 200)
        for query in ("limit=1&limit=2", "label.a=1&label.a=1", "state=running&state=queued"):
            self.assertEqual(self.ask("GET", "/v1/jobs?" + query).status, 422, query)
        for members in ({"": "1"}, {"a" * 201: "1"}, {"a": "x" * 201}, {f"l{n}": "1" for n in range(33)}):
            answer = self.server.ask("POST", "/v1/jobs", {"task": "squares", "input": {"n": 3}, "labels": members})
            self.assertEqual(answer.status, 422, members)

    def test_a_parameter_that_a_route_does_not_take_is_refused_by_name_on_every_route(self):
        paths = self.server.get("/openapi.json").json["paths"]
        job = self.server.submit("squares", {"n": 3}, delay="1h")
        before = self.settings()
        names = {"{id}": job, "{task}": "squares", "{queue}": "default", "{pool}": "thread"}
        bodies = {"/v1/jobs": b'{"task":"squares"}', "/v1/jobs/{id}/signal": b'{"signal":"KILL"}', "/v1/queues/{queue}": b'{"paused":true}',
                  "/v1/pools/{pool}": b'{"capacity":1}'}
        tried = 0
        for path, operations in paths.items():
            if not path.startswith("/v1/"):
                continue
            target = path
            for name, value in names.items():
                target = target.replace(name, value)
            for method in operations:
                body = bodies.get(path, b"") if method in ("post", "patch") else b""
                fields = [("Content-Type", "application/json"), ("Content-Length", len(body))] if body else []
                known = "&".join(parameter["name"] + "=" for parameter in operations[method].get("parameters", []) if parameter["in"] == "query")
                for query, pointer in (("Limit=1", "/Limit"), ("x", "/x"), ("l%69mits=1", "/limits"), (known + "&tasks=1", "/tasks"),
                                       ("%CC%81label.a=1", "/\u0301label.a"), ("label=1", "/label"), ("=1", "/")):
                    answer = self.ask(method.upper(), f"{target}?{query}", *fields, body=body)
                    self.assertEqual(answer.status, 422, (method, target, query, answer.body))
                    self.assertEqual([error["pointer"] for error in answer.json["errors"]], [pointer], (method, target, query))
                    tried += 1
        self.assertGreater(tried, 150)
        self.assertEqual(self.settings(), before)
        self.assertEqual(self.server.get(f"/v1/jobs/{job}").json["state"], "scheduled")
        # Known names may be escaped, and an empty query says nothing.
        for target in ("/v1/jobs?l%69mit=1", "/v1/tasks?", "/v1/tasks?&&", "/v1/jobs?label.%CC%81a=1", "/metrics?name=x", "/?utm=1", "/app.js?v=1"):
            self.assertEqual(self.ask("GET", target).status, 200, target)
        self.server.ask("DELETE", f"/v1/jobs/{job}")

    # Who leaves

    def test_a_run_with_a_key_goes_on_without_its_client_and_the_retry_gets_the_result(self):
        body = b'{"seconds":2}'
        fields = self.authorized(("Content-Type", "application/json"), ("Content-Length", len(body)), ("Idempotency-Key", '"run-1"'))
        with Wire(self.server.port) as wire:
            wire.send(request("POST", "/v1/run/sleep?label.who=keyed", fields, body), "POST")
            for event in self.all_events("keyed"):
                if event["type"] == "started":
                    break
        answer = self.ask("POST", "/v1/run/sleep?label.who=keyed", *fields[1:], body=body)
        self.assertEqual((answer.status, answer.fields["idempotent-replay"]), (200, "true"), answer.body)
        self.assertEqual(self.server.get("/v1/jobs/" + answer.fields["spindle-job"]).json["attempt"], 1)
        again = self.ask("POST", "/v1/run/sleep?label.who=keyed", *fields[1:], body=body)
        self.assertEqual((again.status, again.body), (200, answer.body))

    def all_events(self, who):
        """The events of the first job with this label, once it is there."""
        jobs = asking(lambda: self.server.get(f"/v1/jobs?label.who={who}").json["jobs"], "the job does not come")
        return self.server.events(jobs[0]["id"])


class TagTests(unittest.TestCase):
    def test_a_tag_of_a_live_job_names_nothing_after_a_crash(self):
        server = Server("--processes", "1", "--no-auth")
        self.addCleanup(server.stop)
        job = server.submit("sleep", {"seconds": 600}, delay="1h")
        done = server.submit("squares", {"n": 3})
        server.wait(done)
        live, ended = (server.get(f"/v1/jobs/{one}").headers["etag"] for one in (job, done))
        server.kill()
        server.start()
        self.assertEqual(server.get(f"/v1/jobs/{job}", If_None_Match=live).status, 200)
        self.assertEqual(server.get(f"/v1/jobs/{done}", If_None_Match=ended).status, 304)


if __name__ == "__main__":
    unittest.main()
