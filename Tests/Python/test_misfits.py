"""What a value that does not fit its type is told to be: an invalid input, at its place, without a word about our own code."""
import json

import pytest

from conversation import Conversation

#: Values that are of the right type in JSON, and of none in Python.
BAD = {
    "datetime.date": "2026-02-30", "datetime.datetime": "yesterday", "datetime.time": "25:00", "uuid.UUID": "1234",
    "decimal.Decimal": "1,5", "bytes": "?", "bytearray": "YQ", "float": (1 << 1024) - 1, "Name": "2026-13-01",
}
#: A hint around the type, a value around the bad one, and where that stands; the bad one is V, as the name of a member too.
AROUND = {
    "{}": ("V", ""), "typing.Optional[{}]": ("V", ""), "typing.Union[None, {}, typing.List[int]]": ("V", ""),
    "typing.Union[typing.List[{}], int]": (["V"], "/0"), "typing.List[{}]": (["V"], "/0"), "typing.Tuple[{}, ...]": (["V", "V"], "/0"),
    "typing.Tuple[int, {}]": ([1, "V"], "/1"), "typing.Deque[{}]": (["V"], "/0"), "typing.Iterable[{}]": (["V"], "/0"),
    "typing.Dict[str, {}]": ({"a/b~": "V"}, "/a~1b~0"), "typing.List[typing.Optional[{}]]": ([None, "V"], "/1"),
    "typing.Dict[str, typing.List[typing.Tuple[int, {}]]]": ({"a": [[1, "V"]]}, "/a/0/1"), "typing.Annotated[{}, 'a note']": ("V", ""),
    "Box[{}]": ({"inside": "V"}, "/inside"), "typing.List[Box[{}]]": ([{"inside": "V"}], "/0/inside"),
    "typing.Optional[Box[{}]]": ({"inside": "V"}, "/inside"), "Words[{}]": ({"inside": "V"}, "/inside"), "Row[{}]": ([1, "V"], "/1"),
    "typing.Union[int, typing.Dict[str, Box[{}]]]": ({"a": {"inside": "V"}}, "/a/inside"),
}
KEYS_AND_SETS = {"typing.Dict[{}, int]": ({"V": 1}, "/V"), "typing.Set[{}]": (["V"], "/0"), "typing.FrozenSet[{}]": (["V"], "/0")}
HEAD = '''
import collections, dataclasses, datetime, decimal, typing, uuid
Name = typing.NewType("Name", datetime.date)
class Made:
    def __init__(self, make): self.make = make
    def __getitem__(self, hint): return self.make(hint)
Box = Made(lambda hint: dataclasses.make_dataclass("Box", [("inside", hint), ("other", int, 1)]))
Words = Made(lambda hint: typing.TypedDict("Words", {"inside": hint}))
Row = Made(lambda hint: typing.NamedTuple("Row", [("first", int), ("inside", hint)]))
def declare(number, hint):
    def task(x): raise SystemError("it was called")
    async def later(x): raise SystemError("it was called")
    for function in task, later:
        function.__annotations__["x"] = hint
        function.__module__ = __name__
        spindle.task(function, name=f"{function.__name__}-{number}")
'''


def around(value, bad):
    if isinstance(value, dict):
        return {key.replace("V", str(bad)): around(inner, bad) for key, inner in value.items()}
    return [around(inner, bad) for inner in value] if isinstance(value, list) else bad if value == "V" else value


CASES = [(hint.format(name), around(value, bad), "/x" + where.replace("V", str(bad)))
         for name, bad in BAD.items()
         for hint, (value, where) in {**AROUND, **(KEYS_AND_SETS if name not in ("bytearray", "float") else {})}.items()]


@pytest.fixture(scope="module")
def declared():
    text = HEAD + "".join(f"declare({number}, {hint})\n" for number, (hint, _, _) in enumerate(CASES))
    with Conversation(text) as conversation:
        yield conversation


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{hint}-{json.dumps(value)[:40]}" for hint, value, _ in CASES])
@pytest.mark.parametrize("task", ["task", "later"])
def test_a_bad_value_is_an_invalid_input_at_its_place_whatever_it_stands_in(declared, task, number):
    hint, value, where = CASES[number]
    error = declared.run(f"{task}-{number}", x=value)
    assert error["data"]["type"] == "InvalidInput" and error["data"]["retry"] == "never", error
    assert error["message"].startswith(where + ": "), error
    assert len(error["message"]) > len(where) + 8 and error["data"]["traceback"] == [], error


def test_what_the_tasks_own_code_refuses_has_its_place_there_and_nothing_of_ours():
    with Conversation('''
import dataclasses, typing
@dataclasses.dataclass
class Even:
    number: int
    def __post_init__(self):
        if self.number % 2: raise ValueError("it is odd")
@spindle.task
def halve(all: typing.List[typing.Optional[Even]]): ...
''') as conversation:
        error = conversation.run("halve", all=[{"number": 2}, {"number": 3}])
    assert error["message"] == "/all/1: it is odd" and error["data"]["type"] == "InvalidInput", error
    assert "__post_init__" in "\n".join(error["data"]["traceback"])
    assert not any("_spindle/" in line for line in error["data"]["traceback"]), error


def test_several_alternatives_each_say_why_not_and_the_nearest_one_alone_says_where():
    with Conversation('''
import datetime, typing, uuid
@spindle.task
def take(x: typing.Union[datetime.date, uuid.UUID, typing.List[datetime.date], None]): ...
''') as conversation:
        both = conversation.run("take", x="1")["message"]
        within = conversation.run("take", x=["2026-01-01", "1"])["message"]
    assert both.startswith("/x: fits none of the alternatives: ") and "isoformat" in both and "UUID" in both, both
    assert within.startswith("/x/1: ") and "alternatives" not in within, within
