"""The store's files: taken away while a server has them, known by two names. A full disk: test_full_disk.py."""
import http.client
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import unittest
from urllib.parse import quote

from server import BINARY, PATIENCE, Server
from waiting import asking


def log(server):
    server.log.flush()
    return pathlib.Path(server.log.name).read_text()


class TakenAwayTests(unittest.TestCase):
    """A server whose store is gone ends, with 74, and says so: under load and when nothing happens."""

    def replace(self, path):
        with sqlite3.connect(path + ".other") as other:
            other.execute("CREATE TABLE t (n)")
        os.rename(path + ".other", path)

    ways = {
        "the file is deleted": lambda self, path: os.unlink(path),
        "the file is replaced": replace,
        "the file is moved away": lambda self, path: os.rename(path, path + ".away"),
        "the log is deleted": lambda self, path: os.unlink(path + "-wal"),
    }

    def test_an_idle_server_ends(self):
        for name, take in self.ways.items():
            with self.subTest(name):
                server = Server("--threads", "1", "--processes", "1")
                self.addCleanup(server.stop)
                server.wait(server.submit("squares"))
                take(self, server.store)
                self.assertEqual(server.process.wait(PATIENCE), 74)
                self.assertIn("deleted or replaced", log(server))

    def test_under_load_nothing_that_begins_later_is_acknowledged(self):
        for name, take in self.ways.items():
            with self.subTest(name):
                server = Server("--threads", "1", "--processes", "1")
                self.addCleanup(server.stop)
                taken, late = threading.Event(), []

                def load():
                    try:
                        while True:
                            begun_after = taken.is_set()
                            answer = server.ask("POST", "/v1/jobs", {"task": "squares"})
                            if begun_after and answer.status == 202:
                                late.append(answer.json["id"])
                    except (OSError, http.client.HTTPException):
                        return  # it has ended

                threads = [threading.Thread(target=load) for _ in range(4)]
                for thread in threads:
                    thread.start()
                server.wait(server.submit("squares"))
                take(self, server.store)
                taken.set()
                self.assertEqual(server.process.wait(PATIENCE), 74)
                for thread in threads:
                    thread.join(PATIENCE)
                self.assertEqual(late, [])


class TwoNamesTests(unittest.TestCase):
    def test_a_second_server_through_a_link_is_refused(self):
        server = Server("--threads", "1", "--processes", "1")
        self.addCleanup(server.stop)
        for name, link in {"symbolic": os.symlink, "hard": os.link}.items():
            with self.subTest(name):
                path = f"{server.home.name}/{name}.db"
                link(server.store, path)
                with self.assertRaisesRegex(RuntimeError, "in use"):
                    Server("--store", path)
                self.assertEqual(server.command("store", "vacuum", "--store", path).returncode, 1)
        job = server.submit("squares")
        server.end()
        server.start()
        self.assertEqual(server.wait(job)["state"], "succeeded")


class CareTests(unittest.TestCase):
    def setUp(self):
        self.server = Server("--threads", "1", "--processes", "1")
        self.addCleanup(self.server.stop)

    def test_what_a_newer_version_has_made_is_left_alone(self):
        self.server.end()
        with sqlite3.connect(self.server.store) as store:
            store.execute("INSERT INTO grdb_migrations VALUES ('99: from the future')")
        store.close()
        for command in (["vacuum"], ["check"], ["stats"], ["backup", self.server.home.name + "/copy"]):
            with self.subTest(command[0]):
                done = self.server.command("store", *command)
                self.assertEqual(done.returncode, 1, done.stdout)
                self.assertIn("newer", done.stderr)

    def test_a_backup_leaves_nothing_beside_itself(self):
        self.server.wait(self.server.submit("squares"))
        target = tempfile.mkdtemp(dir=self.server.home.name)
        done = self.server.command("store", "backup", target + "/copy.db")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(os.listdir(target), ["copy.db"])

    def test_a_backup_that_cannot_be_written_says_which_file(self):
        done = self.server.command("store", "backup", self.server.home.name + "/nowhere/copy.db")
        self.assertEqual(done.returncode, 1)
        self.assertIn("nowhere/copy.db", done.stderr)
        self.assertNotIn(self.server.store, done.stderr)

    def test_what_is_no_file_is_refused_at_once(self):
        with tempfile.TemporaryDirectory() as home:
            pipe, directory = os.path.join(home, "pipe"), os.path.join(home, "directory")
            os.mkfifo(pipe)
            os.mkdir(directory)
            for place in (pipe, directory, "/dev/null"):
                for command in (("serve", "--listen", "127.0.0.1:0"), ("store", "check"), ("store", "stats")):
                    done = subprocess.run([BINARY, *command, "--store", place], capture_output=True, text=True, timeout=PATIENCE,
                                          env=dict(os.environ, XDG_STATE_HOME=home, TMPDIR=home))
                    self.assertNotEqual(done.returncode, 0, (command, place))
                    self.assertIn("is no file", done.stderr, (command, place))

    def test_a_refused_start_leaves_the_files_beside_the_store_to_their_owner(self):
        with tempfile.TemporaryDirectory() as home:
            server = Server("--store", home + "/jobs.db", "--threads", "1", "--processes", "1")
            self.addCleanup(server.stop)
            server.kill()
            os.chmod(home + "/jobs.db", 0o400)
            # Root may write it all the same, and a start that is not refused shows as much.
            try:
                server.start()
                server.kill()
            except RuntimeError:
                pass
            # SQLite makes the others anew, as the store is.
            modes = {name: oct(os.stat(home + "/jobs.db" + name).st_mode & 0o777) for name in (".lock", ".reserve")}
            self.assertEqual(set(modes.values()), {"0o600"}, modes)

    def test_a_label_of_any_name_is_found_on_disk(self):
        names = ["plain", "a\\b", "dot.ted"]
        jobs = {name: self.server.submit("squares", labels={name: "v"}) for name in names}
        for job in jobs.values():
            self.server.wait(job)
        self.server.end()
        self.server.start()
        for name, job in jobs.items():
            with self.subTest(name):
                page = self.server.get(f"/v1/jobs?label.{quote(name, safe='')}=v").json
                self.assertEqual([found["id"] for found in page["jobs"]], [job])


@unittest.skipUnless(shutil.which("strace"), "strace is not here")
class CallsThatFailTests(unittest.TestCase):
    def test_a_sync_that_fails_during_the_start_ends_with_74(self):
        for when in (1,):  # how many there are is a matter of the build
            with self.subTest(when), tempfile.TemporaryDirectory() as home:
                done = subprocess.run(
                    ["strace", "-f", "-o", "/dev/null", "-e", "trace=fdatasync",
                     "-e", f"inject=fdatasync:error=EIO:when={when}", BINARY, "serve",
                     "--listen", "127.0.0.1:0", "--store", home + "/jobs.db"],
                    capture_output=True, text=True, timeout=PATIENCE, env={**os.environ, "XDG_STATE_HOME": home})
                self.assertEqual(done.returncode, 74, done.stderr)

    def test_a_quota_that_is_used_up_is_a_full_disk(self):
        server = Server("--threads", "1", "--processes", "1")
        self.addCleanup(server.stop)
        server.wait(server.submit("squares"))
        tracer = subprocess.Popen(
            ["strace", "-f", "-p", str(server.process.pid), "-o", "/dev/null", "-e", "trace=pwrite64",
             "-e", "inject=pwrite64:error=EDQUOT"], stderr=subprocess.PIPE, text=True)
        try:
            tracer.stderr.readline()  # it is attached
            self.assertEqual(server.ask("POST", "/v1/jobs", {"task": "squares"}).status, 507)
            self.assertIsNone(server.process.poll())
        finally:
            tracer.terminate()
            tracer.communicate(timeout=PATIENCE)
        asking(lambda: server.ask("POST", "/v1/jobs", {"task": "squares"}).status == 202, "it takes no jobs again")


if __name__ == "__main__":
    unittest.main()
