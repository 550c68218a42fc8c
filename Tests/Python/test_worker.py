"""What a call does to itself, and what it cannot do to others."""
import glob
import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

from conversation import Conversation, eventually, is_alive


@pytest.fixture(scope="module")
def values():
    with Conversation('''
import datetime, decimal, enum, dataclasses, pathlib, uuid
@spindle.task
def say(code: str):
    return eval(code)
@spindle.task
def partial(code: str):
    yield 1
    yield eval(code)
@spindle.task
async def later(code: str):
    await asyncio.sleep(0)
    return eval(code)
@spindle.task
def wrong(code: str):
    exec(code)
@dataclasses.dataclass
class Point:
    x: int
    y: object = None
class Color(enum.Enum):
    RED = "red"
class Mute(Exception):
    def __str__(self): raise KeyError("no")
def rude(error):
    def refuse(self): raise error
    return type("Rude", (Exception,), {"__str__": refuse, "__repr__": refuse})
class Text(str):
    def encode(self, *_): raise KeyboardInterrupt
@spindle.task
async def awrong(code: str):
    exec(code)
@spindle.task
async def slow():
    await asyncio.sleep(0.3)
    return "slept"
''') as conversation:
        yield conversation


BAD = [
    ('float("nan")', "nan"), ('{"a": [1, float("-inf")]}', "/a/1"), ('"\\ud800"', "surrogate"), ('{"\\udfff": 1}', "surrogate"),
    ('{1: 1, "1": 2}', "two members"), ('{"x": {None: 1, "null": 2}}', "/x"), ('{(1, 2): 3}', "tuple"),
    ('10 ** 400', "too long"), ('[10 ** 5000]', "/0"), ('object()', "object"), ('{"f": print}', "/f"),
    ('[a := [], a.append(a)] and a', "deeper"), ('Point(1, Point(2, float("nan")))', "/y/y"), ('{1, float("nan")}', "nan"),
    ('eval("[" * 80 + "]" * 80)', "deeper"),
    ('(lambda d: [d := [d] for _ in range(5000)] and d)([])', "deeper"),
]


@pytest.mark.parametrize("code, where", BAD)
@pytest.mark.parametrize("task", ["say", "later", "partial"])
def test_what_is_no_strict_json_fails_its_call_and_says_where(values, task, code, where):
    pid = values.ask("ping")
    beside = values.start("slow")
    error = values.run(task, code=code)
    assert error["data"]["type"] == "InvalidOutput" and error["data"]["retry"] == "never", error
    assert where in error["message"]
    assert values.outcome(beside) == "slept" and pid == {}


GOOD = [
    ('1.0', 1.0), ('10 ** 30', 10 ** 30), ('{1: "a"}', {"1": "a"}), ('Point(1, {3, 1, 2})', {"x": 1, "y": [1, 2, 3]}),
    ('[Color.RED, (1, 2)]', ["red", [1, 2]]), ('datetime.datetime(2026, 1, 2, 3, 4, 5)', "2026-01-02T03:04:05"),
    ('datetime.date(2026, 1, 2)', "2026-01-02"), ('uuid.UUID(int=1)', "00000000-0000-0000-0000-000000000001"),
    ('decimal.Decimal("1.10")', "1.10"), ('pathlib.Path("/a/b")', "/a/b"), ('b"abc"', "YWJj"), ('"é\\u2028"', "é\u2028"),
    ('"x" * 3_000_000', "x" * 3_000_000), ('eval("[" * 64 + "]" * 64)', json.loads("[" * 64 + "]" * 64)),
]


@pytest.mark.parametrize("code, value", GOOD)
@pytest.mark.parametrize("task", ["say", "later"])
def test_what_json_can_say_is_said(values, task, code, value):
    assert values.run(task, code=code) == value


ERRORS = [
    ('raise ValueError("x" * 600_000)', "ValueError"), ('raise ValueError("\\x00" * 600_000)', "ValueError"), ("raise Mute()", "Mute"),
    ("import sys; threading.Thread(target=time.sleep, args=(0.2,)).start(); sys.exit(3)", "SystemExit"),
    ("raise KeyboardInterrupt", "KeyboardInterrupt"), ("raise GeneratorExit", "GeneratorExit"), ("raise BaseException(1)", "BaseException"),
    ("raise rude(KeyboardInterrupt)", "Rude"), ("raise rude(SystemExit(3))(1)", "Rude"), ("raise rude(GeneratorExit)", "Rude"),
    ("raise rude(asyncio.CancelledError)", "Rude"), ("raise ValueError(rude(KeyboardInterrupt)())", "ValueError"),
    ("raise ValueError(1) from rude(KeyboardInterrupt)()", "ValueError"), ("raise type('Odd', (Exception,), {'__str__': lambda self: Text('x')})", "Odd"),
    ("raise asyncio.CancelledError()", "CancelledError"), ("raise spindle.Cancelled()", "Cancelled"),
    ("raise type('N' * 100_000, (Exception,), {})", None), ("raise ValueError('\\udcff')", "ValueError"),
    ("exec('def f(): f()\\nf()', {})", "RecursionError"), ("raise StopIteration(1)", None), ("raise spindle.InvalidInput('x')", "InvalidInput"),
    ("raise ValueError('a') from ValueError('b' * 300_000)", "ValueError"), ("raise MemoryError", "MemoryError"),
    ("spindle.log('\\ud800')", "InvalidOutput"), ("spindle.progress(float('nan')).send()", "InvalidOutput"),
    ("spindle.progress(1, float('inf')).send()", "InvalidOutput"), ("spindle.progress('1').send()", "InvalidOutput"),
    ("spindle.progress(1, message='\\ud800').send()", "InvalidOutput"), ("spindle.output({1: 1, '1': 1})", "InvalidOutput"),
    ("spindle.output('x' * 2_000_000)", "InvalidOutput"),
]


@pytest.mark.parametrize("code, type", ERRORS)
@pytest.mark.parametrize("task", ["wrong", "awrong"])
def test_whatever_is_raised_fails_its_call_with_its_type_and_nothing_else(values, task, code, type):
    error = values.run(task, code=code)
    assert error["code"] == -32000
    if type:
        assert error["data"]["type"] == type
    assert len(json.dumps(error["message"], ensure_ascii=False)) < 7 << 16
    assert values.run("say", code="1") == 1 and values.process.poll() is None


def test_an_exit_in_a_task_of_a_coroutine_is_that_coroutines():
    with Conversation('''
async def leave(): sys.exit(4)
@spindle.task
async def parent():
    await asyncio.create_task(leave())
@spindle.task
async def beside():
    global over
    over = asyncio.Event()
    await over.wait()
    return "well"
@spindle.task
async def go_on(): over.set()
''') as worker:
        beside = worker.start("beside")
        assert worker.run("parent")["data"]["type"] == "SystemExit"
        worker.run("go_on")
        assert worker.outcome(beside) == "well"


def test_defaults_that_are_no_json_are_left_out_and_hold_all_the_same():
    with Conversation('''
@spindle.task
def f(x: float = float("nan"), y: str = "\\ud800", z=object()):
    """Half \\ud800 a character."""
    return x != x
''') as worker:
        assert worker.run("f") is True
        assert worker.description["tasks"][0]["input"]["properties"] == {"x": {"type": "number"}, "y": {"type": "string"}, "z": {}}


# ---------------------------------------------------------------- what is printed

PRINTING = '''
import contextlib, ctypes, io, logging, multiprocessing, concurrent.futures, warnings
libc = ctypes.CDLL(None)
kept = concurrent.futures.ThreadPoolExecutor(2)
handler = logging.StreamHandler()
logging.getLogger("mine").addHandler(handler)
@spindle.task
def say(code: str):
    out = {}
    exec(code, globals(), out)
    return out.get("result")
@spindle.task
async def asay(code: str):
    scope = {}
    exec("async def run():\\n" + "\\n".join("    " + line for line in code.splitlines()), globals(), scope)
    return await scope["run"]()
'''


@pytest.fixture(scope="module")
def printing():
    with Conversation(PRINTING) as conversation:
        yield conversation


LOGS = [
    ("print('a\\nb')", ["a", "b"]), ("print('a', end='')", ["a"]), ("sys.stderr.write('x\\ny')", ["x", "y"]),
    ("t = threading.Thread(target=print, args=('t',)); t.start(); t.join()", ["t"]),
    ("kept.submit(print, 'pool').result()", ["pool"]),
    ("sys.stdout.buffer.write('é'.encode()[:1]); sys.stdout.buffer.write('é\\n'.encode()[1:])", ["é"]),
    ("logging.getLogger('mine').error('logged')", ["logged"]), ("logging.getLogger('other').warning('last resort')", ["last resort"]),
    ("subprocess.run(['echo', 'child'])", ["child"]), ("subprocess.run('echo a; echo b >&2', shell=True)", ["a", "b"]),
    ("subprocess.run(['printf', 'no end'])", ["no end"]), ("os.system('echo system')", ["system"]),
    ("print('one'); subprocess.run(['echo', 'two']); print('three')", ["one", "two", "three"]),
    ("os.waitpid(os.posix_spawn('/bin/echo', ['echo', 'spawned'], os.environ), 0)", ["spawned"]),
    ("os.waitpid(os.spawnv(os.P_NOWAIT, '/bin/echo', ['echo', 'old']), 0)", ["old"]),
    ("p = multiprocessing.get_context('fork').Process(target=print, args=('forked',)); p.start(); p.join()", ["forked"]),
    ("p = multiprocessing.get_context('spawn').Process(target=print, args=('spawned anew',)); p.start(); p.join()", ["spawned anew"]),
    ("p = multiprocessing.get_context('forkserver').Process(target=print, args=('served',)); p.start(); p.join()", ["served"]),
    ("from multiprocessing.pool import ThreadPool\nwith ThreadPool(2) as p: p.map(print, 'ab', 2)", ["a", "b"]),
    ("print('50%\\r75%\\r100%')", ["100%"]), ("print('\\udcff')", ["\\udcff"]), ("warnings.warn('careful')", None),
    ("spindle.log('text', level='warning')", ["text"]),
    ("sys.stdout = io.StringIO(); print('lost')", []), ("print('x' * 3_000_000)", None),
    ("subprocess.run(['echo', 'to err'], stdout=sys.stderr)", ["to err"]),
    ("print(subprocess.run(['echo', 'kept'], capture_output=True).stdout)", ["b'kept\\n'"]),
]


@pytest.mark.parametrize("code, lines", LOGS)
@pytest.mark.parametrize("task", ["say", "asay"])
def test_what_a_call_prints_is_its_log(printing, task, code, lines):
    id = printing.start(task, code=code)
    answer = printing.answer(id)
    assert "error" not in answer, answer
    if lines is not None:
        assert sorted(printing.log(id)) == sorted(lines) if "ab" in code or ">&2" in code else printing.log(id) == lines
    assert all(len(line.encode()) < (64 << 10) + 40 for line in printing.log(id))
    assert all(not printing.log(other) or other <= id for other in range(id + 5))
    second = printing.start("say", code="print('mine alone')")
    printing.answer(second)
    assert printing.log(second) == ["mine alone"]


def test_a_long_line_is_cut_with_a_mark(printing):
    id = printing.start("say", code="print('x' * 3_000_000); print('after')")
    printing.answer(id)
    cut, after = printing.log(id)
    assert cut.startswith("x" * 65536) and "bytes more" in cut and after == "after"


def test_the_level_of_a_log_is_told(printing):
    id = printing.start("say", code="spindle.log('a', level='error'); spindle.log('b')")
    printing.answer(id)
    assert [(notice["text"], notice["level"], notice["stream"]) for notice in printing.notices("log", id)] == [
        ("a", "error", "log"), ("b", "info", "log")]


def test_what_has_no_newline_is_shown_while_it_stands_there(printing):
    for code in ("print('waiting...', end=''); time.sleep(60)", "print('\\r 1%\\r 2%', end=''); time.sleep(60)",
                 "subprocess.run(\"printf 'waiting...'; exec sleep 60\", shell=True)"):
        id = printing.start("say", code=code)
        printing.until(lambda message: message.get("method") == "log" and message["params"].get("id") == id)
        printing.cancel(id)
        assert printing.outcome(id)["code"] == -32800
        assert printing.log(id) in (["waiting..."], [" 2%"])


def test_many_at_once_each_have_their_own_log(printing):
    ids = [printing.start("asay", code=f"""
for i in range(20):
    print('{n} line', i)
    await asyncio.sleep(0.001)
    if i == 10: await asyncio.get_running_loop().run_in_executor(None, print, '{n} executor')
    if i == 12: await asyncio.to_thread(print, '{n} thread') if hasattr(asyncio, 'to_thread') else None
    if i == 15: await (await asyncio.create_subprocess_shell('echo {n} child')).wait()
print('{n} tail', end='')
return spindle.job()""") for n in range(20)]
    for n, id in enumerate(ids):
        assert printing.outcome(id) == f"job{id}"
        log = printing.log(id)
        assert len(log) >= 23 and all(line.split()[0] == str(n) for line in log), log


def test_what_nobody_that_runs_has_printed_is_in_no_log(printing):
    before = len(printing.said)
    id = printing.start("asay", code="""
async def fail(): raise ValueError('of a neighbour')
task = asyncio.get_running_loop().create_task(fail())
sys.late, sys.later = threading.Event(), threading.Thread(target=lambda: (sys.late.wait(), print('too late')))
sys.later.start()
await asyncio.sleep(0)""")
    printing.answer(id)
    next = printing.start("asay", code="""
import gc; gc.collect()
sys.late.set()
await asyncio.get_running_loop().run_in_executor(None, sys.later.join)""")
    printing.answer(next)
    printing.until_own("too late")
    printing.until_own("of a neighbour")
    assert printing.log(id) + printing.log(next) == []
    assert before < len(printing.said)


def test_a_thread_that_outlives_its_job_speaks_for_nobody(printing):
    id = printing.start("say", code="""
sys.over = threading.Event()
def late():
    sys.over.wait()
    try: spindle.job()
    except RuntimeError as error: print('refused:', error)
threading.Thread(target=late).start()""")
    printing.answer(id)
    next = printing.start("say", code="sys.over.set()")
    printing.answer(next)
    printing.until_own("refused:")
    assert printing.log(id) + printing.log(next) == []


def test_what_calls_fork_at_the_same_moment_prints_into_the_log_of_its_own(printing):
    ids = [printing.start("asay", code=f"""
def fork():
    for i in range(100):
        pid = os.fork()
        if pid == 0:
            os.write(1, b'{n}\\n')
            os._exit(0)
        os.waitpid(pid, 0)
sys.setswitchinterval(1e-6)
await asyncio.get_running_loop().run_in_executor(None, fork)""") for n in range(4)]
    for n, id in enumerate(ids):
        printing.answer(id)
        assert printing.log(id) == [str(n)] * 100
    printing.run("say", code="sys.setswitchinterval(0.005)")


def test_a_forked_child_cannot_answer(printing):
    id = printing.start("say", code="pid = os.fork(); result = 'child' if pid == 0 else (os.waitpid(pid, 0), 'parent')[1]")
    assert printing.outcome(id) == "parent"
    printing.ask("ping")
    assert sum(message.get("id") == id for message in printing.said) == 1


# ---------------------------------------------------------------- processes

LEFT = [
    "subprocess.Popen(['sleep', '{m}'])", "subprocess.Popen(['sleep', '{m}'], start_new_session=True)",
    "os.system('sleep {m} &')", "subprocess.Popen('(setsid sleep {m} &)', shell=True).wait()",
    "os.fork() or (os.setsid(), os.execvp('sleep', ['sleep', '{m}']))",
    "subprocess.Popen(['sleep', '{m}'], env={{'PATH': os.environ['PATH']}})",
    "multiprocessing.get_context('fork').Process(target=os.execvp, args=('sleep', ['sleep', '{m}'])).start()",
    "multiprocessing.get_context('spawn').Process(target=os.execvp, args=('sleep', ['sleep', '{m}'])).start()",
    "multiprocessing.get_context('forkserver').Process(target=os.execvp, args=('sleep', ['sleep', '{m}'])).start()",
]


def marker():
    """Seconds to sleep that nobody else sleeps."""
    return f"9{os.getpid()}{time.monotonic_ns() % 10**7}"


def sleepers(m):
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            if m in pathlib.Path(path).read_text().split("\0"):
                found.append(int(path.split("/")[2]))
        except (OSError, UnicodeDecodeError):
            pass
    return [pid for pid in found if is_alive(pid)]


@pytest.mark.parametrize("code", LEFT)
@pytest.mark.parametrize("how", ["success", "failure", "cancel"])
@pytest.mark.parametrize("kind", ["alone", "beside"])
def test_what_a_call_has_started_is_gone_when_it_is_answered(code, how, kind):
    m = marker()
    text = PRINTING if kind == "beside" else PRINTING[:PRINTING.index("@spindle.task\nasync")]
    with Conversation(text) as worker:
        end = {"success": "pass", "failure": "raise ValueError", "cancel": "time.sleep(60)"}[how]
        task = "say"
        if kind == "beside":
            task, end = "asay", end.replace("time.sleep", "await asyncio.sleep")
        gate = worker.gate("gate")
        wait = "" if how == "cancel" else f"open({str(gate)!r}).read()\n"
        id = worker.start(task, code=code.format(m=m) + "\nprint('started')\n" + wait + end)
        worker.until(lambda message: message.get("method") == "log")
        eventually(lambda: sleepers(m))
        if how == "cancel":
            worker.cancel(id)
        else:
            gate.write_text("go")
        worker.answer(id)
        assert sleepers(m) == []
        assert worker.run("say", code="result = 5") == 5


TWICE = """pid = os.fork()
if pid == 0:
    {session}
    if os.fork() == 0: os.execvp('sleep', ['sleep', '{m}'])
    os._exit(0)
os.waitpid(pid, 0)"""


@pytest.mark.parametrize("kind, session, lives", [("alone", "pass", False), ("alone", "os.setsid()", True), ("beside", "pass", True), ("beside", "os.setsid()", True)])
def test_what_was_forked_twice_lives_until_its_worker_ends_only_out_of_its_session_or_beside_coroutines(kind, session, lives):
    m = marker()
    with Conversation(PRINTING if kind == "beside" else PRINTING[:PRINTING.index("@spindle.task\nasync")]) as worker:
        worker.run("asay" if kind == "beside" else "say", code=TWICE.format(session=session, m=m))
        assert eventually(lambda: sleepers(m)) if lives else not sleepers(m)
    assert sleepers(m) == []


def test_what_the_file_has_started_lives_on():
    with Conversation('''
import concurrent.futures, multiprocessing
helper = subprocess.Popen(["sleep", "600"])
pool = concurrent.futures.ProcessPoolExecutor(1)
def who(): return os.getpid()
@spindle.task
def use(): return [helper.pid, pool.submit(who).result()]
@spindle.task
def start(): subprocess.Popen(["sleep", "600"]); return None
''') as worker:
        first = worker.run("use")
        worker.run("start")
        assert worker.run("use") == first and all(map(is_alive, first))


def test_what_the_files_own_processes_print_is_in_nobodys_log():
    with Conversation('''
import concurrent.futures, multiprocessing
helper = subprocess.Popen("while read line; do echo helper $line; done", shell=True, stdin=subprocess.PIPE)
os.mkfifo("gate-executor"), os.mkfifo("gate-pool"), os.mkfifo("gate-look")
pool = concurrent.futures.ProcessPoolExecutor(1)
def late(name):
    open("gate-" + name).read()
    print(name, "printed late")
    os.write(1, f"{name} wrote late\\n".encode())
early = multiprocessing.get_context("fork").Pool(1)
@spindle.task
def leave():
    helper.stdin.write(b"spoke\\n")
    helper.stdin.flush()
    pool.submit(late, "executor")
    early.apply_async(late, ("pool",))
@spindle.task
def look():
    print("mine")
    open("gate-look").read()
''') as worker:
        worker.run("leave")
        id = worker.start("look")
        worker.until(lambda message: message.get("method") == "log" and message["params"].get("id") == id)
        for name in ("executor", "pool"):
            pathlib.Path(worker.home.name, "gate-" + name).write_text("go")
            worker.until_own(name + " wrote late")
        worker.until_own("helper spoke")
        pathlib.Path(worker.home.name, "gate-look").write_text("go")
        worker.answer(id)
        assert worker.log(id) == ["mine"]
        own = [message["params"]["text"] for message in worker.said if message.get("method") == "log" and "id" not in message["params"]]
        assert sorted(own) == ["executor printed late", "executor wrote late", "helper spoke", "pool printed late", "pool wrote late"]


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_multiprocessing_finds_the_tasks(method):
    with Conversation(f'''
import multiprocessing
def square(n): return n * n
@spindle.task
def squares():
    with multiprocessing.get_context("{method}").Pool(2) as pool:
        return pool.map(square, range(5))
''') as worker:
        assert worker.run("squares") == [0, 1, 4, 9, 16]
        assert worker.run("squares") == [0, 1, 4, 9, 16]


# ---------------------------------------------------------------- cancelling

def test_a_cancel_never_breaks_a_line():
    with Conversation('''
@spindle.task
def chatter():
    while True:
        print("x" * 5000)
        spindle.output("y" * 3000)
''') as worker:
        for _ in range(40):
            id = worker.start("chatter")
            worker.until(lambda message: message.get("method") == "output" and message["params"]["id"] == id)
            worker.cancel(id)
            assert worker.outcome(id) == {"code": -32800, "message": "cancelled"}


def test_a_generator_is_cancelled_where_it_stands():
    with Conversation('''
@spindle.task
def steps():
    try:
        while True:
            yield 1
    except spindle.Cancelled:
        print("cleaned up")
        raise
''') as worker:
        id = worker.start("steps")
        worker.until(lambda message: message.get("method") == "output")
        worker.cancel(id)
        assert worker.outcome(id)["code"] == -32800 and worker.log(id) == ["cleaned up"]


def test_a_coroutine_that_cleans_up_for_too_long_is_interrupted_and_its_neighbour_lives():
    with Conversation('''
@spindle.task
async def slow():
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(60)
@spindle.task
async def beside():
    global over
    over = asyncio.Event()
    await over.wait()
    return "well"
@spindle.task
async def go_on(): over.set()
@spindle.task
async def own():
    raise asyncio.CancelledError
''') as worker:
        id, beside = worker.start("slow"), worker.start("beside")
        worker.cancel(id, grace=100)
        assert worker.outcome(id)["code"] == -32800
        worker.run("go_on")
        assert worker.outcome(beside) == "well"
        assert worker.run("own")["data"]["type"] == "CancelledError"


def test_usage_has_what_the_children_of_a_call_took():
    with Conversation('''
BURN = "import time\\nkept = bytearray(150 << 20)\\nwhile time.process_time() < 0.5: pass"
@spindle.task
def start():
    subprocess.run([sys.executable, "-c", BURN])
    subprocess.run([sys.executable, "-c", BURN.replace("150", "1")])
@spindle.task
def alone(): subprocess.run(["true"])
''') as worker:
        for _ in range(2):
            usage = worker.answer(worker.start("start"))["result"]["usage"]
            assert usage["cpu_seconds"] > 0.9, usage
            assert worker.answer(worker.start("alone"))["result"]["usage"]["cpu_seconds"] < 0.4
        id = worker.start("start")
        assert worker.answer(id)["result"]["usage"]["cpu_seconds"] > 0.9
    with Conversation("@spindle.task\ndef eat(): subprocess.run([sys.executable, '-c', 'kept = bytearray(150 << 20)'])") as worker:
        assert worker.answer(worker.start("eat"))["result"]["usage"]["max_rss_bytes"] > 150 << 20


def test_what_a_call_changes_is_put_back():
    with Conversation('''
import signal
@spindle.task
def spoil():
    os.chdir("/")
    sys.stdout = None
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.alarm(1)
    signal.setitimer(signal.ITIMER_VIRTUAL, 100)
    signal.setitimer(signal.ITIMER_PROF, 100)
    return "x" * 2_000_000
@spindle.task
def timers(): return [signal.getitimer(which)[0] for which in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)]
@spindle.task
def look():
    print("here")
    return os.getcwd()
@spindle.task
def hang(): time.sleep(60)
''') as worker:
        assert len(worker.run("spoil")) == 2_000_000
        assert worker.run("timers") == [0, 0, 0]
        assert os.path.realpath(worker.run("look")) == os.path.realpath(worker.home.name)
        id = worker.start("hang")
        worker.cancel(id)
        assert worker.outcome(id)["code"] == -32800
        # An alarm that is not taken back ends the worker after a second: only time can show that none comes.
        with pytest.raises(subprocess.TimeoutExpired):
            worker.process.wait(1.1)


SPOILING = '''
import resource, signal
KINDS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]
def seen():
    old = os.umask(0)
    os.umask(old)
    return [os.getcwd(), old, [resource.getrlimit(kind) for kind in KINDS], sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
            sorted(os.sched_getaffinity(0)), [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())], os.getpid()]
def change(what):
    soft = lambda kind, value: resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))
    if "files" in what: soft(resource.RLIMIT_NOFILE, 8)
    if "prlimit" in what: resource.prlimit(0, resource.RLIMIT_FSIZE, (10, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    if "stack" in what: soft(resource.RLIMIT_STACK, 1 << 20)
    if "cpu" in what: soft(resource.RLIMIT_CPU, 3000)
    if "mask" in what: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])
    if "umask" in what: os.umask(0o777)
    if "cwd" in what: os.chdir("/")
    if "affinity" in what: os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    if "handler" in what: signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "hard" in what: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    if "fail" in what: raise ValueError("spoiled")
    return 1
@spindle.task
def look(): return seen()
@spindle.task
def spoil(what: list): return change(what)
@spindle.task
async def alook(): return seen()
@spindle.task
async def aspoil(what: list): return change(what)
@spindle.task
async def wait():
    await asyncio.sleep(0.3)
    return "waited"
'''
WHAT = ["files", "prlimit", "stack", "cpu", "mask", "umask", "cwd", "affinity"]


@pytest.mark.parametrize("look, spoil, what", [("look", "spoil", WHAT + ["handler"]), ("look", "spoil", WHAT + ["handler", "fail"]), ("alook", "aspoil", WHAT)])
def test_what_a_call_changes_of_its_process_is_put_back(look, spoil, what):
    with Conversation(SPOILING) as worker:
        for all_or_one in [what, *([one] for one in what if one != "fail")]:
            before = worker.run(look)
            worker.run(spoil, what=all_or_one)
            assert worker.run(look) == before, all_or_one
        # And it can be cancelled as before.
        assert worker.run("wait") == "waited"


BESIDE = '''
import signal
@spindle.task
def hold(begin: str, end: str):
    os.chdir("/")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(begin, "w").close()
    open(end).read()
    return [os.getcwd(), signal.getsignal(signal.SIGTERM) == signal.SIG_IGN]
@spindle.task
def look():
    return [os.getcwd(), signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, os.umask(0o22)]
@spindle.task
async def spoil(program: bool):
    os.umask(0o7)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    if program:
        await (await asyncio.create_subprocess_exec("true")).wait()
@spindle.task
async def alook():
    return [len(os.sched_getaffinity(0)), signal.SIGHUP in signal.pthread_sigmask(signal.SIG_BLOCK, [])]
'''


@pytest.mark.parametrize("program", [False, True])
def test_what_a_coroutine_changes_is_put_back_without_touching_the_call_beside_it(program):
    with Conversation(BESIDE) as worker:
        home = os.path.realpath(worker.home.name)
        begin, end = (os.path.join(home, name) for name in ("begin", "end"))
        os.mkfifo(begin)
        os.mkfifo(end)
        held = worker.start("hold", begin=begin, end=end)
        open(begin).read()
        before = worker.run("alook")
        worker.run("spoil", program=program)
        assert worker.run("alook") == before
        open(end, "w").close()
        assert worker.outcome(held) == ["/", True]
        assert worker.run("look") == [home, True, 0o22]


def as_nobody(text):
    return "import os\nos.setgid(65534)\nos.setuid(65534)\n" + text if os.getuid() == 0 else text


@pytest.mark.parametrize("spoil, other", [("spoil", "wait"), ("aspoil", "wait"), ("spoil", None), ("aspoil", None)])
def test_a_worker_with_changes_that_nobody_can_put_back_answers_and_leaves(spoil, other):
    with Conversation(as_nobody(SPOILING)) as worker:
        beside = other and worker.start(other)
        assert worker.run(spoil, what=["hard"]) == 1
        if beside:
            assert worker.outcome(beside) == "waited"
        assert worker.process.wait(30) == 0
        worker.err.seek(0)
        assert "RLIMIT_NOFILE" in worker.err.read()


def test_who_cancels_all_tasks_of_asyncio_cancels_its_own():
    with Conversation('''
from asyncio import all_tasks
@spindle.task
async def stay():
    await asyncio.sleep(0.3)
    return "stayed"
@spindle.task
async def sweep():
    mine = [asyncio.create_task(asyncio.sleep(60)) for _ in range(3)]
    others = [task for task in all_tasks() | asyncio.all_tasks() | asyncio.tasks.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*mine, return_exceptions=True)
    return [len(others), [task.cancelled() for task in mine]]
''') as worker:
        stays = [worker.start("stay") for _ in range(5)]
        assert worker.run("sweep") == [3, [True] * 3]
        assert [worker.outcome(id) for id in stays] == ["stayed"] * 5


# ---------------------------------------------------------------- other interpreters

def interpreters():
    """One of each version of Python from 3.9 on that this machine has, but for the one that runs the tests."""
    found = {}
    for path in sorted(glob.glob("/usr/bin/python3.*[0-9]") + glob.glob("/usr/local/bin/python3.*[0-9]")
                       + glob.glob(os.path.expanduser("~/.pyenv/versions/3.*/bin/python3"))):
        version = subprocess.run([path, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True).stdout
        if version and (3, 9) <= tuple(map(int, version.split())) != sys.version_info[:2]:
            found[version] = path
    return list(found.values()) or [sys.executable]


@pytest.mark.parametrize("interpreter", interpreters())
def test_other_versions_of_python_do_the_same(interpreter):
    with Conversation(PRINTING + '''
import dataclasses, typing
@dataclasses.dataclass
class Tree:
    value: int
    children: "typing.List[Tree]" = dataclasses.field(default_factory=list)
@spindle.task
def plant(tree: Tree, pair: typing.Tuple[int, str] = (1, "a"), when: "Nowhere" = None) -> Tree:
    assert type(tree.children[0].value) is int
    return tree
''', interpreter) as worker:
        assert worker.run("plant", tree={"value": 1, "children": [{"value": 2.0}]}) == {
            "value": 1, "children": [{"value": 2, "children": []}]}
        for code, lines in LOGS:
            for task in ("say", "asay"):
                id = worker.start(task, code=code)
                assert "error" not in worker.answer(id), (code, worker.answer(id))
                assert lines is None or sorted(worker.log(id)) == sorted(lines), code
        for code, where in BAD:
            error = worker.run("say", code="result = " + code.replace("Point(1, Point(2, float('nan')))", "float('nan')"))
            assert error["data"]["type"] == "InvalidOutput" or "Point" in code, error
        m = marker()
        for code in LEFT:
            worker.run("asay", code=code.format(m=m))
        assert sleepers(m) == [] and worker.process.poll() is None


def test_threads_that_cancelled_calls_have_left_take_none_from_others():
    with Conversation('''
gate = threading.Event()

def stay():
    print("there")
    gate.wait()

@spindle.task
async def leave():
    await asyncio.get_running_loop().run_in_executor(None, stay)

@spindle.task
async def use():
    return await asyncio.get_running_loop().run_in_executor(None, int, "7")
''') as worker:
        left = [worker.start("leave") for _ in range(64)]
        for id in left:
            worker.until(lambda message: message.get("method") == "log" and message["params"].get("id") == id)
            worker.cancel(id)
        assert {worker.outcome(id)["code"] for id in left} == {-32800}
        assert worker.run("use") == 7
