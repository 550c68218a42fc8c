"""A server is started by all sorts of parents, and lives among others: signals, limits, names that are no text."""
import os
import pathlib
import signal
import subprocess
import tempfile
import unittest

from server import BINARY, PATIENCE, Server
from waiting import asking, begun

# Nobody else is, so that all threads of his are ours.
NOBODY = 61_337

# Becomes somebody whom the kernel gives so many threads; what lies here is his from then on.
LIMITED = f"""import os, resource, sys
os.chown(".", {NOBODY}, {NOBODY})
for name in os.listdir("."): os.chown(name, {NOBODY}, {NOBODY})
resource.setrlimit(resource.RLIMIT_NPROC, (int(sys.argv[1]),) * 2)
os.setgroups([]), os.setgid({NOBODY}), os.setuid({NOBODY})
os.execv(sys.argv[2], sys.argv[2:])
"""
BLOCKED = """import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
os.execv(sys.argv[1], sys.argv[1:])
"""


class ParentTest(unittest.TestCase):
    def server(self, *arguments, **options):
        server = Server("--threads", "2", "--processes", "1", *arguments, **options)
        self.addCleanup(server.stop)
        return server


class SignalTests(ParentTest):
    def test_it_ends_when_it_is_told_though_its_parent_has_blocked_every_signal(self):
        server = self.server(prefix=("python3", "-c", BLOCKED))
        self.assertEqual(server.wait(server.submit("squares"))["state"], "succeeded")
        self.assertEqual(server.end(), 0)

    def test_signals_that_mean_nothing_end_nothing_and_mean_to_a_job_what_they_always_do(self):
        others = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO, signal.SIGPWR]
        config = '[commands.struck]\ncommand = ["sh", "-c", "kill -$1 $PPID; kill -$1 $$; exec sleep 60", "sh", "{number}"]\n'
        server = self.server("--config", "c.toml", "--no-auth", files={"c.toml": config})
        job = server.submit("sleep", {"seconds": 3600})
        begun(server, job)
        for number in others:
            server.process.send_signal(number)
            struck = server.wait(server.submit("struck", {"number": int(number)}))
            self.assertEqual(struck["error"]["signal"], number)
        self.assertEqual(server.get(f"/v1/jobs/{job}").json["state"], "running")


@unittest.skipUnless(os.geteuid() == 0, "only root becomes somebody else")
class LimitTests(ParentTest):
    def limited(self, count, *arguments):
        prefix = ("python3", "-c", LIMITED, str(count))
        done = subprocess.run([*prefix, BINARY, "--version"], cwd=self.place(), capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode != 0:
            self.skipTest(f"nobody may not run it: {done.stderr}")
        forking = ["python3", "-c", LIMITED, "1", "/bin/sh", "-c", "true & wait"]
        if subprocess.run(forking, cwd=self.place(), capture_output=True, timeout=PATIENCE).returncode == 0:
            self.skipTest("nobody's processes are not counted here")
        return self.server(*arguments, prefix=prefix)

    def place(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        return directory.name

    def threads(self):
        """All that count against the limit."""
        count = 0
        for place in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                count += len(os.listdir(place / "task")) if place.stat().st_uid == NOBODY else 0
            except OSError:
                pass  # it has ended
        return count

    def test_more_threads_than_there_are_are_refused_and_nothing_else_changes(self):
        server = self.limited(1000)
        self.assertEqual(server.wait(server.submit("squares", pool="process"))["state"], "succeeded")
        usual = self.threads()
        server.stop()
        server = self.limited(usual + 12)
        job = server.submit("sleep", {"seconds": 3600}, pool="thread")
        begun(server, job)
        self.assertEqual(server.wait(server.submit("squares", pool="process"))["state"], "succeeded")
        before = self.threads()
        answer = server.ask("PATCH", "/v1/pools/thread", {"capacity": 64})
        self.assertEqual((answer.status, answer.json["type"]), (503, "/problems/no-threads"))
        self.assertEqual(server.get("/metrics").status, 200)
        # What it had taken of them is given back, though nothing runs.
        asking(lambda: self.threads() <= before, "threads of a pool that is no larger stay")
        pool = next(pool for pool in server.get("/v1/pools").json["pools"] if pool["name"] == "thread")
        self.assertEqual(pool["capacity"], 2)
        self.assertEqual(server.wait(server.submit("squares", pool="thread"))["state"], "succeeded")
        self.assertEqual(server.ask("PATCH", "/v1/pools/thread", {"capacity": 3}).status, 200)
        self.assertEqual(server.get(f"/v1/jobs/{job}").json["state"], "running")
        # What was refused is not remembered either.
        server.end()
        server.start()
        pool = next(pool for pool in server.get("/v1/pools").json["pools"] if pool["name"] == "thread")
        self.assertEqual(pool["capacity"], 3)

    def test_a_start_without_threads_says_so(self):
        with self.assertRaisesRegex(RuntimeError, "no thread left for a pool of 900"):
            self.limited(200, "--threads", "900")
        with self.assertRaisesRegex(RuntimeError, "no thread left"):
            self.limited(3)


class NameTests(ParentTest):
    def test_what_is_no_text_is_refused_and_makes_nothing(self):
        with tempfile.TemporaryDirectory() as home:
            place = os.fsencode(home)
            bad = place + b"/caf\xe9.db"
            usual = {**os.environb, b"XDG_STATE_HOME": place, b"TMPDIR": place}
            for arguments, more, said in (
                    ([b"--store", bad], {}, "argument 5"), ([], {b"SPINDLE_STORE": bad}, "SPINDLE_STORE"),
                    ([], {b"XDG_STATE_HOME": place + b"/\xff"}, "XDG_STATE_HOME")):
                done = subprocess.run([BINARY, "serve", "--listen", "127.0.0.1:0", *arguments], env={**usual, **more},
                                      capture_output=True, timeout=PATIENCE)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(said + " is no UTF-8", done.stderr.decode())
            self.assertEqual(os.listdir(home), [])

    def test_a_store_is_a_file_whatever_it_is_called(self):
        for name in ("file:store.db?mode=memory", ":memory:"):
            server = self.server("--store", name)
            job = server.submit("squares", {"n": 3})
            self.assertEqual(server.wait(job)["state"], "succeeded")
            server.kill()
            self.assertTrue(pathlib.Path(server.home.name, name).is_file())
            server.start()
            self.assertEqual(server.get(f"/v1/jobs/{job}").json["result"], {"sum": 5})
            self.assertIn("all is well", server.command("store", "check", "--store", name).stdout)
            # And so is a copy.
            copy = name + ".copy"
            self.assertIn("1 finished", server.command("store", "backup", "--store", name, copy).stdout)
            self.assertIn("all is well", server.command("store", "check", "--store", copy).stdout)
            self.assertEqual({file for file in os.listdir(server.home.name) if "copy" in file}, {copy})
            server.stop()


if __name__ == "__main__":
    unittest.main()
