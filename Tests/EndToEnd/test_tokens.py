"""Who may do what: token files in every shape, and the sessions of browsers."""
import os
import pathlib
import pty
import re
import signal
import subprocess
import time
import unittest

from server import BINARY, PATIENCE
from test_files import NOBODY, HomeTest, serve
from waiting import asking, logged

ADMIN, READER, SUBMITTER, OTHER = "a" * 64, "b" * 40, "c" * 40, "d" * 64


class TokenTest(HomeTest):
    def write(self, text, mode=0o600):
        path = self.home / "tokens"
        path.unlink(missing_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return str(path)

    def status(self, server, token, method="GET", path="/v1/jobs", **more):
        return server.ask(method, path, headers={"Authorization": "Bearer " + token, **more}, token=False).status

    def scope(self, server, token):
        """What the server lets a token do."""
        if self.status(server, token) == 401:
            return None
        if server.ask("PATCH", "/v1/pools/thread", {"capacity": 1}, {"Authorization": "Bearer " + token}).status == 200:
            return "admin"
        run = server.ask("POST", "/v1/run/squares", {"n": 3}, {"Authorization": "Bearer " + token})
        return "submit" if run.status == 200 else "read"


class TokenFileTests(TokenTest):
    def test_blanks_tabs_carriage_returns_and_comments_mean_what_they_look_like(self):
        text = (f"# tokens\r\n\r\n  {ADMIN}\t # mine\r\n{READER}\tread\r\n{SUBMITTER} \t submit\t# of the laptop\n"
                f"\t#{OTHER}\n")
        server = self.server("--token-file", self.write(text))
        self.assertEqual(
            [self.scope(server, token) for token in (ADMIN, READER, SUBMITTER, OTHER)], ["admin", "read", "submit", None])
        for word in (READER + "\tread", READER + " read", "#" + OTHER):
            self.assertIn(self.status(server, word), (400, 401), word)

    def test_a_line_that_is_none_is_refused_by_its_number(self):
        cases = {
            f"{ADMIN}\n{READER} reader\n": "line 2", f"{ADMIN}\n\n{READER}\tread write\n": "line 3",
            f"{ADMIN}\nshort\n": "line 2", f"{ADMIN} Admin\n": "line 1", f"{ADMIN}\n{ADMIN} read\n": "line 2",
            f"{READER}\u00a0read\n{ADMIN}": "line 1", f"{READER}\x0bread\n{ADMIN}": "line 1",
            f"{READER} read\n": "admin", "": "admin", f"\ufeff{ADMIN}\n": "line 1"}
        for text, words in cases.items():
            code, said = serve("--listen", "127.0.0.1:0", "--store", "memory", "--token-file", self.write(text), TMPDIR=str(self.home))
            self.assertEqual(code, 2, (text, said))
            self.assertIn(words, said, text)

    def test_a_file_that_others_know_is_refused(self):
        def refused(path, words):
            code, said = serve("--listen", "127.0.0.1:0", "--store", "memory", "--token-file", path, TMPDIR=str(self.home))
            self.assertEqual(code, 2, said)
            self.assertIn(words, said)
        for mode in (0o640, 0o604, 0o620, 0o602):
            refused(self.write(ADMIN, mode), "chmod 600")
        os.mkfifo(self.home / "pipe", 0o600)
        refused(str(self.home / "pipe"), "no regular file")
        if os.geteuid() == 0:
            path = self.write(ADMIN)
            os.chown(path, NOBODY, NOBODY)
            refused(path, f"belongs to user {NOBODY}")

    def test_a_fresh_file_has_256_bits_and_one_owner(self):
        server = self.server()
        path = pathlib.Path(server.home.name, "state/spindle/token")
        self.assertRegex(path.read_text(), r"^[0-9a-f]{64}\n$")
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual([p.name for p in path.parent.glob("token*")], ["token"])

    def test_hang_up_reads_the_tokens_again_and_a_broken_file_changes_nothing(self):
        path = self.write(f"{ADMIN}\n{READER} read\n")
        server = self.server("--token-file", path, "--loops", "2")
        page = self.sign_in(server, READER)
        pathlib.Path(path).write_text(f"{ADMIN}\n{OTHER} submit\n")
        server.process.send_signal(signal.SIGHUP)
        asking(lambda: self.status(server, READER) == 401, "an old token still holds")
        self.assertEqual(self.scope(server, OTHER), "submit")
        # Who came with it has gone with it.
        self.assertEqual(server.ask("GET", "/v1/jobs", headers={"Cookie": page}, token=False).status, 401)
        pathlib.Path(path).write_text(f"{ADMIN}\n{OTHER} everything\n")
        server.process.send_signal(signal.SIGHUP)
        logged(server, "line 2")
        self.assertEqual(self.scope(server, OTHER), "submit")

    STREAMS = ("/v1/events", "/v1/events?every=20ms", "/v1/jobs/{job}/events", "/v1/jobs/{job}/log")

    def streams(self, server, job, **headers):
        """Open streams of each kind; each has said something, or will."""
        opened = []
        for path in self.STREAMS:
            connection = server.connect()
            self.addCleanup(connection.close)
            connection.request("GET", path.format(job=job), headers={"Accept": "application/x-ndjson, text/plain", **headers})
            response = connection.getresponse()
            self.assertEqual(response.status, 200)
            opened.append(response)
        return opened

    def test_streams_of_those_who_may_not_read_any_more_end(self):
        path = self.write(f"{ADMIN}\n{READER} read\n")
        server = self.server("--token-file", path, "--loops", "2")
        job = server.ask("POST", "/v1/jobs", {"task": "sleep", "input": {"seconds": 60}}, {"Authorization": "Bearer " + ADMIN}).json["id"]
        page, other = self.sign_in(server, ADMIN), self.sign_in(server, ADMIN)
        gone = self.streams(server, job, Authorization="Bearer " + READER)
        left = self.streams(server, job, Cookie=page)
        stay = self.streams(server, job, Authorization="Bearer " + ADMIN) + self.streams(server, job, Cookie=other)
        pathlib.Path(path).write_text(f"{ADMIN}\n")
        server.process.send_signal(signal.SIGHUP)
        for stream in gone:
            stream.read()  # to its end
        self.assertEqual(server.ask("DELETE", "/v1/session", headers={"Cookie": page}, token=False).status, 204)
        for stream in left:
            stream.read()
        server.ask("POST", f"/v1/jobs/{job}/cancel", headers={"Authorization": "Bearer " + ADMIN})
        for path, stream in zip(self.STREAMS * 2, stay):
            if "log" not in path:
                while b"cancelled" not in (line := stream.readline()):
                    self.assertTrue(line, path)

    def sign_in(self, server, token):
        return server.ask("GET", "/?token=" + token, token=False).headers["set-cookie"].split(";")[0]

    def test_every_client_takes_the_first_line_with_all_rights(self):
        for text in (f"# two\r\n{READER} read\r\n{ADMIN}\tadmin\r\n{OTHER}\n", f"\n{ADMIN} # one\n"):
            path = self.write(text)
            server = self.server("--token-file", path)
            bare = {"SPINDLE_TOKEN": ""}
            for command in (("pools",), ("run", "squares", '{"n":3}'), ("bench", "--duration", "50ms", "--connections", "1")):
                done = server.command(*command, "--token-file", path, env=bare)
                self.assertEqual(done.returncode, 0, (command, done.stderr))
            server.stop()

    def test_a_client_whose_file_is_broken_says_so(self):
        server = self.server()
        done = server.command("pools", "--token-file", self.write(f"{ADMIN} evrything\n"), env={"SPINDLE_TOKEN": ""})
        self.assertEqual(done.returncode, 2)
        self.assertIn("line 1", done.stderr)
        done = server.command("pools", "--token-file", str(self.home / "nowhere"), env={"SPINDLE_TOKEN": ""})
        self.assertEqual(done.returncode, 2)


class PrintedTests(TokenTest):
    def test_a_pipe_hears_where_the_token_is_and_not_what(self):
        path = self.write(f"# first\n{READER} read\n{ADMIN}\n")
        server = self.server("--token-file", path)
        printed = "\n".join(server.lines)
        for token in (ADMIN, READER):
            self.assertNotIn(token, printed)
            self.assertNotIn(token, pathlib.Path(server.log.name).read_text())
        self.assertRegex(server.lines[0], r"^listening on http://127.0.0.1:\d+$")
        self.assertEqual(server.lines[2], f"dashboard: {server.url}/")
        # The line works as it stands.
        line = server.lines[1].removeprefix("try: ").replace("10000000", "10")
        done = subprocess.run(["sh", "-c", line.replace("curl", "curl -s")], capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(done.stdout, '{"count":4,"largest":7}\n' if done.stdout.endswith("\n") else '{"count":4,"largest":7}')

    def test_a_terminal_shows_the_token_and_an_address_that_signs_in(self):
        path = self.write(f"{ADMIN}\n")
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            [BINARY, "serve", "--listen", "127.0.0.1:0", "--store", "memory", "--token-file", path], stdout=follower,
            stderr=subprocess.DEVNULL, env=dict(os.environ, TMPDIR=str(self.home)))
        os.close(follower)
        text = b""
        while b"dashboard:" not in text or not text.endswith(b"\n"):
            text += os.read(leader, 4096)
        process.terminate()
        self.assertEqual(process.wait(PATIENCE), 0)
        os.close(leader)
        self.assertIn(f"Authorization: Bearer {ADMIN}".encode(), text)
        self.assertIn(f"/?token={ADMIN}".encode(), text)

    def test_the_demo_tells_a_pipe_no_token(self):
        done = subprocess.run([BINARY, "demo", "--once"], capture_output=True, text=True, timeout=120, cwd=self.home,
                              env=dict(os.environ, TMPDIR=str(self.home)))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotRegex(done.stdout, r"[0-9a-f]{64}(?!\")")
        self.assertEqual(list(self.home.iterdir()), [])


class SessionTests(TokenTest):
    def cookie(self, server, token=None):
        return server.ask("GET", "/?token=" + (token or server.token), token=False).headers["set-cookie"]

    def visit(self, server, *cookies):
        return server.ask("GET", "/v1/jobs", headers={"Cookie": "; ".join(cookies)}, token=False).status

    def test_it_is_random_names_its_server_and_ends(self):
        server = self.server()
        first, second = self.cookie(server), self.cookie(server)
        self.assertRegex(first, r"^spindle_[0-9a-f]{16}=[0-9a-f]{64}; ")
        self.assertNotEqual(first.split(";")[0], second.split(";")[0])
        self.assertEqual(first.split("=")[0], second.split("=")[0])
        for word in ("HttpOnly", "SameSite=Strict", "Path=/"):
            self.assertIn(word, first)
        self.assertTrue(0 < int(re.search(r"Max-Age=(\d+)", first).group(1)) <= 31 * 24 * 3600)
        self.assertEqual([self.visit(server, cookie.split(";")[0]) for cookie in (first, second)], [200, 200])

    def test_two_servers_of_one_host_leave_each_other_signed_in(self):
        servers = [self.server(), self.server()]
        cookies = [self.cookie(server).split(";")[0] for server in servers]
        self.assertNotEqual(cookies[0].split("=")[0], cookies[1].split("=")[0])
        for server in servers:
            self.assertEqual(self.visit(server, *cookies), 200)
            self.assertEqual(self.visit(server, *reversed(cookies)), 200)
        self.assertEqual(self.visit(servers[0], cookies[1]), 401)

    def test_it_can_be_ended(self):
        server = self.server()
        first, second = (self.cookie(server).split(";")[0] for _ in range(2))
        out = server.ask("DELETE", "/v1/session", headers={"Cookie": first}, token=False)
        self.assertEqual(out.status, 204)
        self.assertIn("Max-Age=0", out.headers["set-cookie"])
        self.assertEqual([self.visit(server, first), self.visit(server, second)], [401, 200])
        self.assertEqual(server.ask("DELETE", "/v1/session").status, 409)
        self.assertEqual(server.ask("DELETE", "/v1/session", token=False).status, 401)

    def test_it_outlives_the_server_and_nothing_on_disk_is_worth_stealing(self):
        server = self.server()
        kept, ended = (self.cookie(server).split(";")[0] for _ in range(2))
        server.ask("DELETE", "/v1/session", headers={"Cookie": ended}, token=False)
        server.kill()
        server.start()
        self.assertEqual([self.visit(server, kept), self.visit(server, ended)], [200, 401])
        for path in pathlib.Path(server.store).parent.iterdir():
            if path.is_file():
                self.assertNotIn(kept.split("=")[1].encode(), path.read_bytes(), path.name)

    def test_it_may_do_what_its_token_may(self):
        server = self.server("--token-file", self.write(f"{ADMIN}\n{READER} read\n"))
        cookie = {"Cookie": self.cookie(server, READER).split(";")[0]}
        self.assertEqual(server.ask("GET", "/v1/jobs", headers=cookie, token=False).status, 200)
        self.assertEqual(server.ask("POST", "/v1/run/squares", {"n": 3}, cookie, token=False).status, 403)

    def test_it_expires(self):
        server = self.server()
        cookie = self.cookie(server).split(";")[0]
        server.end()
        path = pathlib.Path(server.store + ".sessions")
        head, line = path.read_text().splitlines()
        path.write_text(f"{head}\n{line.rsplit(' ', 1)[0]} {time.time_ns() + 2 * 10**9}\n")
        server.start()
        asking(lambda: self.visit(server, cookie) == 401, "a session goes on after its end")

    def test_browsers_that_sign_in_for_ever_take_no_memory_for_ever(self):
        server = self.server("--store", "memory")
        first = self.cookie(server).split(";")[0]
        for _ in range(1000):
            last = self.cookie(server).split(";")[0]
        self.assertEqual([self.visit(server, first), self.visit(server, last)], [401, 200])


if __name__ == "__main__":
    unittest.main()
