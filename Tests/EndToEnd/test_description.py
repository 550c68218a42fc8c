"""`/openapi.json` is what clients are made from: names stay, and what it says of a route is what the route does."""
import json
import re

from server import Server, ServerTest

# Functions in other people's programs are called so. New ones may come; none of these may go or mean something else.
OPERATIONS = {
    "GET /": "getDashboard", "GET /healthz": "isAlive", "GET /metrics": "getMetrics", "GET /openapi.json": "getDescription",
    "GET /readyz": "isReady", "GET /v1/errors": "listErrors", "GET /v1/events": "followEvents", "GET /v1/jobs": "listJobs",
    "POST /v1/jobs": "submitJob", "GET /v1/jobs/{id}": "getJob", "DELETE /v1/jobs/{id}": "deleteJob",
    "POST /v1/jobs/{id}/cancel": "cancelJob", "GET /v1/jobs/{id}/events": "getEvents", "GET /v1/jobs/{id}/log": "getLog",
    "GET /v1/jobs/{id}/result": "getResult", "POST /v1/jobs/{id}/resume": "resumeJob", "POST /v1/jobs/{id}/retry": "retryJob",
    "POST /v1/jobs/{id}/signal": "signalJob", "POST /v1/jobs/{id}/stdin": "writeInput",
    "POST /v1/jobs/{id}/suspend": "suspendJob", "GET /v1/pools": "listPools", "GET /v1/pools/{pool}": "getPool",
    "PATCH /v1/pools/{pool}": "changePool", "GET /v1/queues": "listQueues", "GET /v1/queues/{queue}": "getQueue",
    "PATCH /v1/queues/{queue}": "changeQueue", "POST /v1/run/{task}": "runTask", "DELETE /v1/session": "signOut",
    "GET /v1/tasks": "listTasks", "GET /v1/tasks/{task}": "getTask", "GET /v1/timeline": "getTimeline",
}


class DescriptionTests(ServerTest):
    def setUp(self):
        self.description = self.server.get("/openapi.json").json
        self.operations = {
            f"{method.upper()} {path}": operation for path, operations in self.description["paths"].items()
            for method, operation in operations.items()}

    def test_operations_keep_their_names(self):
        named = {route: operation["operationId"] for route, operation in self.operations.items()}
        self.assertEqual({route: named.get(route) for route in OPERATIONS}, OPERATIONS)
        self.assertEqual(len(set(named.values())), len(named), "a name is there twice")

    def test_every_answer_and_every_body_has_a_schema(self):
        for route, operation in self.operations.items():
            with self.subTest(route=route):
                for status, response in operation["responses"].items():
                    if status not in ("204", "303", "304"):
                        self.assertTrue(all("schema" in content for content in response["content"].values()), status)
                        self.assertTrue(response["content"], status)
                if "requestBody" in operation:
                    self.assertTrue(all("schema" in content for content in operation["requestBody"]["content"].values()))

    def test_every_reference_leads_somewhere(self):
        def references(value):
            if isinstance(value, dict):
                yield from [value["$ref"]] if "$ref" in value else []
                for member in value.values():
                    yield from references(member)
            elif isinstance(value, list):
                for element in value:
                    yield from references(element)
        schemas = {f"#/components/schemas/{name}" for name in self.description["components"]["schemas"]}
        used = set(references(self.description))
        self.assertEqual(used - schemas, set())
        # One that nothing leads to is dead.
        self.assertEqual(schemas - used, set())

    def test_what_is_described_as_a_jobs_name_is_taken_for_one(self):
        cursor = next(parameter["schema"]["pattern"] for parameter in self.operations["GET /v1/jobs"]["parameters"]
                      if parameter["name"] == "cursor")
        alphabet = "0123456789abcdefghijklmnopqrstuvwxyz"
        for first in alphabet:
            for rest in ("0" * 12, "z" * 12, "i" + "0" * 11, "0" * 11 + "u", "0" * 11):
                status = self.server.get(f"/v1/jobs?cursor={first}{rest}").status
                self.assertEqual(status == 200, re.match(cursor, first + rest) is not None, first + rest)

    def test_every_route_refuses_as_it_says(self):
        for route, operation in self.operations.items():
            method, path = route.split()
            if path == "/v1/events":
                continue
            address = path.replace("{id}", "0000000000000").replace("{", "").replace("}", "-of-nobody")
            answers = {}
            if "security" in operation:
                answers[401] = self.server.ask(method, address, token=False)
            if "{id}" in path or path in ("/v1/tasks/{task}", "/v1/queues/{queue}", "/v1/pools/{pool}") and method == "GET":
                answers[404] = self.server.ask(
                    method, address, {"signal": "TERM"} if path.endswith("/signal") else None)
            answers[421] = self.server.ask(method, address, headers={"Host": "elsewhere.example"})
            answers[403] = self.server.ask(method, address, headers={"Origin": "http://elsewhere.example"})
            if "requestBody" in operation:
                answers[415] = self.server.ask(method, address, "{}", headers={"Content-Type": "text/plain"})
            if operation.get("requestBody", {}).get("required"):
                bare = self.server.raw(f"{method} {address} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                                       f"Authorization: Bearer {self.server.token}\r\n\r\n".encode())
                self.assertTrue(bare.startswith(b"HTTP/1.1 411 "), (route, bare))
                self.assertIn("411", operation["responses"])
            for status, answer in answers.items():
                with self.subTest(route=route, status=status):
                    self.assertEqual(answer.status, status, answer.body)
                    self.assertIn(str(status), operation["responses"])
            with self.subTest(route=route, status=405):
                answer = self.server.ask("PUT", address)
                self.assertEqual(answer.status, 405)
                self.assertIn(method, answer.headers["allow"].split(", "))

    def test_a_token_is_spoken_of_only_where_one_is_asked_for(self):
        open_routes = {route for route, operation in self.operations.items() if "security" not in operation}
        self.assertEqual(open_routes, {"GET /", "GET /healthz", "GET /readyz"})
        self.assertIn("bearer", self.description["components"]["securitySchemes"])
        for route in self.operations:
            method, path = route.split()
            if method == "GET" and "{" not in path and path != "/v1/events":
                status = self.server.ask(method, path, token=False).status
                self.assertEqual(status == 401, route not in open_routes, route)
        server = Server("--no-auth", "--threads", "1", "--processes", "1", "--store", "memory")
        self.addCleanup(server.stop)
        text = json.dumps(server.get("/openapi.json").json)
        for word in ('"security"', "securitySchemes", '"401"', "bearer"):
            self.assertEqual(word in text, word == '"401"', word)  # the dashboard's, for a token that is none
