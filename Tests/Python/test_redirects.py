"""What a call leads elsewhere is its own output, and nobody's beside it."""
from conversation import Conversation

TASKS = '''
import contextlib, io

@spindle.task
def held(begin: str, end: str):
    with contextlib.redirect_stdout(io.StringIO()) as text:
        print("mine")
        threads = [threading.Thread(target=print, args=("of my thread",))]
        [thread.start() for thread in threads], [thread.join() for thread in threads]
        open(begin, "w").close()
        open(end).read()
        print("mine again")
    print("outside")
    return text.getvalue()

@spindle.task
async def aheld(count: int = 1):
    outer = io.StringIO()
    with contextlib.redirect_stdout(outer):
        for _ in range(count):
            print("outer")
            with contextlib.redirect_stdout(io.StringIO()) as inner:
                print("inner")
                await asyncio.sleep(0)
            await asyncio.sleep(0)
    print("outside")
    return [outer.getvalue(), inner.getvalue()]

@spindle.task
async def asay(text: str):
    print(text)

@spindle.task
async def crossed():
    with contextlib.redirect_stdout(sys.stderr), contextlib.redirect_stderr(sys.stdout):
        print("to stderr")
        print("to stderr as well", file=sys.stderr)
    with contextlib.redirect_stdout(None):
        print("nowhere", flush=True)
    print("here", flush=True)
'''


def test_a_redirect_takes_what_its_own_call_prints_and_no_more():
    with Conversation(TASKS) as worker:
        begin, end = worker.gate("begin"), worker.gate("end")
        id = worker.start("held", begin=str(begin), end=str(end))
        begin.read_text()
        beside = [worker.start("asay", text=f"secret {number}") for number in range(3)] + [worker.start("aheld", count=5)]
        for number in range(3):
            worker.outcome(beside[number])
            assert worker.log(beside[number]) == [f"secret {number}"]
        assert worker.outcome(beside[3]) == ["outer\n" * 5, "inner\n"]
        assert worker.log(beside[3]) == ["outside"]
        end.write_text("")
        assert worker.outcome(id) == "mine\nof my thread\nmine again\n"
        assert worker.log(id) == ["outside"]


def test_many_that_lead_their_output_elsewhere_at_once_keep_it_apart():
    with Conversation(TASKS) as worker:
        for id in [worker.start("aheld", count=20) for _ in range(20)]:
            assert worker.outcome(id) == ["outer\n" * 20, "inner\n"]
            assert worker.log(id) == ["outside"]


def test_streams_may_be_led_to_each_other_or_nowhere():
    with Conversation(TASKS) as worker:
        id = worker.start("crossed")
        assert worker.outcome(id) is None
        assert worker.log(id, "stderr") == ["to stderr", "to stderr as well"] and worker.log(id, "stdout") == ["here"]


def test_what_is_nobodys_is_led_nowhere():
    with Conversation('''
import contextlib, contextvars, io

@spindle.task
def held():
    late = threading.Thread(target=print, args=("of nobody",))
    with contextlib.redirect_stdout(io.StringIO()) as text:
        contextvars.Context().run(late.start)
        late.join()
    return text.getvalue()

@spindle.task
async def asay(): pass
''') as worker:
        assert worker.run("held") == ""
        worker.until_own("of nobody")
