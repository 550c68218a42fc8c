"""What survives a restart, and how servers take over from each other."""
import fcntl
import http.client
import json
import os
import pathlib
import signal
import socket
import tempfile
import threading
import unittest

from server import PATIENCE, Server
from waiting import Seen, asking, begun, clock, logged


class RestartTests(unittest.TestCase):
    def setUp(self):
        self.server = Server("--threads", "2", "--processes", "1")
        self.addCleanup(self.server.stop)

    def restart(self):
        self.server.kill()
        self.server.start()

    def test_an_answer_says_what_it_is_worth(self):
        answer = self.server.ask("POST", "/v1/jobs", {"task": "squares"})
        self.assertEqual(answer.headers["spindle-durability"], "fsync")
        answer = self.server.ask("POST", "/v1/run/squares", {"n": 3})
        self.assertEqual(answer.headers["spindle-durability"], "fsync")
        self.assertRegex(answer.headers["server-timing"], r"store;dur=0?\.?\d*[1-9]")

    def test_a_finished_job_is_as_it_was(self):
        job = self.server.submit("squares", {"n": 100}, labels={"who": "me"}, timeout="30s", priority=3)
        before = self.server.wait(job)
        events = self.server.get(f"/v1/jobs/{job}/events", Accept="application/json").json
        self.restart()
        self.assertEqual(self.server.get(f"/v1/jobs/{job}").json, before)
        self.assertEqual(self.server.get(f"/v1/jobs/{job}/events", Accept="application/json").json, events)
        self.assertEqual(self.server.get(f"/v1/jobs/{job}/result").json, {"sum": 328350})
        self.assertEqual(self.server.ask("DELETE", f"/v1/jobs/{job}").status, 409)
        self.assertEqual([j["id"] for j in self.server.get("/v1/jobs").json["jobs"]], [job])

    def test_who_may_run_again_does_and_who_may_not_is_lost(self):
        again = self.server.submit("sleep", {"seconds": 0.5}, max_attempts=2)
        once = self.server.submit("sleep", {"seconds": 60})
        self.restart()
        done = self.server.wait(again)
        self.assertEqual((done["state"], done["attempt"]), ("succeeded", 2))
        lost = self.server.wait(once)
        self.assertEqual((lost["state"], lost["error"]["type"], lost["attempt"]), ("failed", "Lost", 1))

    def test_a_delayed_job_keeps_its_time(self):
        job = self.server.submit("squares", delay="1h")
        due = self.server.get(f"/v1/jobs/{job}").json["due_at"]
        soon = self.server.submit("squares", delay="700ms")
        self.restart()
        found = self.server.get(f"/v1/jobs/{job}").json
        self.assertEqual((found["state"], found["due_at"]), ("scheduled", due))
        self.assertEqual(self.server.wait(soon)["state"], "succeeded")

    def test_a_cancel_that_was_answered_is_not_forgotten(self):
        job = self.server.submit("sleep", {"seconds": 60}, max_attempts=5, pool="process")
        answer = self.server.ask("POST", f"/v1/jobs/{job}/cancel", {"grace": "1h"})
        self.assertIn(answer.status, (200, 202))
        self.restart()
        self.assertEqual(self.server.wait(job)["state"], "cancelled")

    def test_a_reader_goes_on_where_it_was(self):
        job = self.server.submit("sleep", {"seconds": 1}, max_attempts=3)
        seen = []
        stream = self.server.events(job)
        for event in stream:
            seen.append(event["seq"])
            if len(seen) == 9:
                break
        stream.close()
        self.restart()
        for event in self.server.events(job, Last_Event_ID=str(seen[-1])):
            first = event.get("from", event["seq"])
            self.assertLessEqual(first, seen[-1] + 1, "a hole without a gap")
            self.assertGreater(event["seq"], seen[-1], "a number was given twice")
            seen.append(event["seq"])
        self.assertEqual(event["type"], "succeeded")
        self.assertEqual(event["attempt"], 2)

    def test_an_idempotency_key_outlives_the_server(self):
        headers = {"Idempotency-Key": '"once"'}
        first = self.server.ask("POST", "/v1/jobs", {"task": "squares"}, headers)
        self.restart()
        again = self.server.ask("POST", "/v1/jobs", {"task": "squares"}, headers)
        self.assertEqual(again.json["id"], first.json["id"])
        self.assertEqual(again.headers["idempotent-replay"], "true")
        self.assertEqual(self.server.ask("POST", "/v1/jobs", {"task": "primes"}, headers).status, 422)
        result = self.server.ask("POST", "/v1/run/squares", {"n": 2}, {"Idempotency-Key": "run"})
        self.restart()
        replay = self.server.ask("POST", "/v1/run/squares", {"n": 2}, {"Idempotency-Key": "run"})
        self.assertEqual((replay.status, replay.json), (200, result.json))
        self.assertEqual(replay.headers["spindle-job"], result.headers["spindle-job"])

    def test_the_list_pages_over_live_and_finished_jobs(self):
        finished = [self.server.submit("squares") for _ in range(5)]
        for job in finished:
            self.server.wait(job)
        live = [self.server.submit("squares", delay="1h") for _ in range(5)]
        self.restart()
        seen, cursor = [], ""
        while cursor is not None:
            page = self.server.get(f"/v1/jobs?limit=3{cursor and '&cursor=' + cursor}").json
            seen += [job["id"] for job in page["jobs"]]
            cursor = page["next"]
        self.assertEqual(seen, (finished + live)[::-1])
        states = {job["state"] for job in self.server.get("/v1/jobs?state=scheduled").json["jobs"]}
        self.assertEqual(states, {"scheduled"})

    def test_a_store_has_one_server(self):
        with self.assertRaisesRegex(RuntimeError, f"in use by process {self.server.process.pid}"):
            Server("--store", self.server.store)

    def test_a_lock_that_a_killed_servers_child_still_has_is_waited_for(self):
        """A child that is being started has its server's descriptors until it runs its own program."""
        job = self.server.submit("squares", {"n": 3}, delay="1h")
        self.server.kill()
        left = [open(self.server.store + suffix, "rb") for suffix in (".lock", "")]
        for file in left:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        starting = threading.Thread(target=self.server.start)
        starting.start()
        for file in left:
            clock(0.3)
            file.close()
        starting.join(PATIENCE)
        self.assertEqual(self.server.get(f"/v1/jobs/{job}").json["state"], "scheduled")


class StoreCommandTests(unittest.TestCase):
    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.stop)

    def test_a_copy_of_a_store_in_use_serves(self):
        jobs = [self.server.submit("squares", {"n": n}) for n in range(1, 20)]
        results = [self.server.wait(job)["result"] for job in jobs]
        running = self.server.submit("sleep", {"seconds": 3600}, pool="process")
        begun(self.server, running)
        copy = self.server.home.name + "/copy.db"
        done = self.server.command("store", "backup", copy)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.server.command("store", "backup", copy).returncode, 1)
        self.assertEqual(self.server.command("store", "check", "--store", copy).returncode, 0)
        other = Server("--store", copy)
        self.addCleanup(other.stop)
        self.assertEqual([other.get(f"/v1/jobs/{job}/result").json for job in jobs], results)
        # What the original runs is none of the copy's: nobody has ended it.
        self.assertEqual(self.server.wait(self.server.submit("squares", {"n": 3}, pool="process"))["state"], "succeeded")
        job = self.server.get(f"/v1/jobs/{running}").json
        self.assertEqual((job["state"], job["attempt"]), ("running", 1))

    def test_stats_and_vacuum(self):
        for _ in range(3):
            self.server.wait(self.server.submit("squares"))
        figures = json.loads(self.server.command("store", "stats", "--json").stdout)
        self.assertEqual((figures["finished"]["succeeded"], figures["clean"]), (3, False))
        refused = self.server.command("store", "vacuum")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("in use", refused.stderr)
        self.server.end()
        self.assertEqual(self.server.command("store", "vacuum").returncode, 0)
        self.assertIn("all is well", self.server.command("store", "check").stdout)

    def test_a_damaged_file_is_refused_with_what_to_do(self):
        for _ in range(200):
            self.server.submit("squares")
        self.server.end()
        whole = pathlib.Path(self.server.store).read_bytes()
        damages = {
            "cut": whole[: len(whole) // 2],
            "no header": b"x" * 200 + whole[200:],
            "overwritten": whole[:8192] + os.urandom(len(whole) - 12288) + whole[-4096:],
        }
        for name, content in damages.items():
            path = f"{self.server.home.name}/{name.replace(' ', '-')}.db"
            pathlib.Path(path).write_bytes(content)
            with self.assertRaises(RuntimeError, msg=name) as caught:
                Server("--store", path)
            self.assertIn("damaged", str(caught.exception))
            self.assertIn("spindle store", str(caught.exception))
            self.assertEqual(pathlib.Path(path).read_bytes(), content, "a refused file was changed")
            self.assertEqual(self.server.command("store", "check", "--store", path).returncode, 1)


class DrainTests(unittest.TestCase):
    def test_a_running_job_finishes_and_a_waiting_one_is_kept(self):
        server = Server("--threads", "1")
        self.addCleanup(server.stop)
        running = server.submit("burn", {"milliseconds": 400})
        waiting = [server.submit("burn", {"milliseconds": 400}, queue="later") for _ in range(2)]
        self.assertEqual(server.end(), 0)
        server.start()
        self.assertEqual(server.get(f"/v1/jobs/{running}").json["state"], "succeeded")
        for job in waiting:
            self.assertEqual(server.wait(job)["attempt"], 1)

    def test_what_does_not_finish_in_time_is_stopped_and_left_to_the_next_server(self):
        server = Server("--drain", "100ms")
        self.addCleanup(server.stop)
        again = server.submit("sleep", {"seconds": 2}, max_attempts=2)
        once = server.submit("sleep", {"seconds": 60})
        self.assertEqual(server.end(), 0)
        server.start()
        self.assertEqual(server.get(f"/v1/jobs/{once}").json["error"]["type"], "Stopped")
        done = server.wait(again)
        self.assertEqual((done["state"], done["attempt"]), ("succeeded", 2))

    def test_a_second_signal_hurries(self):
        server = Server("--drain", "1h")
        self.addCleanup(server.stop)
        server.submit("sleep", {"seconds": 3600})
        server.process.send_signal(signal.SIGTERM)
        logged(server, '"stopping"')
        self.assertEqual(server.end(), 0)

    def test_a_client_that_waits_for_a_kept_job_is_told(self):
        server = Server("--threads", "1", "--drain", "100ms")
        self.addCleanup(server.stop)
        server.submit("burn", {"milliseconds": 600})
        connection = server.connect()
        connection.request("POST", "/v1/run/burn", '{"milliseconds":5}', {
            "Content-Type": "application/json", "Authorization": "Bearer " + server.token})
        asking(lambda: len(server.get("/v1/jobs").json["jobs"]) == 2, "the second job does not come")
        server.process.send_signal(signal.SIGTERM)
        answer = connection.getresponse()
        self.assertEqual(answer.status, 503)
        job = answer.getheader("spindle-job")
        connection.close()
        server.end()
        server.start()
        self.assertEqual(server.wait(job)["state"], "succeeded")


class ServiceManagerTests(unittest.TestCase):
    def test_it_hears_of_ready_alive_and_stopping(self):
        with tempfile.TemporaryDirectory() as directory:
            path = directory + "/notify"
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.bind(path)
                manager.settimeout(PATIENCE)
                server = Server(env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "100000"})
                self.addCleanup(server.stop)
                self.assertIn(b"READY=1", manager.recv(4096))
                self.assertEqual(manager.recv(4096), b"WATCHDOG=1")
                server.end()
                while b"STOPPING=1" not in manager.recv(4096):
                    pass

    def test_a_rolling_restart_loses_no_connection(self):
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        port = listener.getsockname()[1]
        # LISTEN_PID must be the server's own.
        prefix = ("sh", "-c", f'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@" 3<&{listener.fileno()}', "sh")
        server = Server("--no-auth", prefix=prefix, listen=False, pass_fds=(listener.fileno(),))
        self.addCleanup(server.stop)
        self.assertEqual(server.port, port)
        stop, failures, answers = threading.Event(), [], Seen()

        def load():
            while not stop.is_set():
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
                try:
                    connection.request("POST", "/v1/run/squares", '{"n":100}', {"Content-Type": "application/json"})
                    answers.note(connection.getresponse().status)
                except OSError as error:
                    failures.append(error)
                finally:
                    connection.close()

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(5):
                answers.more(100)
                self.assertEqual(server.end(), 0)
                server.start()
        finally:
            stop.set()
            for thread in threads:
                thread.join(PATIENCE)
            listener.close()
        self.assertEqual(failures, [])
        # A server that drains refuses new jobs, and says so.
        self.assertLessEqual(set(answers.all), {200, 503})


if __name__ == "__main__":
    unittest.main()
