"""Numbers arrive as they came, digit by digit, wherever a decimal or a whole number is wanted; a float stays one."""

import pytest

from conversation import Conversation

HEAD = '''
import collections, dataclasses, decimal, enum, typing
Decimal = decimal.Decimal
Price = typing.NewType("Price", Decimal)
Whole = typing.NewType("Whole", int)
class Bits(enum.IntFlag):
    LOW, HIGH = 1, 1 << 53
@dataclasses.dataclass
class Box:
    inside: Decimal
    beside: typing.Any = None
    count: int = 0
    next: "typing.Optional[Box]" = None
class Words(typing.TypedDict, total=False):
    inside: Decimal
    beside: object
class Row(typing.NamedTuple):
    inside: Decimal
    beside: float
def seen(value):
    """What a value is, to the last digit."""
    if dataclasses.is_dataclass(value):
        return [seen(getattr(value, field.name)) for field in dataclasses.fields(value)]
    if hasattr(value, "model_fields_set"):
        return [seen(getattr(value, name)) for name in type(value).model_fields]
    if isinstance(value, dict):
        return {str(name): seen(one) for name, one in value.items()}
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__} {value.value}"
    if isinstance(value, (list, tuple, set)):
        return [seen(one) for one in value]
    return f"{type(value).__name__} {value}"
def declare(number, hint):
    def task(x): return seen(x)
    async def later(x): return seen(x)
    for function in task, later:
        function.__annotations__["x"] = hint
        function.__module__ = __name__
        spindle.task(function, name=f"{function.__name__}-{number}")
'''
LONG, SMALL, BIG = "12345678901234567.89", "1e-400", "1e400"
#: A hint, what comes as it is written, and what the task sees.
CASES = [
    ("Decimal", LONG, f"Decimal {LONG}"), ("Decimal", "1.10", "Decimal 1.10"), ("Decimal", SMALL, "Decimal 1E-400"),
    ("Decimal", BIG, "Decimal 1E+400"), ("Decimal", "-0.0", "Decimal -0.0"), ("Decimal", "7", "Decimal 7"), ("Decimal", '"1.10"', "Decimal 1.10"),
    ("Price", LONG, f"Decimal {LONG}"), ("typing.Optional[Decimal]", "1.10", "Decimal 1.10"), ("typing.Union[str, Decimal]", LONG, f"Decimal {LONG}"),
    ("typing.Union[Decimal, float]", "1.10", "float 1.1"), ("typing.List[Decimal]", f"[1.10, {LONG}]", ["Decimal 1.10", f"Decimal {LONG}"]),
    ("typing.Dict[str, Decimal]", '{"a": 1.10}', {"a": "Decimal 1.10"}), ("typing.Dict[Decimal, float]", '{"1.10": 1.10}', {"1.10": "float 1.1"}),
    ("typing.Tuple[Decimal, float, typing.Any]", "[1.10, 1.10, [1.10]]", ["Decimal 1.10", "float 1.1", ["float 1.1"]]),
    ("Box", f'{{"inside": 1.10, "beside": {{"a": [1.10]}}, "count": 1e23, "next": {{"inside": {LONG}}}}}',
     ["Decimal 1.10", {"a": ["float 1.1"]}, f"int {10 ** 23}", [f"Decimal {LONG}", "NoneType None", "int 0", "NoneType None"]]),
    ("Words", '{"inside": 1.10, "beside": 1.10}', {"inside": "Decimal 1.10", "beside": "float 1.1"}),
    ("Row", "[1.10, 1.10]", ["Decimal 1.10", "float 1.1"]), ("typing.Set[int]", "[1e23]", [f"int {10 ** 23}"]),
    ("int", "1e23", f"int {10 ** 23}"), ("int", "9007199254740993.0", "int 9007199254740993"), ("int", "-123456789012345678901.5e1", "int -1234567890123456789015"),
    ("int", "1.0", "int 1"), ("int", "2e0", "int 2"), ("typing.Optional[int]", "9007199254740993.0", "int 9007199254740993"),
    ("typing.Union[int, float]", "1e23", "float 1e+23"), ("float", "9007199254740993.0", "float 9007199254740992.0"),
    ("float", LONG, "float 1.2345678901234568e+16"), ("typing.Any", LONG, "float 1.2345678901234568e+16"), ("typing.Any", "1e23", "float 1e+23"),
    ("typing.Dict[Whole, float]", '{"9007199254740993.0": 1.10, "1e23": 1, "2": 2}', {"9007199254740993": "float 1.1", str(10 ** 23): "float 1.0", "2": "float 2.0"}),
    ("typing.Dict[typing.Optional[Whole], float]", '{"-9007199254740993.0": 1.10, "null": 1}', {"-9007199254740993": "float 1.1", "None": "float 1.0"}),
    ("Bits", "9007199254740993.0", "Bits 9007199254740993"),
    ("typing.Dict[str, typing.Any]", '{"a": 1.10}', {"a": "float 1.1"}), ("int", str(2 ** 70 + 1), f"int {2 ** 70 + 1}"),
]


def declared_of(head, cases):
    return Conversation(HEAD + head + "".join(f"declare({number}, {hint})\n" for number, (hint, _, _) in enumerate(cases)))


def run(conversation, task, text):
    """Calls a task with an argument written as it is."""
    conversation.number += 1
    conversation.server.sendall(b'{"jsonrpc":"2.0","method":"run","id":%d,"params":{"task":"%s","job":"j","attempt":1,"input":{"x":%s}}}\n' % (
        conversation.number, task.encode(), text.encode()))
    return conversation.outcome(conversation.number)


@pytest.fixture(scope="module")
def declared():
    with declared_of("", CASES) as conversation:
        yield conversation


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{hint}-{text[:30]}" for hint, text, _ in CASES])
@pytest.mark.parametrize("task", ["task", "later"])
def test_a_number_arrives_digit_by_digit_where_that_is_wanted_and_as_a_float_elsewhere(declared, task, number):
    _, text, wanted = CASES[number]
    assert run(declared, f"{task}-{number}", text) == wanted


@pytest.mark.parametrize("text", ["1.00000000000000000001", "9007199254740992.5", "4503599627370497.2", "1e-400", "1e-99999999999999999999"])
def test_what_only_rounds_to_a_whole_number_is_none(declared, text):
    number = [hint for hint, _, _ in CASES].index("int")
    error = run(declared, f"task-{number}", text)
    assert error["data"]["type"] == "InvalidInput" and error["message"] == "/x: expected a whole number", error


def test_the_text_of_the_numbers_is_gone_when_they_have_been_made():
    with Conversation('''
import decimal
from _spindle import api
def kept(): return [api.current.get().line, api.current.get().texts]
@spindle.task
def f(x: decimal.Decimal): return kept()
@spindle.task
async def g(x: decimal.Decimal): return kept()
''') as conversation:
        assert run(conversation, "f", "1.10") == run(conversation, "g", "1.10") == [None, None]


MODELS = '''
import pydantic
class Item(pydantic.BaseModel):
    price: Decimal = pydantic.Field(alias="Price")
    count: int = 0
    ratio: float = 0.0
    free: typing.Any = None
    more: "typing.Optional[typing.List[Item]]" = None
class Bag(pydantic.BaseModel):
    items: typing.Dict[str, Item]
    pair: typing.Tuple[float, Decimal]
class Sum(pydantic.RootModel[typing.List[Decimal]]): ...
'''
OF_MODELS = [
    ("Bag", f'{{"pair": [1.10, 1.10], "items": {{"a": {{"Price": {LONG}, "count": 1e23, "ratio": 1.10, "free": 1.10, "more": [{{"Price": 1.10}}]}}}}}}',
     [{"a": [f"Decimal {LONG}", f"int {10 ** 23}", "float 1.1", "float 1.1",
             [["Decimal 1.10", "int 0", "float 0.0", "NoneType None", "NoneType None"]]]}, ["float 1.1", "Decimal 1.10"]]),
    ("Sum", "[1.10]", [["Decimal 1.10"]]), ("typing.List[Item]", '[{"Price": 1.10}]', [["Decimal 1.10", "int 0", "float 0.0", *["NoneType None"] * 2]]),
    ("typing.Annotated[Decimal, pydantic.Field(gt=0)]", LONG, f"Decimal {LONG}"),
    ("typing.Annotated[int, pydantic.Field(gt=0)]", "9007199254740993.0", "int 9007199254740993"),
    ("typing.Annotated[float, pydantic.Field(gt=0)]", "1.10", "float 1.1"),
]


def test_a_model_gets_its_numbers_digit_by_digit():
    pytest.importorskip("pydantic", minversion="2")
    with declared_of(MODELS, OF_MODELS) as conversation:
        for number, (_, text, wanted) in enumerate(OF_MODELS):
            for task in "task", "later":
                assert run(conversation, f"{task}-{number}", text) == wanted
