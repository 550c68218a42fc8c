"""The configuration file: what is refused, by name and place, and what is found beside it."""
import json
import os
import pathlib
import signal
import subprocess
import unittest

from server import BINARY, PATIENCE
from test_files import HomeTest, serve
from waiting import changed, logged


class ConfigTest(HomeTest):
    def config(self, text, *arguments, command="config", cwd=None):
        path = self.home / "c.toml"
        path.write_text(text)
        env = dict(os.environ, XDG_STATE_HOME=str(self.home / "state"), TMPDIR=str(self.home))
        return subprocess.run(
            [BINARY, command, "--config", str(path), *arguments], capture_output=True, text=True, timeout=PATIENCE, env=env,
            cwd=cwd or self.home)

    def refused(self, text, *words):
        for command in ("config", "serve"):
            done = self.config(text, command=command)
            self.assertEqual(done.returncode, 2, (text, done.stdout, done.stderr))
            for word in words:
                self.assertIn(word, done.stderr, text)


class VariableTests(HomeTest):
    TASK = "import os, spindle\n\n@spindle.task\ndef see():\n    return {name: os.environ.get(name) for name in ('A', 'B', 'C')}\n"

    def test_a_list_in_a_variable_has_commas_between_and_a_backslash_before_those_in_an_item(self):
        server = self.server("--python", "t.py", files={"t.py": self.TASK}, env={"SPINDLE_ENV": r"A=1\,2,B=\3,C", "C": "c"})
        self.assertEqual(server.ask("POST", "/v1/run/see", {}).json, {"A": "1,2", "B": r"\3", "C": "c"})

    def test_what_is_no_name_of_a_variable_is_refused_and_it_says_how_a_comma_is_written(self):
        (self.home / "t.py").write_text(self.TASK)
        for variables, arguments in (({"SPINDLE_ENV": "A=1,2"}, ()), ({}, ("--env", "=x")), ({}, ("--env", "A B=1"))):
            code, said = serve("--listen", "127.0.0.1:0", "--store", "memory", "--no-auth", "--python", str(self.home / "t.py"),
                               *arguments, TMPDIR=str(self.home), **variables)
            self.assertEqual(code, 2, said)
            self.assertIn("is no NAME or NAME=VALUE", said)
            self.assertIn("\\,", said)


class BrokenTests(HomeTest):
    # At these the parser of TOML ends its process.
    BROKEN = ("[commands.a]\ncommand = [1,  }\n", '[::1low = ["a"]\nb = 1\n')

    def test_what_the_parser_takes_for_a_fault_of_its_own_is_refused_and_ends_no_server(self):
        server = self.server("--config", "c.toml", files={"c.toml": '[commands.a]\ncommand = ["echo", "one"]\n'})
        for text in self.BROKEN:
            path = pathlib.Path(server.home.name, "c.toml")
            path.write_text(text)
            done = server.command("config", "--config", str(path))
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("c.toml is no TOML", done.stderr)
            lines = pathlib.Path(server.log.name).read_text().count("nothing was reloaded")
            server.process.send_signal(signal.SIGHUP)
            log = pathlib.Path(server.log.name)
            changed(log, lambda: log.read_text().count("nothing was reloaded") > lines, "it says nothing")
            self.assertEqual(server.ask("POST", "/v1/run/a", {}).json, "one")
        self.assertIsNone(server.process.poll())

    def test_a_file_that_never_ends_is_refused(self):
        (self.home / "long").write_bytes(b"#" * (5 << 20))
        for path in ("/dev/zero", str(self.home / "long")):
            done = subprocess.run([BINARY, "config", "--config", path], capture_output=True, text=True, timeout=PATIENCE)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("File too large", done.stderr)


class RefusalTests(ConfigTest):
    def test_a_value_of_another_type_is_refused_by_name_and_line(self):
        command = "[commands.x]\ncommand = ['true']\n"
        cases = {
            "\n[commands.x]\ncommand = ['seq', 3, 1]": ("line 3", "commands.x.command[1]", "3"),
            "[commands.x]\ncommand = 'true'": ("line 2", "commands.x.command"),
            "[commands.x]\ncommand = []": ("commands.x.command",),
            "[commands.x]\ncommand = [['true']]": ("commands.x.command[0]",),
            command + "stdin = 'yes'": ("line 3", "commands.x.stdin", "true or false"),
            command + "max_attempts = '3'": ("commands.x.max_attempts",), command + "max_attempts = 2.5": ("commands.x.max_attempts",),
            command + "max_attempts = 0": ("commands.x.max_attempts",), command + "timeout = 30": ("commands.x.timeout",),
            command + "timeout = '30'": ("commands.x.timeout",), command + "kind = 'cup'": ("commands.x.kind",),
            command + "result = 'xml'": ("commands.x.result",), command + "description = 3": ("commands.x.description",),
            command + "progress = 5": ("commands.x.progress",), command + "dash = ['a', true]": ("commands.x.dash[1]",),
            command + "dash = 'a'": ("commands.x.dash",), command + "environment = { A = 3 }": ("commands.x.environment.A",),
            command + "environment = 'A=3'": ("commands.x.environment",), command + "input = 3": ("commands.x.input",),
            command + "[commands.x.environment]\nA = '1'\nB = 2": ("line 5", "commands.x.environment.B"),
            "commands = 3": ("line 1", "commands"), "commands = { x = 3 }": ("commands.x",), "workers = []": ("workers",),
            "[workers.w]\ncommand = ['sh', 3]": ("workers.w.command[1]",),
            "[workers.w]\ncommand = ['sh']\nmax_jobs = '1'": ("line 3", "workers.w.max_jobs"),
            "[workers.w]\ncommand = ['sh']\nidle = 5": ("workers.w.idle",),
            "[workers.w]\ncommand = ['sh']\npreload = 1": ("workers.w.preload",),
            "[workers.w]\ncommand = ['sh']\nmemory = true": ("workers.w.memory",),
            "[workers.w]\ncommand = ['sh']\nenvironment = { A = true }": ("workers.w.environment.A",),
            "threads = 'many'": ("line 1", "threads"), "threads = 2.5": ("threads",), "threads = true": ("threads",),
            "store = true": ("store",), "store = 3": ("store",), "token_file = ['a']": ("token_file",),
            "no_auth = 'true'": ("no_auth",), "no_auth = 1": ("no_auth",), "drain = 10": ("drain",), "drain = true": ("drain",),
            "listen = ['127.0.0.1:0', 8080]": ("listen[1]",), "listen = 8080": ("listen",), "memory_limit = true": ("memory_limit",),
            "python = [['a.py']]": ("python[0]",), "\n\nstore = 1979-05-27": ("line 3", "store"), "drain = 07:32:00": ("drain",),
            "threads = nan": ("threads",), "threads = inf": ("threads",), "[threads]\na = 1": ("threads",),
        }
        for text, words in cases.items():
            with self.subTest(text):
                self.refused(text, *words)

    def test_an_unknown_key_is_named_with_its_neighbour(self):
        cases = {
            "thread = 3": ("line 1", "thread", '"threads"'), "[command.x]\ncommand = ['true']": ("line 1", "command", '"commands"'),
            "[commands.x]\ncomand = ['true']": ("line 2", "commands.x.comand", '"command"'),
            "[workers.x]\ncommand = ['sh']\nmaxjobs = 3": ("line 3", "workers.x.maxjobs", '"max_jobs"'),
            "[server]\nthreads = 3": ("server",)}
        for text, words in cases.items():
            self.refused(text, *words)

    def test_what_is_no_toml_is_refused_and_so_is_what_is_no_file(self):
        self.refused("threads = = 3", "line 1")
        done = subprocess.run([BINARY, "config", "--config", str(self.home)], capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 2, done.stdout)

    def test_right_values_are_taken(self):
        done = self.config(
            "threads = 3\nno_auth = true\ndrain = '1s'\nlisten = '127.0.0.1:0'\nworker_memory = 0\nmemory_limit = '1GiB'\n"
            "[commands.x]\ncommand = ['echo', '3']\n[workers.w]\ncommand = ['sh', 'w.sh']\n", "--json")
        values = json.loads(done.stdout)
        for key, value in (("threads", ["3"]), ("no-auth", ["true"]), ("drain", ["1s"]), ("listen", ["127.0.0.1:0"]),
                           ("worker-memory", ["0"]), ("memory-limit", ["1GiB"])):
            self.assertEqual(values[key]["value"], value)
            self.assertEqual(values[key]["from"], f"{self.home}/c.toml: {key.replace('-', '_')}")
        self.assertEqual(values["commands.x"], {"value": ["echo 3"], "from": f"{self.home}/c.toml: commands.x"})
        self.assertEqual(values["workers.w"]["from"], f"{self.home}/c.toml: workers.w")
        self.assertEqual(values["loops"]["from"], "default")


class ProgramTests(ConfigTest):
    def script(self, name, text="#!/bin/sh\necho found\n", mode=0o755):
        path = self.home / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def test_a_script_is_found_beside_the_configuration_wherever_the_server_stands(self):
        self.script("script.sh")
        self.script("sub/other.sh")
        (self.home / "c.toml").write_text(
            "[commands.one]\ncommand = ['./script.sh']\n[commands.two]\ncommand = ['sub/other.sh']\n")
        server = self.server("--config", str(self.home / "c.toml"), "--no-auth")
        for task in ("one", "two"):
            self.assertEqual(server.ask("POST", f"/v1/run/{task}", {}).json, "found")

    def test_a_placeholder_takes_the_default_of_its_schema(self):
        path = self.home / "c.toml"
        path.write_text("""
[commands.show]
command = ["printf", "%s|", "{file}", "-resize", "{width}x", "{size.height}", "{on}"]
input = { type = "object", required = ["file"], properties = { file = { type = "string" }, width = { type = "integer", default = 128 }, on = { default = true }, size = { type = "object", properties = { height = { default = 1.50 } } } } }
[commands.plain]
command = ["printf", "%s", "{word}"]
input = { type = "object", properties = { word = { type = "string" } } }
""")
        server = self.server("--config", str(path), "--no-auth")
        for value, text in (({"file": "a"}, "a|-resize|128x|1.5|true|"), ({"file": "a", "width": 3, "on": False}, "a|-resize|3x|1.5|false|"),
                            ({"file": "a", "size": {"height": 7}}, "a|-resize|128x|7|true|")):
            self.assertEqual(server.ask("POST", "/v1/run/show", value).json, text)
        answer = server.ask("POST", "/v1/run/plain", {})
        self.assertEqual((answer.status, answer.json["detail"]), (422, '"word" is missing'))

    def test_what_is_not_there_or_cannot_run_is_said_at_the_start(self):
        self.script("closed.sh", mode=0o644)
        (self.home / "directory").mkdir()
        for kind in ("commands", "workers"):
            for program, words in (("./nowhere.sh", "nowhere.sh"), ("./closed.sh", "chmod +x"), ("./directory", "no program"),
                                   ("no-such-program", "no-such-program"), ("/no/such", "/no/such")):
                self.refused(f"\n[{kind}.x]\ncommand = ['{program}']", "line 3", f"{kind}.x.command", words)
        done = self.config("", "--python", "x.py", "--interpreter", "./none", command="serve")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--interpreter", done.stderr)

    def test_a_file_that_takes_long_to_read_keeps_nobody_waiting(self):
        path = self.home / "c.toml"
        path.write_text("[commands.one]\ncommand = ['echo', 'before']\n")
        server = self.server("--config", str(path), "--no-auth")
        path.unlink()
        os.mkfifo(path)
        server.process.send_signal(signal.SIGHUP)
        # Somebody reads it now, and gets nothing yet.
        with open(path, "w") as file:
            self.assertEqual(server.ask("POST", "/v1/run/one", {}).json, "before")
            file.write("[commands.one]\ncommand = ['echo', 'after']\n")
        logged(server, "reloading")
        self.assertEqual(server.ask("POST", "/v1/run/one", {}).json, "after")

    def test_a_reload_says_what_is_not_there_and_changes_nothing(self):
        script = self.script("script.sh")
        path = self.home / "c.toml"
        path.write_text("[commands.one]\ncommand = ['./script.sh']\n")
        server = self.server("--config", str(path), "--no-auth")
        path.write_text("[commands.one]\ncommand = ['./script.sh']\n[commands.two]\ncommand = ['./gone.sh']\n")
        server.process.send_signal(signal.SIGHUP)
        logged(server, "gone.sh")
        self.assertEqual(server.ask("POST", "/v1/run/one", {}).json, "found")
        self.assertEqual(server.ask("GET", "/v1/tasks/two").status, 404)
        script.write_text("#!/bin/sh\necho anew\n")
        self.assertEqual(server.ask("POST", "/v1/run/one", {}).json, "anew")


if __name__ == "__main__":
    unittest.main()
