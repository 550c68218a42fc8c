"""Texts from outside are read by their bytes: a sign that joins its neighbour to one character hides it from nobody.

The kernel, a shell and the programs that a job starts see bytes; who asks by characters decides about another text than they read."""
import hashlib
import os
import pathlib
import shlex
import subprocess
import unittest

from processes import alive, marker
from server import BINARY, PATIENCE, ServerTest
from test_config import ConfigTest
from test_edges import LIAR, toml

# An accent, a joiner and a selector, which belong to what stands before; an Arabic number sign, to which what follows belongs.
AFTER = ["\u0301", "\u200d", "\ufe0f"]
BEFORE = ["\u0600", "\u0d4e"]


class ByteTests(ServerTest):
    # Leaves a process behind, of another session, whose name the kernel shows in parentheses.
    NAMED = ("import ctypes, os, sys, time\n"
             "ready, told = os.pipe()\n"
             "if os.fork() == 0:\n"
             "    os.setsid()\n"
             "    ctypes.CDLL(None).prctl(15, bytes.fromhex(sys.argv[2]), 0, 0, 0)\n"
             "    os.write(told, b'1')\n"
             "    time.sleep(600)\n"
             "os.read(ready, 1)\n")
    files = {"spindle.toml": toml({
        "show": ["printf", "%s\\n", "{text}"], "leave": ["python3", "-c", NAMED, "{m}", "{name}"],
        "tell": ["printf", "%s\\n", "::progress 1/4 {text}"],
        "beside": ["printf", "%s\\n", "".join(f"{{text}}{sign}" for sign in AFTER) + "".join(f"{sign}{{text}}" for sign in BEFORE)],
    }) + LIAR, "t.py": "import os, spindle\n\n@spindle.task\ndef see():\n    return os.environ.get('MINE')\n"}
    arguments = ("--processes", "2", "--config", "spindle.toml", "--python", "t.py")

    def ran(self, task, **value):
        done = self.server.wait(self.server.submit(task, value))
        self.assertEqual(done["state"], "succeeded", done)
        return done

    def test_an_option_is_one_whatever_joins_its_dash(self):
        for sign in AFTER:
            answer = self.server.ask("POST", "/v1/jobs", {"task": "show", "input": {"text": f"-{sign}rf"}}, {"Prefer": f"wait={PATIENCE}"})
            self.assertIn("may not begin with -", answer.body.decode(), ascii(sign))
            self.assertNotIn("result", answer.json)

    def test_braces_are_some_whatever_joins_them(self):
        result = self.ran("beside", text="x")["result"]
        self.assertEqual(result, "".join(f"x{sign}" for sign in AFTER) + "".join(f"{sign}x" for sign in BEFORE))

    def test_a_process_is_found_whatever_it_is_called(self):
        for name in [sign.encode() for sign in BEFORE] + [b") S 1 (", b"\xff)", b"a\r", ") ".encode() + AFTER[0].encode()]:
            with self.subTest(name):
                m = marker()
                self.ran("leave", m=m, name=name.hex())
                self.assertEqual(alive(m), [])

    def test_a_message_of_progress_begins_with_any_sign(self):
        for sign in AFTER:
            job = self.ran("tell", text=sign + "half")
            told = [event for event in self.server.events(job["id"]) if event["type"] == "progress"]
            self.assertEqual([(event["fraction"], event["message"]) for event in told], [(0.25, sign + "half")])

    def test_a_path_out_of_the_workers_directory_is_none_whatever_joins_its_steps(self):
        for sign in AFTER:
            outside = pathlib.Path(self.server.home.name)
            found = [place for place in outside.rglob("*") if place.is_dir()]
            for place in found:
                (place / f"{sign}r").write_text("3")
            for path in (f"@DIR@/..\u002f{sign}r", f"..\u002f{sign}r"):
                line = '{"jsonrpc":"2.0","id":@ID@,"result":{"file":"%s"}}' % path
                done = self.server.wait(self.server.submit("say", {"lines": [line]}))
                self.assertEqual((done["state"], done["error"]["type"]), ("failed", "InvalidOutput"))

    def test_another_cookie_hides_ours_by_no_sign(self):
        page = self.server.ask("GET", "/?token=" + self.server.token, token=False).headers["set-cookie"].split(";")[0]
        for other in [f"a=x{sign}; " for sign in BEFORE] + [f"a{sign}=x;" for sign in AFTER]:
            answer = self.server.ask("GET", "/v1/jobs?limit=1", headers={"Cookie": (other + page).encode()}, token=False)
            self.assertEqual(answer.status, 200, ascii(other))


class StartTests(ConfigTest):
    def test_a_variable_has_its_value_whatever_that_begins_with(self):
        for sign in AFTER:
            for arguments in ((), ("--env", f"MINE={sign}x")):
                env = {"MINE": f"{sign}x"}
                server = self.server("--python", "t.py", *arguments, files={"t.py": ByteTests.files["t.py"]}, env=env)
                self.assertEqual(server.ask("POST", "/v1/run/see", {}).json, f"{sign}x")
                server.stop()

    def test_a_variable_that_is_no_text_goes_on_as_it_came(self):
        task = "import os, spindle\n\n@spindle.task\ndef see():\n    return os.environb[b'LANG'].hex()\n"
        command = '[commands.look]\ncommand = ["sh", "-c", "printf %s \\"$LANG\\" | od -An -tx1"]\n'
        for arguments in ((), ("--env", "LANG"), ("--preload",)):
            server = self.server("--python", "t.py", "--config", "c.toml", *arguments, files={"t.py": task, "c.toml": command},
                                 env={"LANG": os.fsdecode(b"caf\xe9")})
            self.assertEqual(server.ask("POST", "/v1/run/see", {}).json, "636166e9")
            self.assertEqual(server.ask("POST", "/v1/run/look", {}).json.split(), ["63", "61", "66", "e9"])
            server.stop()

    def test_a_file_counts_whatever_its_name_and_one_that_cannot_be_reached_is_said(self):
        tree = os.fsencode(self.home) + b"/tree"
        os.makedirs(tree + b"/\xff/\xe2\x80")
        for name in (b"/plain", b"/\xff/a\xfe", b"/\xff/\xe2\x80/\r\n", "/e\u0301".encode()):
            with open(tree + name, "wb") as file:
                file.write(name)
        os.symlink(b"tree/\xff", os.fsencode(self.home) + b"/link")
        server = self.server("--files-root", str(self.home))
        for path in ("tree", "link"):
            # A link is followed where the path begins, and nowhere else.
            found = ["find", path + "/", "-type", "f", "-exec", "sha256sum", "{}", "+"]
            said = subprocess.run(found, cwd=self.home, capture_output=True, check=True).stdout
            lines = sorted(said.replace(b"//", b"/").splitlines(keepends=True))
            answer = server.ask("POST", "/v1/run/hash", {"path": path}).json
            self.assertEqual((answer["files"], answer["sha256"]), (len(lines), hashlib.sha256(b"".join(lines)).hexdigest()))
        deep = os.open(tree, os.O_DIRECTORY)
        for _ in range(20):
            os.mkdir("d" * 250, dir_fd=deep)
            inner = os.open("d" * 250, os.O_DIRECTORY, dir_fd=deep)
            os.close(deep)
            deep = inner
        os.close(deep)
        job = server.wait(server.submit("hash", {"path": "tree"}))
        self.assertEqual((job["state"], job["error"]["type"]), ("failed", "FileError"))

    def test_a_line_that_ends_as_on_windows_is_counted(self):
        self.refused("\n[commands.x]\ncommand = ['seq', 3, 1]\n".replace("\n", "\r\n"), "line 3", "commands.x.command[1]")

    def test_the_line_to_try_is_one_for_a_shell_whatever_the_path(self):
        for sign in [*AFTER, "'", '"', "$(x)"]:
            path = f"{self.home}/a'{sign}b"
            server = subprocess.Popen(
                [BINARY, "serve", "--listen", f"unix:{path}", "--store", "memory", "--no-auth"], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ, TMPDIR=str(self.home)))
            said = next(line for line in server.stdout if "curl" in line)
            server.terminate()
            with server.stdout as rest:
                rest.read()
            self.assertEqual(server.wait(PATIENCE), 0)
            words = shlex.split(said)
            self.assertEqual(words[words.index("--unix-socket") + 1], path)


if __name__ == "__main__":
    unittest.main()
