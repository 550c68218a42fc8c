"""Behind nginx and haproxy that keep their connections: nobody gets what was meant for somebody else, and what is refused has no effect."""
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import unittest

from server import PATIENCE, Server
from wire import Wire, request

NGINX = """
daemon off; master_process off; pid {home}/nginx.pid; error_log {home}/nginx.log;
events {{ worker_connections 256; }}
http {{
    access_log off; client_body_temp_path {home}/b; proxy_temp_path {home}/p; fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
    upstream spindle {{ server 127.0.0.1:{server}; keepalive 1; }}
    server {{
        listen {listen};
        location / {{ proxy_pass http://spindle; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
                      proxy_next_upstream off; proxy_request_buffering off; }}
    }}
}}
"""

HAPROXY = """
defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    http-reuse always
frontend front
    bind {listen}
    default_backend back
backend back
    option httpchk GET /healthz
    server one 127.0.0.1:{server} check inter 100ms pool-max-conn 1
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class ProxyTests(unittest.TestCase):
    def setUp(self):
        self.server = Server("--store", "memory")
        self.addCleanup(self.server.stop)
        self.home = tempfile.TemporaryDirectory()
        self.addCleanup(self.home.cleanup)

    def proxy(self, name, text, line, listen):
        """Starts a proxy; its port, once it serves."""
        if not (program := shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")):
            self.skipTest(f"{name} is not installed; docker/install-packages test brings it")
        port = free_port()
        path = pathlib.Path(self.home.name, name + ".conf")
        path.write_text(text.format(home=self.home.name, server=self.server.port, listen=listen.format(port=port)))
        log = open(f"{self.home.name}/{name}.out", "w")
        self.addCleanup(log.close)
        process = subprocess.Popen([program, *line, str(path)], stdout=log, stderr=log, cwd=self.home.name)
        self.addCleanup(process.wait, PATIENCE)
        self.addCleanup(process.terminate)
        deadline = time.monotonic() + PATIENCE
        while not self.serves(port):
            self.assertLess(time.monotonic(), deadline)
            self.assertIsNone(process.poll(), pathlib.Path(log.name).read_text())
        return port

    def serves(self, port):
        try:
            with Wire(port) as wire:
                return wire.send(request("GET", "/healthz", [("Connection", "close")]), "GET").rest()[0].status == 200
        except OSError:
            return False

    def check(self, port):
        server = self.server
        job = server.submit("sleep", {"seconds": 600})
        next(event for event in server.events(job) if event["type"] == "started")
        pid = server.process.pid
        token = ("Authorization", "Bearer " + server.token)
        refused = [  # method, target, host, fields, status
            ("DELETE", f"/v1/jobs/{job}", "localhost", [], 401), ("GET", f"/v1/jobs/{job}", "localhost", [], 401),
            ("HEAD", f"/v1/jobs/{job}", "localhost", [], 401), ("POST", f"/v1/jobs/{job}/cancel", "localhost", [("Content-Length", "0")], 401),
            ("POST", f"/v1/jobs/{job}/retry", "localhost", [token, ("Origin", "http://evil.example")], 403),
            ("DELETE", f"/v1/jobs/{job}", "localhost", [token, ("Sec-Fetch-Site", "cross-site")], 403),
            ("DELETE", f"/v1/jobs/{job}", "evil.example", [token], 421), ("GET", "/v1/tasks", "evil.example", [token], 421),
            ("POST", "/v1/run/squares", "localhost", [("Content-Type", "application/json"), ("Content-Length", "7")], 401),
        ]
        for turn in range(5):
            for method, target, host, fields, status in refused:
                body = b'{"n":3}' if ("Content-Length", "7") in fields else b""
                with Wire(port) as villain:
                    found = villain.send(request(method, target, [*fields, ("Connection", "close")], body, host), method).rest()
                    self.assertEqual([answer.status for answer in found], [status], (method, target))
                # Somebody else, over the same connection to the server.
                with Wire(port) as other:
                    asked = request("GET", f"/v1/jobs?turn{turn}=1", [token]) + request("GET", "/v1/tasks/squares", [token, ("Connection", "close")])
                    found = other.send(asked, "GET", "GET").rest()
                    self.assertEqual([answer.status for answer in found], [422, 200])
                    self.assertEqual(found[1].json["name"], "squares")
        jobs = server.get("/v1/jobs").json["jobs"]
        self.assertEqual([(one["id"], one["state"]) for one in jobs], [(job, "running")])
        self.assertEqual(pid, server.process.pid)

    def test_behind_nginx(self):
        self.check(self.proxy("nginx", NGINX, ["-p", self.home.name, "-c"], "127.0.0.1:{port}"))

    def test_behind_haproxy(self):
        self.check(self.proxy("haproxy", HAPROXY, ["-db", "-f"], "127.0.0.1:{port}"))


if __name__ == "__main__":
    unittest.main()
