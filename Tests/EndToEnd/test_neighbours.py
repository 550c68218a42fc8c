"""A job harms nobody but itself: values, output, processes and the environment, counted where they have their effects."""
import concurrent.futures
import json
import os
import pathlib
import tempfile
import unittest

from processes import alive, is_alive, marker, wait_for
from server import Server
from waiting import there

TASKS = '''
import asyncio, datetime, decimal, os, subprocess, sys, time, uuid
import spindle

@spindle.task
def say(code: str):
    scope = {}
    exec(code, globals(), scope)
    return scope.get("result")

@spindle.task
async def beside(code: str):
    scope = {}
    exec("async def run():\\n" + "\\n".join("    " + line for line in code.splitlines()), globals(), scope)
    return await scope["run"]()

@spindle.task
def typed(day: datetime.date, when: datetime.datetime, id: uuid.UUID, cost: decimal.Decimal, raw: bytes, n: int, x: int = None):
    types = [type(value).__name__ for value in (day, when, id, cost, raw, n, x)]
    return [types, day, when, id, cost, raw, n]
'''
ALONE = TASKS[:TASKS.index("@spindle.task\nasync")]
# Answers with an error that says cancelled, though nobody has asked, and prints a line of three megabytes before.
SHELL = r'''
say() { printf '%s\n' "$1" >&3; }
while IFS= read -r line <&3; do
    id=$(printf '%s' "$line" | sed 's/.*"id":\([0-9]*\).*/\1/')
    case $line in
        *'"initialize"'*) say '{"jsonrpc":"2.0","id":'$id',"result":{"protocol":1,"concurrency":1,"tasks":[{"name":"shout","kind":"cpu","input":{}}]}}' ;;
        *'"run"'*)
            head -c 3000000 /dev/zero | tr '\0' x
            printf '\nafter\nno end'
            say '{"jsonrpc":"2.0","id":'$id',"error":{"code":-32800,"message":"cancelled"}}' ;;
        *'"drain"'*) exit 0 ;;
    esac
done
'''


class NeighbourTest(unittest.TestCase):
    def serve(self, *arguments, **options):
        server = Server("--threads", "1", *arguments, **options)
        self.addCleanup(server.stop)
        return server

    def log(self, server, job):
        return server.get(f"/v1/jobs/{job}/log").body.decode()

    def ran(self, server, task, **value):
        return server.wait(server.submit(task, value))

    def pids(self, server):
        return {worker["pid"] for worker in server.get("/v1/pools/process").json["workers"]}


class ValueTests(NeighbourTest):
    def test_a_bad_value_or_error_ends_no_worker_and_no_neighbour(self):
        server = self.serve("--python", "t.py", "--processes", "1", files={"t.py": TASKS})
        before = self.pids(server)
        neighbours = [server.submit("beside", {"code": "await asyncio.sleep(1)\nreturn 'well'"}) for _ in range(20)]
        for code, type in (
                ("result = {'a': [float('nan')]}", "InvalidOutput"), ("result = '\\ud800'", "InvalidOutput"),
                ("result = {1: 1, '1': 2}", "InvalidOutput"), ("result = 10 ** 400", "InvalidOutput"),
                ("result = []\nfor _ in range(2000): result = [result]", "InvalidOutput"),
                ("raise ValueError('x' * 600_000)", "ValueError"), ("sys.exit(3)", "SystemExit"), ("raise KeyboardInterrupt", "KeyboardInterrupt"),
                ("raise asyncio.CancelledError()", "CancelledError"), ("spindle.progress(float('nan')).send()", "InvalidOutput")):
            for task in ("say", "beside"):
                done = self.ran(server, task, code=code + ("\nreturn result" if task == "beside" and "result" in code else ""))
                self.assertEqual((done["state"], done["error"]["type"]), ("failed", type), (code, done["error"]["message"][:200]))
                self.assertLess(len(done["error"]["message"]), 70_000)
        self.assertEqual({server.wait(job)["result"] for job in neighbours}, {"well"})
        self.assertEqual(self.pids(server), before)

    def test_types_come_and_go(self):
        server = self.serve("--python", "t.py", "--processes", "1", files={"t.py": TASKS})
        value = {"day": "2026-01-02", "when": "2026-01-02T03:04:05Z", "id": "00000000-0000-0000-0000-000000000001", "cost": "1.10",
                 "raw": "YWJj", "n": 1.0, "x": None}
        done = self.ran(server, "typed", **value)
        self.assertEqual(done["result"], [
            ["date", "datetime", "UUID", "Decimal", "bytes", "int", "NoneType"], "2026-01-02", "2026-01-02T03:04:05+00:00",
            value["id"], "1.10", "YWJj", 1])
        done = self.ran(server, "typed", **dict(value, day="tomorrow"))
        self.assertEqual((done["error"]["type"], done["attempt"]), ("InvalidInput", 1))
        self.assertIn("/day", done["error"]["message"])

    def test_a_long_result_comes_by_file_wherever_the_job_has_gone(self):
        home = tempfile.TemporaryDirectory()
        self.addCleanup(home.cleanup)
        os.mkdir(home.name + "/real")
        os.symlink(home.name + "/real", home.name + "/link")
        server = self.serve("--python", "t.py", "--processes", "1", env={"TMPDIR": home.name + "/link"}, files={"t.py": ALONE})
        for _ in range(2):
            done = self.ran(server, "say", code="os.chdir('/')\nresult = 'x' * 3_000_000")
            self.assertEqual(len(done["result"]), 3_000_000)
        self.assertNotEqual(self.ran(server, "say", code="result = os.getcwd()")["result"], "/")

    def test_what_cannot_be_a_task_is_named(self):
        with self.assertRaises(RuntimeError) as caught:
            Server("--python", "t.py", files={"t.py": "import spindle\n\n@spindle.task(name='a b')\ndef first(): pass\n"})
        self.assertIn("t.py:3: first cannot be a task", str(caught.exception))


class OutputTests(NeighbourTest):
    def test_lines_of_any_length_and_none_are_shown_in_time(self):
        server = self.serve("--python", "t.py", "--processes", "1", files={"t.py": ALONE})
        job = server.submit("say", {"code": "print('waiting', end='')\ntime.sleep(60)"})
        shown = next(event for event in server.events(job) if event["type"] == "log")
        self.assertEqual((shown["stream"], shown["text"]), ("stdout", "waiting"))
        server.ask("POST", f"/v1/jobs/{job}/cancel", headers={"Prefer": "wait=20"})
        job = server.submit("say", {"code": "for i in range(100): print(f'\\r{i}%', end='')\nprint()\nprint('x' * 3_000_000)\nprint('after', file=sys.stderr)"})
        server.wait(job)
        lines = self.log(server, job).splitlines()
        self.assertEqual(lines[0].strip(), "99%")
        self.assertTrue(lines[1].startswith("x" * 65536) and "bytes more" in lines[1])
        self.assertEqual(lines[2:], ["after"])

    def test_a_worker_in_any_language_may_print_what_it_likes(self):
        home = tempfile.TemporaryDirectory()
        self.addCleanup(home.cleanup)
        script = pathlib.Path(home.name, "w.sh")
        script.write_text(SHELL)
        server = self.serve("--config", "c.toml", "--processes", "1", files={
            "c.toml": f'[workers.shell]\ncommand = ["sh", "{script}"]\n'})
        for _ in range(2):
            done = self.ran(server, "shout")
            # A cancel that nobody has asked for is a failure.
            self.assertEqual((done["state"], done["error"]["type"]), ("failed", "Cancelled"))
            log = self.log(server, done["id"])
            self.assertTrue(log.startswith("xxxx") and log.endswith("\nafter\nno end\n"), log[-100:])

    def test_the_level_of_a_log_is_kept(self):
        server = self.serve("--python", "t.py", "--processes", "1", files={"t.py": ALONE})
        job = server.submit("say", {"code": "import logging\nspindle.log('a', level='error')\nprint('b')\nlogging.warning('c')"})
        events = [event for event in server.events(job) if event["type"] == "log"]
        self.assertEqual([(event["stream"], event.get("level"), event["text"]) for event in events], [
            ("log", "error", "a"), ("stdout", None, "b"), ("stderr", None, "WARNING:root:c")])

    def test_no_line_is_in_a_neighbours_log(self):
        server = self.serve("--python", "t.py", "--processes", "2", files={"t.py": TASKS})
        code = """
m = spindle.job()
print(m, "printed")
os.write(1, f"{m} raw\\n".encode())
subprocess.run(["echo", m, "child"])
sys.stderr.write(m + " tail")"""
        quick = "print(spindle.job(), 'quick', end='')"

        def one(n):
            if n % 3 == 0:
                return server.submit("say", {"code": code})
            if n % 3 == 1:
                return server.submit("say", {"code": quick})
            return server.submit("beside", {"code": code.strip() + "\nawait asyncio.sleep(0.01)\nprint(spindle.job(), 'later')"})
        with concurrent.futures.ThreadPoolExecutor(16) as clients:
            jobs = list(clients.map(one, range(240)))
        raw = 0
        for n, job in enumerate(jobs):
            self.assertEqual(server.wait(job)["state"], "succeeded")
            lines = self.log(server, job).splitlines()
            self.assertEqual({line.split()[0] for line in lines}, {job})
            words = {line.split()[1] for line in lines}
            raw += "raw" in words
            wanted = [{"printed", "child", "tail"}, {"quick"}, {"printed", "child", "tail", "later"}][n % 3]
            self.assertEqual(words - {"raw"}, wanted)
        said = pathlib.Path(server.log.name).read_text()
        elsewhere = sum(said.count(f"{job} raw") for job in jobs)
        # Nothing is lost: what is nobody's for sure is the worker's.
        self.assertEqual(raw + elsewhere, 160)

    def test_what_outlives_its_job_prints_into_nobodys_log(self):
        server = self.serve("--python", "t.py", "--processes", "1", files={"t.py": ALONE.replace(
            "import spindle", "import spindle, threading, concurrent.futures\npool = concurrent.futures.ProcessPoolExecutor(1)", 1)
            + "def late(name):\n    time.sleep(0.3)\n    print(name, 'of another')\n"})
        self.ran(server, "say", code="threading.Timer(0.3, print, ['thread of another']).start()\npool.submit(late, 'process')")
        done = self.ran(server, "say", code="time.sleep(1)\nprint('mine')")
        self.assertEqual(self.log(server, done["id"]), "mine\n")
        said = pathlib.Path(server.log.name).read_text()
        self.assertTrue("thread of another" in said and "process of another" in said, said)

    def test_a_thread_that_is_left_writes_into_nobodys_log(self):
        ways = ("os.system('echo secret of A')", "os.write(1, b'secret of A\\n')", "os.write(2, b'secret of A\\n')",
                "print('secret of A', file=sys.__stdout__, flush=True)", "open(2, 'w', closefd=False).write('secret of A\\n')",
                "import ctypes; ctypes.CDLL(None).system(b'echo secret of A')")
        for thread in ("threading.Thread(target=late).start()", "_thread.start_new_thread(late, ())", "kept.put(late)"):
            server = self.serve("--python", "t.py", "--processes", "1", files={"t.py": ALONE.replace(
                "import spindle", "import spindle, threading, _thread, queue\nkept = queue.Queue()\n"
                "def serve():\n    while True: kept.get()()\nthreading.Thread(target=serve, daemon=True).start()\n"
                if thread.startswith("kept") else "import spindle, threading, _thread", 1)})
            for n, way in enumerate(ways):
                with self.subTest(thread=thread, way=way):
                    # It writes while the next job runs: that one says when, and waits until it is done.
                    begin, end = (os.path.join(server.home.name, f"{name}{n}") for name in ("begin", "end"))
                    os.mkfifo(begin)
                    os.mkfifo(end)
                    self.ran(server, "say", code=f"def late():\n    import os, sys\n    open({begin!r}).read()\n    {way}\n"
                             f"    open({end!r}, 'w').close()\n{thread}")
                    done = self.ran(server, "say", code=f"print('mine')\nopen({begin!r}, 'w').close()\nopen({end!r}).read()")
                    self.assertEqual(self.log(server, done["id"]), "mine\n")
            self.ran(server, "say", code="print('last')")
            self.assertEqual(pathlib.Path(server.log.name).read_text().count("secret of A"), len(ways))

    def test_a_timer_of_faulthandler_ends_with_its_job(self):
        server = self.serve("--python", "t.py", "--processes", "1", files={"t.py": ALONE})
        self.ran(server, "say", code="import faulthandler\nfaulthandler.dump_traceback_later(0.2)")
        done = self.ran(server, "say", code="time.sleep(0.6)\nprint('mine')")
        self.assertEqual(self.log(server, done["id"]), "mine\n")

    def test_a_deaths_message_has_nothing_of_a_neighbour(self):
        server = self.serve("--python", "t.py", "--processes", "1", files={"t.py": TASKS})
        self.ran(server, "beside", code="print('secret of another', file=sys.stderr)")
        waiting = server.submit("beside", {"code": "print('secret of a neighbour', file=sys.stderr)\nawait asyncio.sleep(60)"}, max_attempts=2)
        next(event for event in server.events(waiting) if event["type"] == "log")
        done = self.ran(server, "say", code="print('my own', file=sys.stderr)\nos._exit(3)")
        self.assertEqual(done["error"]["type"], "Crashed")
        self.assertNotIn("secret", json.dumps(done))
        self.assertIn("my own", "\n".join(done["error"]["traceback"]))


class ProcessTests(NeighbourTest):
    COMMANDS = {
        "leave": ["sh", "-c", 'sleep "$1" & setsid sleep "$1" & (setsid sleep "$1" &) ; exit "$2"', "sh", "{m}", "{code}"]}

    def test_what_a_command_leaves_ends_with_it(self):
        config = f"[commands.leave]\ncommand = {json.dumps(self.COMMANDS['leave'])}\n"
        server = self.serve("--config", "c.toml", "--processes", "2", files={"c.toml": config})
        for code, state in (("0", "succeeded"), ("1", "failed")):
            m = marker()
            done = self.ran(server, "leave", m=m, code=code)
            self.assertEqual((done["state"], alive(m)), (state, []))
        # Nothing of an attempt lives into its retry, either.
        m = marker()
        job = server.submit("leave", {"m": m, "code": "1"}, max_attempts=2)
        next(event for event in server.events(job) if event["type"] == "retrying")
        self.assertLessEqual(len(alive(m)), 3)
        server.wait(job)
        self.assertEqual(alive(m), [])

    def test_what_a_python_task_leaves_ends_with_it_however_it_ends(self):
        start = "subprocess.Popen(['sleep', '{m}'], start_new_session=True)\nos.system('sleep {m} &')\n"
        ends = {"pass": ("succeeded", {}), "raise ValueError": ("failed", {}), "os._exit(1)": ("failed", {}),
                "time.sleep(60)": ("failed", {"timeout": "2s"}), "os.kill(os.getpid(), 9)": ("failed", {})}
        server = self.serve("--python", "t.py", "--processes", "2", files={"t.py": ALONE})
        for end, (state, options) in ends.items():
            with self.subTest(end):
                m = marker()
                done = server.wait(server.submit("say", {"code": start.format(m=m) + end}, **options))
                self.assertEqual((done["state"], alive(m)), (state, []))
        m = marker()
        job = server.submit("say", {"code": start.format(m=m) + "time.sleep(60)"})
        wait_for(2, m)
        done = server.ask("POST", f"/v1/jobs/{job}/cancel", headers={"Prefer": "wait=20"}).json
        self.assertEqual((done["cancel"]["how"], alive(m)), ("cooperative", []))

    def test_what_a_python_task_starts_with_an_environment_of_its_own_does_not_outlive_a_killed_server(self):
        mark = marker()
        server = self.serve("--processes", "1", "--python", "tasks.py", files={"tasks.py": ALONE})
        code = f"subprocess.Popen(['sleep', '{mark}'], env={{'PATH': os.environ['PATH']}}, start_new_session=True); time.sleep(600)"
        server.submit("say", {"code": code})
        wait_for(1, mark)
        server.kill()
        server.start()
        wait_for(0, mark)

    # Leaves a process behind, of another session and without a parent, and its number in a file.
    DAEMON = """import ctypes, os, sys, threading, time
way, place = sys.argv[1:]
ready, told = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open(place, "w") as file: file.write(str(os.getpid()))
        if way == "threads":
            threading.Thread(target=time.sleep, args=(600,)).start()
            os.write(told, b"1")
            ctypes.CDLL(None).pthread_exit(None)
        environment = {"bare": {}, "long": {"A": "x" * 100_000, "B": "x" * 100_000, "C": "x" * 100_000, **os.environ}}[way]
        os.execve("/bin/sleep", ["sleep", "600"], environment)
    os._exit(0)
os.close(told)
os.read(ready, 1)
"""

    def test_what_has_left_its_parent_its_session_and_its_environment_ends_with_its_job(self):
        config = "[commands.daemon]\ncommand = " + json.dumps(["python3", "{script}", "{way}", "{place}"]) + "\n"
        for more in ((), ("--preload",)):
            server = self.serve("--config", "c.toml", "--python", "t.py", "--processes", "2", *more,
                                files={"c.toml": config, "d.py": self.DAEMON, "t.py": ALONE})
            script = server.home.name + "/d.py"
            for way in ("bare", "threads", "long"):
                for task in ("daemon", "say"):
                    with self.subTest(way=way, task=task, more=more):
                        place = f"{server.home.name}/{way}-{task}"
                        value = {"script": script, "way": way, "place": place} if task == "daemon" else {
                            "code": f"subprocess.run([sys.executable, {script!r}, {way!r}, {place!r}], check=True)"}
                        done = server.wait(server.submit(task, value))
                        self.assertEqual(done["state"], "succeeded", done)
                        self.assertFalse(is_alive(int(pathlib.Path(place).read_text())))
            server.stop()

    def test_it_does_not_outlive_a_killed_server_either(self):
        config = "[commands.daemon]\ncommand = " + json.dumps(
            ["sh", "-c", 'python3 "$1" "$2" "$3"; : >"$3.ready"; exec sleep 600', "sh", "{script}", "{way}", "{place}"]) + "\n"
        server = self.serve("--config", "c.toml", "--processes", "3", files={"c.toml": config, "d.py": self.DAEMON})
        places = {way: f"{server.home.name}/{way}" for way in ("bare", "threads", "long")}
        for way, place in places.items():
            server.submit("daemon", {"script": server.home.name + "/d.py", "way": way, "place": place})
            there(place + ".ready")
        left = {way: int(pathlib.Path(place).read_text()) for way, place in places.items()}
        server.kill()
        self.assertEqual({way for way, pid in left.items() if is_alive(pid)}, set(left))
        server.start()
        self.assertEqual({way for way, pid in left.items() if is_alive(pid)}, set())

    def test_a_coroutines_processes_end_with_it_and_its_neighbours_do_not(self):
        server = self.serve("--python", "t.py", "--processes", "1", files={"t.py": TASKS})
        kept, left = marker(), marker()
        job = server.submit("beside", {"code": f"p = await asyncio.create_subprocess_exec('sleep', '{kept}')\nawait p.wait()"})
        wait_for(1, kept)
        self.ran(server, "beside", code=f"await asyncio.create_subprocess_exec('sleep', '{left}')")
        self.assertEqual((alive(left), len(alive(kept))), ([], 1))
        server.ask("POST", f"/v1/jobs/{job}/cancel", headers={"Prefer": "wait=20"})
        self.assertEqual(alive(kept), [])


class DirectoryTests(NeighbourTest):
    def test_a_call_has_a_directory_of_its_own(self):
        for task, tasks in (("say", ALONE), ("beside", TASKS)):
            with self.subTest(task=task):
                server = self.serve("--python", "t.py", "--processes", "1", files={"t.py": tasks})
                keep = "place = spindle.directory()\nopen(place + '/secret', 'w').close()\n"
                answer = "result = place" if task == "say" else "return place"
                places = [self.ran(server, task, code=keep + answer)["result"] for _ in range(2)]
                self.assertNotEqual(*places)
                self.assertEqual([place for place in places if os.path.exists(place)], [])
                seen = "seen = os.listdir(spindle.directory())\n"
                self.assertEqual(self.ran(server, task, code=seen + answer.replace("place", "seen"))["result"], [])
                # One that throws its directory away takes nothing from the next one, whose result goes by a file.
                self.ran(server, task, code="import shutil\nshutil.rmtree(spindle.directory())")
                done = self.ran(server, task, code="big = 'x' * 3_000_000\n" + answer.replace("place", "big"))
                self.assertEqual(len(done["result"]), 3_000_000)


class CancelTests(NeighbourTest):
    def test_a_coroutine_that_cleans_up_for_too_long_spares_its_neighbours(self):
        server = self.serve("--python", "t.py", "--processes", "1", files={"t.py": TASKS})
        beside = server.submit("beside", {"code": "await asyncio.sleep(2)\nreturn os.getpid()"})
        slow = server.submit("beside", {"code": "try:\n    print('begun')\n    await asyncio.sleep(60)\nfinally:\n    await asyncio.sleep(60)"})
        next(event for event in server.events(slow) if event["type"] == "log")
        done = server.ask("POST", f"/v1/jobs/{slow}/cancel", {"grace": "100ms"}, {"Prefer": "wait=20"}).json
        self.assertEqual((done["state"], done["cancel"]["how"]), ("cancelled", "cooperative"))
        done = server.wait(beside)
        self.assertEqual((done["state"], done["attempt"]), ("succeeded", 1))
        self.assertIn(done["result"], self.pids(server))


class EnvironmentTests(NeighbourTest):
    LOOK = "result = [os.environ.get(name) for name in ('MINE', 'SPINDLE_TOKEN', 'SPINDLE_CONFIG', 'OTHER')] + [os.getcwd()]"
    BASE = {"MINE": "of the user", "SPINDLE_TOKEN": "secret"}

    def look(self, *arguments, **files):
        server = self.serve(*arguments, "--processes", "1", env=self.BASE, files=dict(files, **{"sub/t.py": ALONE}))
        *seen, place = self.ran(server, "say", code=self.LOOK)["result"]
        self.assertEqual(place, os.path.realpath(server.home.name + "/sub"))
        return seen

    def test_tasks_see_what_the_user_sees_but_for_what_is_ours(self):
        for more in ([], ["--preload"]):
            self.assertEqual(self.look("--python", "sub/t.py", *more), ["of the user", None, None, None])

    def test_or_what_they_are_told(self):
        self.assertEqual(self.look("--python", "sub/t.py", "--env", "OTHER=x=y"), [None, None, None, "x=y"])
        self.assertEqual(self.look("--python", "sub/t.py", "--env", "MINE"), ["of the user", None, None, None])

    def test_commands_keep_their_list(self):
        server = self.serve("--config", "c.toml", env=self.BASE, files={
            "c.toml": '[commands.env]\ncommand = ["env"]\nenvironment = { OTHER = "x" }\n'})
        names = {line.split("=")[0] for line in self.ran(server, "env")["result"].splitlines()}
        self.assertEqual(names & {"MINE", "SPINDLE_TOKEN", "OTHER", "SPINDLE_JOB"}, {"OTHER", "SPINDLE_JOB"})


if __name__ == "__main__":
    unittest.main()
