"""What a call changes of the environment and of who hears of failures is gone with it."""
import os

import pytest

from conversation import Conversation

TASKS = '''
import json, pathlib, time, unittest.mock
os.environ["OF_FILE"] = "set"
os.environ["TZ"] = "UTC"
time.tzset()
def stored(): os.environ["LATE"] = "by the file"
late, told = threading.Event(), threading.Event()
threading.Thread(target=lambda: (late.wait(), stored(), told.set()), daemon=True).start()
def inside(name):
    """What the C library has, which children get who are given no environment."""
    import ctypes
    get = ctypes.CDLL(None).getenv
    get.restype = ctypes.c_char_p
    value = get(name.encode())
    return value and value.decode()
@spindle.task
def look(names: list = []):
    return [sorted(os.environ.items()), [inside(name) for name in names], time.localtime(0).tm_hour, type(os.environ).__name__, os.getpid()]
@spindle.task
def change(code: str):
    exec(code, globals())
    return subprocess.run(["env"], capture_output=True, text=True).stdout.splitlines()
@spindle.task
async def achange(code: str):
    exec(code, globals())
@spindle.task
def hold(begin: str, end: str):
    os.environ["HELD"] = "yes"
    open(begin, "w").close()
    open(end).read()
    return os.environ.get("HELD")
'''


@pytest.fixture(scope="module")
def worker():
    with Conversation(TASKS) as conversation:
        yield conversation


CHANGES = [
    ("os.environ['NEW'] = '1'", "NEW=1"), ("os.environb[b'NEW'] = b'1'", "NEW=1"), ("os.environ.update(OF_FILE='x', NEW='1')", "OF_FILE=x"),
    ("del os.environ['OF_FILE']", None), ("os.environ.pop('OF_FILE'); os.environ['OF_FILE'] = 'again'", "OF_FILE=again"),
    ("path = os.environ['PATH']; os.environ.clear(); os.environ['PATH'] = path", None), ("os.putenv('NEW', '1')", None),
    ("os.unsetenv('OF_FILE')", None), ("os.environ['TZ'] = 'Asia/Tokyo-9'; time.tzset()", "TZ=Asia/Tokyo-9"), ("os.environ = {**os.environ, 'NEW': '1'}", "NEW=1"),
    ("t = threading.Thread(target=os.environ.__setitem__, args=('NEW', '1')); t.start(); t.join()", "NEW=1"),
    ("os.environ['NEW'] = '1'; os.environ['OF_FILE'] = '2'; del os.environ['NEW']", "OF_FILE=2"), ("os.environ |= {'NEW': '1'}", "NEW=1"),
    ("with unittest.mock.patch.dict(os.environ, NEW='1'): pass\nos.environ['NEW'] = '2'", "NEW=2"), ("os.environ['\udcff'] = '\udcfe'", None),
    ("del os.environ\nimport os as again\nagain.environ = {'PATH': os.defpath}", None),
]


@pytest.mark.parametrize("code, seen", CHANGES)
@pytest.mark.parametrize("end", ["", "\nraise ValueError('spoiled')"])
def test_variables_are_put_back_when_the_call_ends_and_hold_for_its_children_until_then(worker, code, seen, end):
    before = worker.run("look", names=["NEW", "OF_FILE", "TZ"])
    assert dict(before[0])["OF_FILE"] == "set" and before[1] == [None, "set", "UTC"]
    answer = worker.run("change", code=code + end)
    assert end or seen is None or seen in answer, answer
    assert worker.run("look", names=["NEW", "OF_FILE", "TZ"]) == before


@pytest.mark.parametrize("code", ["os.environ['a=b'] = 'x'", "os.environ[1] = 'x'", "os.putenv('a=b', 'x')", "del os.environ['NEVER']", "os.putenv(1, 2)"])
def test_what_is_no_variable_is_refused_as_ever(worker, code):
    before = worker.run("look")
    assert worker.run("change", code=code)["data"]["type"] in ("ValueError", "TypeError", "KeyError", "OSError")
    assert worker.run("look") == before


def test_what_a_module_sets_when_it_is_imported_stays_and_so_does_what_is_nobodys():
    with Conversation(TASKS) as worker:
        (worker.path.parent / "lazily.py").write_text("import os\nos.environ['OF_MODULE'] = 'set'\n")
        worker.run("change", code="os.environ['OF_MODULE'] = 'mine'; import lazily; os.environ['MINE'] = '1'")
        worker.run("change", code="late.set(); told.wait(); os.environ['MINE'] = '1'")
        seen = dict(worker.run("look")[0])
        assert seen["OF_MODULE"] == "set" and seen["LATE"] == "by the file" and "MINE" not in seen
        worker.run("achange", code="os.environ['SHARED'] = '1'")
        assert dict(worker.run("look")[0])["SHARED"] == "1"


def test_a_coroutine_that_ends_takes_nothing_from_the_call_beside_it():
    with Conversation(TASKS) as worker:
        begin, end = worker.gate("begin"), worker.gate("end")
        held = worker.start("hold", begin=str(begin), end=str(end))
        begin.read_text()
        worker.run("achange", code="os.umask(0o7)")
        end.write_text("")
        assert worker.outcome(held) == "yes" and "HELD" not in dict(worker.run("look")[0])


WITHIN = '''
from _spindle import api
gone, original = [], os.unsetenv
os.unsetenv = lambda name: (gone.append(os.fsencode(name)), original(name))
def server(): return api.nobody.worker
@spindle.task
def ask(code: str): return eval(code)
'''


def test_what_the_loop_puts_back_takes_no_variables_from_a_call_that_has_begun_meanwhile():
    with Conversation(TASKS + WITHIN) as worker:
        worker.run("change", code="""
os.environ["MINE"] = "1"
t = threading.Thread(target=server().surroundings.put_back, args=(False,))
t.start()
t.join()
global seen
seen = os.environ.get("MINE")""")
        assert worker.run("ask", code="seen") == "1" and "MINE" not in dict(worker.run("look")[0])


def test_a_variable_that_a_call_has_changed_is_put_back_without_a_moment_in_which_there_is_none():
    with Conversation(TASKS + WITHIN) as worker:
        path = worker.run("ask", code="os.environ['PATH']")
        worker.run("change", code="os.environ.update(PATH=os.environ['PATH'] + ':/nowhere', NEW='1')")
        assert worker.run("ask", code="[os.environ['PATH'], sorted({name.decode() for name in gone})]") == [path, ["NEW"]]


def test_what_a_thread_has_set_that_its_call_has_left_is_gone_after_the_next_call_though_a_coroutine_ended_between():
    with Conversation(TASKS) as worker:
        worker.run("change", code="""
global go, gone
go, gone = threading.Event(), threading.Event()
def leave():
    go.wait()
    os.environ["LEFT"] = "1"
    gone.set()
threading.Thread(target=leave, daemon=True).start()""")
        worker.run("achange", code="go.set(); gone.wait(); os.umask(0o7)")
        worker.run("look")
        assert "LEFT" not in dict(worker.run("look")[0])


def test_a_call_does_not_begin_while_the_loop_puts_back_what_a_coroutine_has_changed():
    with Conversation(TASKS + WITHIN + '''
came, back = threading.Event(), threading.Event()
class Watched:
    """A lock that tells when the main thread comes to it."""
    def __init__(self, lock): self.lock = lock
    def __enter__(self):
        if threading.current_thread() is threading.main_thread(): came.set()
        self.lock.acquire()
    def __exit__(self, *_): self.lock.release()
@spindle.task
async def watch(gate: str):
    worker = server()
    directory = worker.surroundings._directory
    def slow():
        worker.surroundings._directory = directory
        open(gate, "w").close()
        worker.read()
        came.wait()
        directory()
        back.set()
    worker.surroundings._directory = slow
    worker.turn = Watched(getattr(worker, "turn", threading.Lock()))
    os.umask(0o7)
@spindle.task
def enter():
    os.chdir("/")
    came.set()
    back.wait()
    return os.getcwd()
''') as worker:
        gate = worker.gate("gate")
        watched = worker.start("watch", gate=str(gate))
        gate.read_text()
        assert worker.outcome(worker.start("enter")) == "/"
        assert worker.outcome(watched) is None


def test_a_coroutine_that_ends_takes_no_redirect_from_the_call_beside_it():
    with Conversation(TASKS + '''
import contextlib, io
@spindle.task
def redirect(begin: str, end: str):
    with contextlib.redirect_stdout(io.StringIO()) as text:
        print("one")
        open(begin, "w").close()
        open(end).read()
        print("two")
    return text.getvalue()
''') as worker:
        begin, end = worker.gate("begin"), worker.gate("end")
        id = worker.start("redirect", begin=str(begin), end=str(end))
        begin.read_text()
        worker.run("achange", code="pass")
        end.write_text("")
        assert worker.outcome(id) == "one\ntwo\n" and worker.log(id) == []
        # What a coroutine has changed itself is put back all the same, when it ends or when that call does.
        worker.run("achange", code="sys.stdout = None")
        id = worker.start("change", code="print('here')")
        worker.answer(id)
        assert worker.log(id) == ["here"]


TIMERS = '''
import signal
for number in (signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF): signal.signal(number, signal.SIG_IGN)
WHICH = {"REAL": signal.ITIMER_REAL, "VIRTUAL": signal.ITIMER_VIRTUAL, "PROF": signal.ITIMER_PROF}
@spindle.task
def change(code: str): exec(code, globals())
@spindle.task
def timers():
    """Hours that are left, rounded, and between one time and the next."""
    return {name: [round(seconds / 3600) for seconds in signal.getitimer(which)] for name, which in WHICH.items()}
'''
CHANGE = "for which in WHICH.values(): signal.setitimer(which, 36000, 3600 * 7)"


@pytest.mark.parametrize("of_file, wanted", [("7200, 3600", ([1, 1], [2, 1])), ("7200", ([2, 0],)), ("0", ([0, 0],))], ids=["repeated", "once", "none"])
def test_timers_of_the_file_go_on_and_those_of_calls_are_gone(of_file, wanted):
    with Conversation(TIMERS + f"for which in WHICH.values(): signal.setitimer(which, {of_file})") as worker:
        before = worker.run("timers")
        assert before == dict.fromkeys(before, wanted[-1])
        worker.run("change", code="os.umask(0o7)")
        assert worker.run("timers") == before, "a call that has left them alone changes nothing"
        for code in (CHANGE, CHANGE.replace(", 3600 * 7", ""), CHANGE.replace("36000, 3600 * 7", "0"), "signal.alarm(36000)"):
            worker.run("change", code=code)
            after = worker.run("timers")
            assert all(left in wanted for left in after.values()), (code, after)


def test_a_coroutine_is_tidied_up_before_its_answer_is_in_the_channel_and_in_hand_until_it_is():
    with Conversation(TASKS + WITHIN + '''
seen = []
@spindle.task
def watch():
    succeed = server().succeed
    def seeing(call, *rest):
        succeed(call, *rest)
        mode = os.umask(0o22)
        os.umask(mode)
        seen.append([call.params["task"], mode, threading.get_ident() == server().surroundings.loop_thread, call.id in server().calls])
    server().succeed = seeing
@spindle.task
async def spoil(program: bool, place: bool):
    os.umask(0o7)
    if program: await (await asyncio.create_subprocess_exec("true")).wait()
    if place: spindle.directory()
''') as worker:
        mode = worker.run("ask", code="os.umask(0o22)")
        worker.run("watch")
        for program, place in ((False, False), (True, False), (False, True)):
            worker.run("spoil", program=program, place=place)
        assert [one for one in worker.run("ask", code="seen") if one[0] == "spoil"] == [["spoil", mode, True, True]] * 3


def test_a_worker_that_is_to_leave_answers_first_who_is_being_cleared_up():
    with Conversation(TASKS + WITHIN + '''
import shutil
def slow(path, original=shutil.rmtree, **named):
    tried = threading.Event()
    server().loop.call_soon_threadsafe(lambda: (server().leave_if_free(), tried.set()))
    tried.wait()
    original(path, **named)
shutil.rmtree = slow
@spindle.task
async def work():
    return spindle.directory()
''') as worker:
        assert not os.path.exists(worker.run("work"))


def test_a_mapping_that_a_coroutine_has_put_in_the_place_of_the_environment_is_gone_after_the_next_function():
    with Conversation(TASKS) as worker:
        worker.run("achange", code="os.environ = {**os.environ, 'OTHER': '1'}")
        assert worker.run("look")[3] == "dict" and worker.run("look")[3] == "_Environ"


HOOKS = ["sys.excepthook", "sys.unraisablehook", "threading.excepthook", "sys.stdout", "sys.stderr"]


@pytest.mark.parametrize("task", ["change", "achange"])
@pytest.mark.parametrize("code", ["{} = None", "del {}", "{} = print"])
def test_who_hears_of_failures_is_put_back(worker, task, code):
    for hook in HOOKS:
        worker.run(task, code=code.format(hook))
    id = worker.start("change", code="def fail(): raise ValueError('heard')\nt = threading.Thread(target=fail)\nt.start()\nt.join()\nprint('printed')")
    worker.answer(id)
    assert "ValueError: heard" in worker.log(id) and "printed" in worker.log(id)
    for hook in HOOKS:
        assert "error" not in worker.answer(worker.start("change", code=f"assert {hook} not in (None, print), {hook}"))
