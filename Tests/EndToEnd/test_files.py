"""What the server makes, keeps and removes in the file system, and for whom."""
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import unittest

from server import BINARY, PATIENCE, ROOT, Server
from waiting import asking, gone, unlocked

NOBODY = 65534


def serve(*arguments, prefix=(), **variables):
    """A server that is expected not to start: its status and what it says."""
    env = {name: value for name, value in {**os.environ, **variables}.items() if value is not None}
    done = subprocess.run([*prefix, BINARY, "serve", *arguments], env=env, capture_output=True, text=True, timeout=PATIENCE)
    return done.returncode, done.stderr


class HomeTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.home = pathlib.Path(directory.name)

    def tree(self, name="victim"):
        """A directory that must survive whatever comes."""
        (self.home / name / "below").mkdir(parents=True)
        (self.home / name / "below" / "file").write_text("kept")
        return self.home / name

    def server(self, *arguments, **options):
        env = dict(TMPDIR=str(self.home), **options.pop("env", {}))
        server = Server("--threads", "1", "--processes", "1", *arguments, env=env, **options)
        self.addCleanup(server.stop)
        return server

    def shelf(self):
        return self.home / f"spindle-{os.geteuid()}"

    def clear(self, directory):
        """Removes one that the server makes again as soon as it sees that it is gone, perhaps before all of it is."""
        aside = directory.rename(self.home / "aside")
        shutil.rmtree(aside)


class WorkDirectoryTests(HomeTest):
    def test_a_name_that_can_be_guessed_is_no_way_into_another_tree(self):
        victim = self.tree()
        # The server gets the shell's process id.
        plant = ("sh", "-c", f'ln -s {victim} {self.home}/spindle-$$; exec "$@"', "sh")
        server = self.server(prefix=plant)
        server.ask("POST", "/v1/run/squares?pool=process", {"n": 3})
        self.assertEqual(server.stop(), 0)
        self.assertEqual((victim / "below" / "file").read_text(), "kept")

    def test_the_shelf_of_somebody_else_is_refused(self):
        victim = self.tree()
        shelf = self.shelf()
        with self.subTest("a link"):
            shelf.symlink_to(victim)
            code, said = serve("--store", "memory", "--no-auth", "--listen", "127.0.0.1:0", TMPDIR=str(self.home))
            self.assertEqual(code, 2, said)
            self.assertIn(str(shelf), said)
            self.assertEqual((victim / "below" / "file").read_text(), "kept")
            shelf.unlink()
        if os.geteuid() != 0:
            self.skipTest("only root can play another user")
        with self.subTest("another owner"):
            shelf.mkdir()
            os.chown(shelf, NOBODY, NOBODY)
            code, said = serve("--store", "memory", "--no-auth", "--listen", "127.0.0.1:0", TMPDIR=str(self.home))
            self.assertEqual(code, 2, said)
            self.assertIn(f"belongs to user {NOBODY}", said)

    def test_it_is_private_and_gone_when_the_server_is(self):
        server = self.server()
        shelf = self.shelf()
        works = list(shelf.iterdir())
        self.assertEqual(len(works), 1)
        for path in (shelf, *works):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o700, path)
        self.assertEqual(server.stop(), 0)
        self.assertFalse(shelf.exists())

    def test_the_next_start_clears_after_the_killed_and_spares_the_living(self):
        living = self.server()
        mine = set(self.shelf().iterdir())
        dead = self.server()
        (left,) = set(self.shelf().iterdir()) - mine
        (left / "77" / "deep").mkdir(parents=True)
        dead.kill()
        self.assertTrue(left.exists())
        dead.start()
        gone(left)
        self.assertLessEqual(mine, set(self.shelf().iterdir()))
        self.assertEqual(living.ask("POST", "/v1/run/squares?pool=process", {"n": 3}).json, {"sum": 5})

    def test_what_somebody_has_cleared_away_is_made_again_and_is_nobody_elses(self):
        server = self.server("--config", "c.toml", files={"c.toml": "[commands.where]\ncommand = ['pwd']\n"})
        (work,) = self.shelf().iterdir()
        for cleared in (work, self.shelf()):
            self.clear(cleared)
            done = server.wait(server.submit("where"))
            self.assertEqual(done["state"], "succeeded", done)
            self.assertIn(str(work), server.get(f"/v1/jobs/{done['id']}/log").body.decode())
            self.assertEqual([stat.S_IMODE(path.stat().st_mode) for path in (self.shelf(), work)], [0o700, 0o700])
            # It is held as before: who starts meanwhile does not take it for a dead one's.
            self.assertEqual(self.server().stop(), 0)
            self.assertTrue(work.exists())
        victim = self.tree()
        aside = self.shelf().rename(self.home / "aside")
        self.shelf().symlink_to(victim)
        shutil.rmtree(aside)
        done = server.wait(server.submit("where"))
        self.assertEqual(done["state"], "failed")
        self.assertIn(str(self.shelf()), done["error"]["message"])
        self.assertEqual([path.name for path in victim.iterdir()], ["below"])
        self.shelf().unlink()
        self.assertEqual(server.wait(server.submit("where"))["state"], "succeeded")
        self.assertEqual(server.stop(), 0)
        self.assertFalse(self.shelf().exists())

    def test_warm_workers_get_theirs_back(self):
        tasks = "import spindle\n@spindle.task\ndef where(): return spindle.directory()\n@spindle.task\ndef long(): return 'x' * 3_000_000\n"
        server = self.server("--python", "t.py", files={"t.py": tasks})
        for _ in range(2):
            place = pathlib.Path(server.ask("POST", "/v1/run/where", {}).json).parent
            self.clear(self.shelf())
            asking(place.exists, "nobody makes it again")
            self.assertEqual([stat.S_IMODE(path.stat().st_mode) for path in (place, *place.parents[:2])], [0o700] * 3)
            self.assertEqual(server.ask("POST", "/v1/run/where", {}).json.rpartition("/")[0], str(place))
            self.assertEqual(len(server.ask("POST", "/v1/run/long", {}).json), 3_000_000)
        self.assertEqual(server.stop(), 0)
        self.assertFalse(self.shelf().exists())

    def test_a_server_that_is_process_1_starts_again_after_a_kill(self):
        prefix = ("unshare", "--pid", "--fork", "--kill-child")
        if subprocess.run([*prefix, "true"], capture_output=True).returncode != 0:
            self.skipTest("no name spaces of process ids here")
        server = self.server("--python", str(ROOT / "Tests/Workers/tasks.py"), prefix=prefix)
        for _ in range(2):
            self.assertEqual(server.ask("POST", "/v1/run/squares?pool=process", {"n": 3}).json, {"sum": 5})
            server.kill()
            # The store is free once process 1 of the name space has gone, too.
            unlocked(server.store + ".lock")
            server.start()
        pid = int(subprocess.check_output(["pgrep", "-P", str(server.process.pid)]))
        os.kill(pid, signal.SIGTERM)
        self.assertEqual(server.process.wait(PATIENCE), 0)


LITTER = r"""
import os, sys
os.symlink(sys.argv[1], 'link')
os.mkdir('closed')
os.mkdir('closed/in')
open('closed/in/file', 'w').close()
os.chmod('closed', 0)
open(b'not\xff text', 'w').close()
print(os.getcwd(), flush=True)
for depth in range(3000):
    os.mkdir('d')
    os.chdir('d')
open('bottom', 'w').close()
"""


class ChildDirectoryTests(HomeTest):
    def test_what_a_job_leaves_is_removed_however_deep_and_no_link_is_followed(self):
        victim = self.tree()
        config = f"[commands.litter]\ncommand = ['python3', 'litter.py', '{victim}']\n"
        config = config.replace("litter.py", str(self.home / "litter.py"))
        (self.home / "litter.py").write_text(LITTER)
        server = self.server("--config", "c.toml", files={"c.toml": config})
        where = pathlib.Path(server.ask("POST", "/v1/run/litter", {}).json)
        gone(where)
        self.assertEqual((victim / "below" / "file").read_text(), "kept")
        self.assertEqual(server.stop(), 0)
        self.assertFalse(self.shelf().exists())


class PrivacyTests(HomeTest):
    def test_all_that_the_server_keeps_is_its_users_alone_whatever_the_umask(self):
        for mask in ("000", "022", "077"):
            server = self.server(prefix=("sh", "-c", f'umask {mask}; exec "$@"', "sh"))
            server.ask("GET", "/?token=" + server.token, token=False)
            server.wait(server.submit("squares", {"n": 3}))
            kept = list(pathlib.Path(server.store).parent.iterdir())
            names = {path.name for path in kept}
            self.assertLessEqual(
                {"token", "spindle.db", "spindle.db-wal", "spindle.db-shm", "spindle.db.lock", "spindle.db.reserve"}, names)
            for path in kept:
                if path.is_file():
                    self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600, (mask, path.name))
            self.assertEqual(server.stop(), 0)

    def test_a_store_that_was_left_open_to_others_is_closed_again(self):
        server = self.server()
        server.submit("squares", {"n": 3})
        server.kill()
        for suffix in ("-wal", "-shm"):
            os.chmod(server.store + suffix, 0o644)
        server.start()
        for suffix in ("-wal", "-shm"):
            self.assertEqual(stat.S_IMODE(os.stat(server.store + suffix).st_mode), 0o600, suffix)

    def test_a_planted_link_is_not_written_through(self):
        victim = self.home / "victim"
        for suffix in (".lock", ".reserve", ".sessions", ".sessions.new"):
            victim.write_text("kept")
            store = str(self.home / ("store" + suffix))
            pathlib.Path(store + suffix).symlink_to(victim)
            try:
                server = self.server("--store", store)
                server.ask("GET", "/?token=" + server.token, token=False)
                server.stop()
            except RuntimeError:
                pass  # refused, which is well
            self.assertEqual(victim.read_text(), "kept", suffix)


class StateTests(unittest.TestCase):
    def test_without_a_home_the_server_says_what_to_set(self):
        for empty in (None, ""):
            code, said = serve("--listen", "127.0.0.1:0", HOME=empty, XDG_STATE_HOME=empty)
            self.assertEqual(code, 2, said)
            self.assertIn("XDG_STATE_HOME", said)
            self.assertIn("HOME", said)

    def test_whoever_says_where_needs_no_home(self):
        with tempfile.TemporaryDirectory() as home:
            server = Server("--store", "memory", "--token-file", home + "/t", env={"HOME": "", "XDG_STATE_HOME": ""})
            self.assertEqual(server.ask("POST", "/v1/run/squares", {"n": 3}).json, {"sum": 5})
            self.assertEqual(server.stop(), 0)

    def test_clients_need_no_home_and_config_says_that_a_server_does(self):
        server = Server("--no-auth")
        self.addCleanup(server.stop)
        bare = {"HOME": "", "XDG_STATE_HOME": "", "SPINDLE_TOKEN": ""}
        self.assertEqual(server.command("run", "squares", '{"n":3}', env=bare).stdout, '{"sum":5}\n')
        # It says what is there, and that no server could start so.
        shown = server.command("config", env=bare)
        self.assertIn("threads", shown.stdout)
        self.assertEqual(shown.returncode, 2)
        self.assertEqual(server.command("store", "stats", env=bare).returncode, 2)


class UnixSocketTests(HomeTest):
    def listen(self, path):
        return serve("--listen", f"unix:{path}", "--no-auth", "--store", "memory", TMPDIR=str(self.home))

    def test_a_file_is_not_replaced_by_a_socket(self):
        path = self.home / "file"
        path.write_text("kept")
        (self.home / "link").symlink_to(path)
        for name in ("file", "link"):
            code, said = self.listen(self.home / name)
            self.assertEqual(code, 2, said)
            self.assertIn("no socket", said)
        self.assertEqual(path.read_text(), "kept")

    def test_the_socket_of_a_living_server_is_left_alone(self):
        server = self.server("--listen", f"unix:{self.home}/s", "--no-auth")
        code, said = self.listen(self.home / "s")
        self.assertEqual(code, 2, said)
        self.assertIn("another server", said)
        done = server.command("run", "squares", '{"n":3}', "--url", f"unix:{self.home}/s")
        self.assertEqual(done.stdout, '{"sum":5}\n')

    def test_the_socket_of_a_dead_server_is_replaced_and_a_strangers_is_not_removed(self):
        path = self.home / "s"
        server = self.server("--listen", f"unix:{path}", "--no-auth")
        server.kill()
        self.assertTrue(path.is_socket())
        server.start()
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        # Somebody puts another socket in its place: it is not ours to remove.
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            self.assertEqual(server.end(), 0)
            self.assertTrue(path.is_socket())


class UnreadLogTests(HomeTest):
    def test_a_log_that_nobody_reads_does_not_keep_the_server_from_working_and_ending(self):
        server = self.server("--no-auth")
        server.end()
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        os.set_blocking(writing, False)
        try:
            while True:
                os.write(writing, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(writing, True)
        kept, server.log = server.log, os.fdopen(writing, "w")
        server.start()
        for _ in range(100):
            server.process.send_signal(signal.SIGHUP)
            self.assertEqual(server.get("/healthz").status, 200)
        server.wait(server.submit("squares", {"n": 3}))
        self.assertEqual(server.end(), 0)
        server.log.close()
        server.log = kept


class ClosedDescriptorTests(HomeTest):
    def test_what_is_logged_goes_into_no_file_that_took_the_place_of_a_closed_one(self):
        server = self.server(prefix=("sh", "-c", 'exec "$@" 2>&-', "sh"))
        for number in range(3):
            self.assertTrue(os.readlink(f"/proc/{server.process.pid}/fd/{number}").startswith(("/dev/null", "pipe:")) or number == 0)
        server.process.send_signal(signal.SIGHUP)
        server.wait(server.submit("squares", {"n": 3}))
        self.assertEqual(server.end(), 0)
        server.start()
        self.assertEqual(server.get("/v1/jobs").json["jobs"][0]["state"], "succeeded")
        for path in pathlib.Path(server.store).parent.iterdir():
            if path.is_file():
                self.assertNotIn(b'"level":"', path.read_bytes(), path.name)

    def test_a_command_whose_output_is_closed_fails(self):
        server = self.server("--no-auth")
        for command in ("run squares", "list", "config"):
            done = subprocess.run(["sh", "-c", f"{BINARY} {command} >&-"], stderr=subprocess.PIPE, timeout=PATIENCE, env=server.environment)
            self.assertEqual(done.returncode, 1, (command, done.stderr))


if __name__ == "__main__":
    unittest.main()
