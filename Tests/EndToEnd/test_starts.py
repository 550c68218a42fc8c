"""Starts with many jobs: when it listens, what it says meanwhile, in which order they go on, and what it writes."""
import http.client
import json
import os
import pathlib
import random
import select
import shutil
import socket
import sqlite3
import struct
import subprocess
import tempfile
import time
import unittest

import stored
from server import PATIENCE, Answer, Server
from test_failing_calls import shim
from waiting import asking, held

# A million and two million take a while to make; so many as here every machine can do.
LIVE = int(os.environ.get("SPINDLE_LIVE", 20_000))
FINISHED = int(os.environ.get("SPINDLE_FINISHED", 20_000))
KEPT = ("--threads", "1", "--processes", "1", "--keep-jobs", "100000000", "--live-bytes", "0")


def filled(case, *arguments, **what):
    """A server that has ended, with a store full of jobs."""
    server = Server(*(arguments or KEPT), **what.pop("server", {}))
    case.addCleanup(server.stop)
    server.end()
    stored.fill(server.store, **what)
    return server


class StartTests(unittest.TestCase):
    def test_a_start_without_changes_writes_nothing(self):
        server = filled(self, live=LIVE, finished=FINISHED)
        before = stored.contents(server.store)
        for way in (server.kill, server.end):
            begun = time.monotonic()
            server.start()
            self.assertEqual(server.get("/healthz").status, 200)
            listening = time.monotonic() - begun
            page = self.jobs(server, "limit=500")
            answered = time.monotonic() - begun
            self.assertEqual(len(page), min(LIVE + FINISHED, 500))
            self.assertEqual(server.get("/readyz").status, 200)
            metrics = server.get("/metrics").body.decode()
            self.assertIn("\nspindle_ready 1\n", metrics)
            self.assertIn(f"\nspindle_jobs_live {LIVE}\n", metrics)
            print(f"{LIVE} live, {FINISHED} finished: listening after {listening:.2f} s, jobs after {answered:.2f} s: ",
                  end="", flush=True)
            way()
            self.assertEqual(stored.contents(server.store), before, "a start without changes has written")

    def gated(self, **what):
        """A server that has ended, and what holds up its next starts as they read the first of its jobs."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        gates = directory.name + "/gates"
        os.mkdir(gates)
        env = {"LD_PRELOAD": shim(directory.name, "holding"), "SPINDLE_GATES": gates}
        server = filled(self, server={"env": env}, **what)
        store = sqlite3.connect(server.store)
        page = store.execute("SELECT rootpage FROM sqlite_master WHERE name = 'live'").fetchone()[0]
        size = store.execute("PRAGMA page_size").fetchone()[0]
        store.close()
        return server, lambda: held(gates, f"read-{(page - 1) * size}")

    def starting(self, server):
        """It says that it is not ready yet."""
        ready = server.get("/readyz")
        self.assertEqual((ready.status, ready.json["type"]), (503, "/problems/starting"))
        self.assertGreaterEqual(int(ready.headers["retry-after"]), 1)
        self.assertIn("\nspindle_ready 0\n", server.get("/metrics").body.decode())

    def test_it_listens_before_all_jobs_are_there_and_who_asks_for_them_waits(self):
        server, reading_held = self.gated(live=LIVE, finished=FINISHED)
        before = stored.contents(server.store)
        for way in (server.kill, server.end):
            with reading_held() as arrived:
                server.start()
                arrived()
                self.assertEqual(server.get("/healthz").status, 200)
                waiting = self.send(server, "GET", "/v1/jobs?limit=500")
                asking(lambda: self.is_read(server, waiting), "the request is not read")
                self.starting(server)
                self.assertEqual(select.select([waiting], [], [], 0)[0], [], "who asks for jobs that are not there is answered")
            # Kept waiting, or told when to come again, but never told anything wrong.
            answer = self.answer(waiting)
            if answer.status != 200:
                self.assertEqual((answer.status, answer.json["type"]), (503, "/problems/starting"))
            self.assertEqual(len(self.jobs(server, "limit=500")), min(LIVE + FINISHED, 500))
            self.assertEqual(server.get("/readyz").status, 200)
            way()
            self.assertEqual(stored.contents(server.store), before, "a start without changes has written")

    def test_who_has_waited_for_long_is_told_when_to_come_again(self):
        server, reading_held = self.gated(live=LIVE)
        with reading_held() as arrived:
            server.start()
            arrived()
            page = server.get("/v1/jobs?limit=500")
            self.assertEqual((page.status, page.json["type"]), (503, "/problems/starting"))
            self.assertGreaterEqual(int(page.headers["retry-after"]), 1)
            self.starting(server)
        self.assertEqual(len(self.jobs(server, "limit=500")), min(LIVE, 500))

    def test_a_stop_before_all_jobs_are_there_leaves_them_as_they_are(self):
        server, reading_held = self.gated(live=LIVE)
        before = stored.contents(server.store)
        with reading_held() as arrived:
            server.start()
            arrived()
            waiting = self.send(server, "GET", "/v1/jobs?limit=1")
            asking(lambda: self.is_read(server, waiting), "the request is not read")
            self.starting(server)
            server.process.terminate()
            answer = self.answer(waiting)
            self.assertEqual((answer.status, answer.json["type"]), (503, "/problems/draining"))
        self.assertEqual(server.end(), 0)
        self.assertEqual(stored.contents(server.store), before)

    def test_a_request_whose_client_has_left_before_the_jobs_were_there_has_no_effect(self):
        server, reading_held = self.gated(live=LIVE)
        with reading_held() as arrived:
            server.start()
            arrived()
            leaving = [self.send(server, "POST", "/v1/run/squares?queue=gone", b'{"n":1}') for _ in range(10)]
            for connection in leaving:
                asking(lambda: self.is_read(server, connection), "the request is not read")
                # Gone, and not only done with sending: for that it would get its answer.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()
            # Of them all but the one that asks.
            alone = "\nspindle_http_connections 1\n"
            asking(lambda: alone in server.get("/metrics").body.decode(), "the server has not heard that they have left")
            self.starting(server)
        self.assertEqual(self.jobs(server, "queue=gone"), [])
        self.assertEqual(server.ask("POST", "/v1/run/squares?queue=here", {"n": 2}).status, 200)
        self.assertEqual(len(self.jobs(server, "queue=here")), 1)

    def jobs(self, server, query):
        """A page of the list, as soon as there is one."""
        def page():
            answer = server.get("/v1/jobs?" + query)
            if answer.status == 503:
                self.assertEqual(answer.json["type"], "/problems/starting")
                self.assertIn("retry-after", answer.headers)
                return None
            self.assertEqual(answer.status, 200)
            return answer
        # Each of them may wait itself.
        return asking(page, "the jobs do not come", within=10 * PATIENCE).json["jobs"]

    def answer(self, connection):
        """What comes by a connection of `send`."""
        with connection:
            response = http.client.HTTPResponse(connection)
            response.begin()
            return Answer(response)

    def is_read(self, server, connection):
        """Whether the server has read all that was sent to it. Source: proc(5), /proc/net/tcp."""
        ends = ["0100007F:%04X" % port for port in (server.port, connection.getsockname()[1])]
        sockets = (line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:])
        return any(fields[1:3] == ends and fields[4].endswith(":00000000") for fields in sockets)

    def test_jobs_go_on_in_their_order_whenever_they_were_read(self):
        script = 'echo "$SPINDLE_JOB" >> order'
        config = f'[commands.note]\ncommand = ["sh", "-c", {json.dumps("cd $0; " + script)}, "@HOME@"]\n'
        server = Server("--config", "c.toml", "--processes", "1", "--threads", "1", files={"c.toml": config})
        self.addCleanup(server.stop)
        server.end()
        config = pathlib.Path(server.home.name, "c.toml")
        config.write_text(config.read_text().replace("@HOME@", server.home.name))
        stored.fill(server.store, live=100, task="note", pool="process", paused=False)
        store = sqlite3.connect(server.store)
        store.execute("DELETE FROM live WHERE key IS NOT NULL OR due_at IS NOT NULL")
        store.commit()
        rows = store.execute("SELECT id FROM live ORDER BY priority DESC, id").fetchall()
        store.close()
        server.start()
        order = pathlib.Path(server.home.name, "order")
        asking(lambda: not self.jobs(server, "state=queued,running&limit=1"), "they do not end")
        self.assertEqual(order.read_text().split(), [text(row[0]) for row in rows])

    def send(self, server, method, path, body=b""):
        """A request on a connection of its own, whose answer nobody has read yet."""
        connection = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
        connection.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        return connection


def text(number):
    """A job's id as clients see it."""
    return "".join("0123456789abcdefghjkmnpqrstvwxyz"[number >> (60 - 5 * n) & 31] for n in range(13))


class ForeignRowTests(unittest.TestCase):
    """Whatever stands in whichever column: a good job, or a clear error that says where it is."""

    values = ["'x'", "''", "x'00ff'", "1.5", "-1", "-9223372036854775808", "9223372036854775807", "NULL", "'[[['", "'{}'"]

    def columns(self, store, table):
        return [row[1] for row in store.execute(f"PRAGMA table_info({table})") if row[1] != "id"]

    def put(self, store, table, column, value):
        """Whether it is taken: some columns refuse to be empty."""
        try:
            with store:
                store.execute(f"UPDATE {table} SET {column} = {value}")
            return True
        except sqlite3.IntegrityError:
            return False

    def test_a_live_row_of_which_something_is_foreign_goes_on_or_ends_the_start_with_its_place(self):
        server = filled(self, live=1, paused=False)
        store = sqlite3.connect(server.store)
        self.addCleanup(store.close)
        store.execute("UPDATE live SET not_before = NULL, due_at = NULL")
        good = store.execute("SELECT * FROM live").fetchone()
        cases = [("live", column, value) for column in self.columns(store, "live") for value in self.values]
        cases += [("events", "events", value) for value in self.values]
        seed = int(os.environ.get("SPINDLE_SEED", time.time_ns() % 10**9))
        for table, column, value in random.Random(seed).sample(cases, int(os.environ.get("SPINDLE_FOREIGN", 25))):
            with self.subTest(f"{table}.{column} = {value}, SPINDLE_SEED={seed}"):
                with store:
                    for name in ("live", "events", "finished"):
                        store.execute(f"DELETE FROM {name}")
                    store.execute(f"INSERT INTO live VALUES ({','.join('?' * len(good))})", good)
                    if table == "events":
                        store.execute("INSERT INTO events VALUES (?,8,'[]')", (good[0],))
                if not self.put(store, table, column, value):
                    continue
                pathlib.Path(server.log.name).write_text("")
                check = server.command("store", "check")
                try:
                    server.start()
                    shown = server.get(f"/v1/jobs/{text(good[0])}")
                    self.assertEqual(shown.status, 200, shown.body)
                    self.assertEqual(shown.json["id"], text(good[0]))
                    self.assertEqual(server.end(), 0)
                    self.assertEqual(check.returncode, 0, check.stdout)
                except (RuntimeError, OSError):
                    self.assertEqual(server.process.wait(PATIENCE), 74)
                    said = pathlib.Path(server.log.name).read_text()
                    place = (f"table {table}", text(good[0]), f"column {column}")
                    for part in ("damaged", "`spindle store check` says more", *place):
                        self.assertIn(part, said)
                    # And so it does, by itself.
                    self.assertEqual(check.returncode, 1, said)
                    for part in place:
                        self.assertIn(part, check.stdout)
                    self.assertNotIn("says more", check.stdout + check.stderr)

    def test_a_job_whose_task_is_gone_is_there_all_the_while_it_ends(self):
        server = filled(self, live=1, paused=False)
        store = sqlite3.connect(server.store)
        self.addCleanup(store.close)
        store.execute("UPDATE live SET not_before = NULL, due_at = NULL, task = 'gone'")
        good = store.execute("SELECT * FROM live").fetchone()
        for _ in range(5):
            with store:
                store.execute("DELETE FROM live")
                store.execute("DELETE FROM finished")
                store.execute(f"INSERT INTO live VALUES ({','.join('?' * len(good))})", good)
            server.start()
            shown = server.get(f"/v1/jobs/{text(good[0])}")
            self.assertEqual(shown.status, 200, shown.body)
            self.assertEqual((shown.json["state"], shown.json["error"]["type"]), ("failed", "UnknownTask"))
            self.assertEqual(server.end(), 0)

    def test_a_finished_row_of_which_something_is_foreign_is_shown_or_refused_with_its_place(self):
        server = filled(self, finished=1)
        server.start()
        self.addCleanup(server.stop)
        store = sqlite3.connect(server.store, timeout=PATIENCE)
        self.addCleanup(store.close)
        good = store.execute("SELECT * FROM finished").fetchone()
        job = text(good[0])
        for column in self.columns(store, "finished"):
            for value in self.values:
                with self.subTest(f"{column} = {value}"):
                    with store:
                        store.execute("DELETE FROM finished")
                        store.execute(f"INSERT INTO finished VALUES ({','.join('?' * len(good))})", good)
                    if not self.put(store, "finished", column, value):
                        continue
                    for path in (f"/v1/jobs/{job}", "/v1/jobs", f"/v1/jobs/{job}/events"):
                        answer = server.get(path)
                        # What has ended long ago is forgotten.
                        self.assertIn(answer.status, (200, 404, 500) if column == "finished_at" else (200, 500), path)
                        if answer.status == 500:
                            self.assertIn(f"table finished, job {job}, column {column}", answer.json["detail"])


class DamageTests(unittest.TestCase):
    @unittest.skipUnless(shutil.which("strace") and subprocess.run(["strace", "-D", "-o", "/dev/null", "true"], capture_output=True).returncode == 0,
                         "nobody may be traced here")
    def test_damage_in_a_small_file_that_the_start_had_no_time_to_see_ends_the_server_with_74(self):
        server = filled(self, finished=2_000)
        store = sqlite3.connect(server.store)
        end, job = store.execute("SELECT finished_at, id FROM finished LIMIT 1 OFFSET 1000").fetchone()
        store.close()
        # An index out of its order: the look at the start comes late to what stands in pages, and looks at nothing else.
        data = pathlib.Path(server.store).read_bytes()
        self.assertEqual(data.count(struct.pack(">qq", end, job)), 1)
        pathlib.Path(server.store).write_bytes(data.replace(struct.pack(">qq", end, job), struct.pack(">qq", end * 2, job)))
        # A slow disk: two milliseconds for each of some hundred pages.
        server.line[:0] = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pread64", "-e",
                           "inject=pread64:delay_enter=2000"]
        try:
            server.start()
        except RuntimeError:
            pass  # it has ended before it said that it listens
        self.assertEqual(server.process.wait(PATIENCE), 74)
        self.assertIn("damaged", pathlib.Path(server.log.name).read_text())

    def test_damage_that_the_start_has_not_seen_ends_the_server_with_74(self):
        # More than is looked at wholly at the start.
        server = filled(self, finished=70)
        store = sqlite3.connect(server.store)
        with store:
            store.execute("UPDATE finished SET input = '\"' || hex(zeroblob(512 * 1024)) || '\"'")
        # The root of an index, at which the look at the start comes late, is no page any more.
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page = store.execute("SELECT rootpage FROM sqlite_master WHERE name = 'finished_by_end'").fetchone()[0]
        size = store.execute("PRAGMA page_size").fetchone()[0]
        store.close()
        with open(server.store, "r+b") as file:
            file.seek((page - 1) * size)
            file.write(os.urandom(size))
        try:
            server.start()
        except RuntimeError:
            pass  # it was fast enough to see it
        self.assertIn(server.process.wait(PATIENCE), (2, 74))
        self.assertIn("damaged", pathlib.Path(server.log.name).read_text())


if __name__ == "__main__":
    unittest.main()
