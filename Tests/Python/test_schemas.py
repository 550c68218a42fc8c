"""What the signature of a function says about its input, and what its arguments are made of."""
import collections.abc
import dataclasses
import datetime
import decimal
import enum
import pathlib
import sys
import typing
import uuid

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "Sources/Python"))
sys.dont_write_bytecode = True
import spindle
from _spindle.schema import signature
from _spindle.shapes import Definitions, shape_of
from _spindle.tasks import NotATask

if typing.TYPE_CHECKING:
    from nowhere import Unknown


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2


@dataclasses.dataclass
class Box:
    size: Size
    names: typing.List[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Tree:
    value: int
    children: "typing.List[Tree]" = dataclasses.field(default_factory=list)
    hidden: "Unknown" = None


class Mode(enum.IntFlag):
    READ = 1
    WRITE = 2


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 10


class Point(typing.NamedTuple):
    x: int
    size: Size = Size.SMALL
    note: str = "none"


class Options(typing.TypedDict):
    fast: bool


class Pair(typing.NamedTuple):
    first: int
    second: Size


WHEN = {"type": "string", "format": "date-time"}


@pytest.mark.parametrize("hint, schema", [
    (int, {"type": "integer"}),
    (typing.Any, {}),
    (typing.Optional[int], {"type": ["integer", "null"]}),
    (typing.Union[int, typing.List[str]], {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "string"}}]}),
    (typing.Literal["a", 1], {"enum": ["a", 1]}),
    (typing.List[float], {"type": "array", "items": {"type": "number"}}),
    (typing.List, {"type": "array"}), (typing.Tuple, {"type": "array"}), (tuple, {"type": "array"}),
    (typing.Set, {"type": "array", "uniqueItems": True}), (frozenset, {"type": "array", "uniqueItems": True}),
    (typing.Dict, {"type": "object"}), (typing.Sequence, {"type": "array"}),
    (typing.Set[int], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
    (typing.Tuple[int, str],
     {"type": "array", "minItems": 2, "maxItems": 2, "prefixItems": [{"type": "integer"}, {"type": "string"}]}),
    (typing.Tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
    (typing.Dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
    (Size, {"enum": [1, 2]}),
    (Options, {"type": "object", "properties": {"fast": {"type": "boolean"}}, "required": ["fast"], "additionalProperties": False}),
    (datetime.datetime, WHEN), (typing.Optional[datetime.datetime], {"anyOf": [WHEN, {"type": "null"}]}),
    (decimal.Decimal, {"type": ["number", "string"]}), (bytes, {"type": "string", "format": "byte"}),
    (typing.NewType("Name", str), {"type": "string"}),
])
def test_a_type_has_a_schema(hint, schema):
    assert shape_of(hint, Definitions()).schema == schema


MADE = [
    (int, 1.0, 1), (float, 2, 2.0), (Box, {"size": 2, "names": ["a"]}, Box(Size.LARGE, ["a"])),
    (typing.List, [1], [1]), (typing.Set, [1, 2], {1, 2}), (typing.FrozenSet[int], [1.0], frozenset([1])),
    (tuple, [1, "a"], (1, "a")), (typing.Tuple[int, Size], [1.0, 2], (1, Size.LARGE)),
    (typing.Tuple[Size, ...], [1, 2], (Size.SMALL, Size.LARGE)), (Pair, [1, 2], Pair(1, Size.LARGE)),
    (typing.Dict[str, Size], {"a": 1}, {"a": Size.SMALL}), (typing.Dict[int, int], {"7": 1}, {7: 1}),
    (Tree, {"value": 1, "children": [{"value": 2.0}]}, Tree(1, [Tree(2)])),
    (typing.Union[typing.Set[str], str], "abc", "abc"), (typing.Union[str, typing.Set[str]], ["a"], {"a"}),
    (typing.Union[typing.Tuple[str, ...], str], "abc", "abc"), (typing.Union[int, str], "1", "1"), (typing.Union[str, int], 1, 1),
    (typing.Union[float, int], 1, 1), (typing.Union[int, float], 1.0, 1.0), (typing.Union[Box, Tree], {"value": 3}, Tree(3)),
    (typing.Union[datetime.date, str], "tomorrow", "tomorrow"), (typing.Union[datetime.date, str], "2026-01-02", datetime.date(2026, 1, 2)),
    (typing.Optional[Size], None, None), (typing.Union[bool, int], True, True), (typing.Literal[1, True], True, True),
    (datetime.datetime, "2026-01-02T03:04:05Z", datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)),
    (datetime.datetime, "2026-01-02T03:04:05", datetime.datetime(2026, 1, 2, 3, 4, 5)), (datetime.date, "2026-01-02", datetime.date(2026, 1, 2)),
    (uuid.UUID, str(uuid.UUID(int=5)), uuid.UUID(int=5)), (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
    (decimal.Decimal, 0.1, decimal.Decimal("0.1")), (bytes, "YWJj", b"abc"), (pathlib.Path, "/a", pathlib.Path("/a")),
    (collections.abc.Mapping, {"a": 1}, {"a": 1}), (typing.Dict[Size, int], {"1": 7, "2": 8}, {Size.SMALL: 7, Size.LARGE: 8}),
    (typing.Dict[Level, int], {"10": 7}, {Level.HIGH: 7}), (typing.Dict[float, int], {"1.5": 1, "2": 2}, {1.5: 1, 2.0: 2}),
    (typing.Dict[bool, int], {"true": 1, "false": 0}, {True: 1, False: 0}), (typing.Dict[typing.Optional[int], int], {"null": 1, "2": 2}, {None: 1, 2: 2}),
    (typing.Dict[typing.Literal[1, "1", "a"], int], {"1": 1, "a": 2}, {"1": 1, "a": 2}), (typing.Dict[typing.Union[int, str], int], {"1": 1}, {"1": 1}),
    (typing.Dict[typing.NewType("Id", int), int], {"7": 1}, {7: 1}), (Mode, 3, Mode.READ | Mode.WRITE), (Mode, 0, Mode(0)),
    (typing.Dict[Mode, int], {"3": 1}, {Mode.READ | Mode.WRITE: 1}), (Point, [1], Point(1)), (Point, [1, 2], Point(1, Size.LARGE)),
    (Point, [1, 2, "a"], Point(1, Size.LARGE, "a")),
]


@pytest.mark.parametrize("hint, value, made", MADE)
def test_values_are_made_of_their_types(hint, value, made):
    def function(x: hint): ...
    (places, names) = signature(function)[0]({"x": value})
    assert names == {"x": made} and type(names["x"]) is type(made)
    if isinstance(made, tuple):
        assert [type(item) for item in names["x"]] == [type(item) for item in made]


@pytest.mark.parametrize("hint, value", [
    (datetime.date, "tomorrow"), (uuid.UUID, "x"), (decimal.Decimal, "x"), (bytes, "?"), (typing.Union[datetime.date, uuid.UUID], "x")])
def test_what_is_no_value_of_its_type_is_an_invalid_input_that_is_named(hint, value):
    def function(x: hint): ...
    with pytest.raises(spindle.InvalidInput, match="^/x: "):
        signature(function)[0]({"x": value})


@pytest.mark.parametrize("hint, first, second", [
    (int, "1", "01"), (Level, "10", "10.0"), (float, "1", "1.0"), (decimal.Decimal, "1", "1.0"), (uuid.UUID, "0" * 31 + "a", "0" * 31 + "A"),
    (datetime.datetime, "2026-01-02T00:00:00Z", "2026-01-02T01:00:00+01:00"), (pathlib.Path, "a", "a/"), (typing.Optional[uuid.UUID], "0" * 32, "{" + "0" * 32 + "}")])
@pytest.mark.parametrize("kind", [typing.Dict, typing.Mapping, typing.OrderedDict, typing.DefaultDict])
def test_two_names_that_become_one_are_refused_where_the_second_stands(kind, hint, first, second):
    def function(x: typing.List[kind[hint, int]]): ...
    assert len(signature(function)[0]({"x": [{first: 1}]})[1]["x"][0]) == 1
    with pytest.raises(spindle.InvalidInput) as caught:
        signature(function)[0]({"x": [{first: 1, second: 2}]})
    assert str(caught.value).startswith(f"/x/0/{second.replace('/', '~1')}: another member has this name already"), caught.value


@pytest.mark.parametrize("hint, value, where", [
    (typing.Dict[Size, int], {"3": 1}, "/x/3: is none of"), (typing.Dict[float, int], {"NaN": 1}, "/x/NaN: expected a number"),
    (typing.Dict[bool, int], {"True": 1}, "/x/True: expected true"), (typing.Dict[Size, int], {"[1]": 1}, "/x/[1]: is none of"),
    *((typing.Dict[Size, int], {sign * 100_000: 1}, "/x/" + (sign * 200)[:200]) for sign in ("[", '{"a":', "1", "-")), (typing.Dict[Size, int], {"": 1}, "/x/: is none of"),
    (Point, [], "/x: expected 1 to 3 items"), (Point, [1, 2, "a", 4], "/x: expected 1 to 3 items"), (Mode, True, "/x: expected a whole"),
])
def test_what_is_no_name_of_its_type_or_no_row_is_refused(hint, value, where):
    def function(x: hint): ...
    with pytest.raises(spindle.InvalidInput) as caught:
        signature(function)[0]({"x": value})
    assert str(caught.value).startswith(where), caught.value


def test_a_row_says_how_many_of_its_items_there_have_to_be():
    schema = shape_of(Point, Definitions()).schema
    assert (schema["minItems"], schema["maxItems"], len(schema["prefixItems"])) == (1, 3, 3)


def test_a_type_that_contains_itself_is_referred_to():
    def function(tree: Tree): ...
    schema = signature(function)[1]
    assert schema["properties"]["tree"] == {"$ref": "#/$defs/Tree"}
    assert schema["$defs"]["Tree"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}
    assert schema["$defs"]["Tree"]["properties"]["hidden"] == {}


def test_a_hint_that_is_known_to_type_checkers_only_drops_itself_alone():
    def function(a: "Unknown", b: "int", c: "typing.Optional[Size]" = None) -> "Unknown": ...
    bind, schema, output, _ = signature(function)
    assert schema["properties"] == {"a": {}, "b": {"type": "integer"},
                                    "c": {"anyOf": [{"enum": [1, 2]}, {"type": "null"}], "default": None}}
    assert bind({"a": 1, "b": 2.0, "c": 1})[1] == {"a": 1, "b": 2, "c": Size.SMALL} and output is None


def test_none_as_a_default_takes_null():
    def function(x: int = None): ...
    assert signature(function)[1]["properties"]["x"] == {"type": ["integer", "null"], "default": None}
    assert signature(function)[0]({"x": None}) == ([], {"x": None})


def test_parameters_without_a_default_are_required():
    def function(a: int, b: str = "x", *, c, **rest: int):
        pass
    bind, schema, output, _ = signature(function)
    assert schema["required"] == ["a", "c"]
    assert schema["properties"]["b"] == {"type": "string", "default": "x"}
    assert schema["additionalProperties"] == {"type": "integer"}
    assert bind({"a": 1.0, "z": 2.0}) == ([], {"a": 1, "z": 2}) and output is None


def test_parameters_by_place_alone_get_their_arguments():
    def function(a, b=2, c=3, /, d=4):
        return [a, b, c, d]
    bind = signature(function)[0]
    for given, wanted in (({"a": 1}, [1, 2, 3, 4]), ({"a": 1, "c": 5}, [1, 2, 5, 4]), ({"a": 1, "b": 0, "d": 9}, [1, 0, 3, 9])):
        places, names = bind(given)
        assert function(*places, **names) == wanted


def test_a_result_has_a_schema_and_a_generator_has_none():
    def plain() -> int: ...
    def steps() -> int:
        yield 1
    assert signature(plain)[2] == {"type": "integer"}
    assert signature(steps)[2] is None


class Callable:
    def __call__(self): ...


def lone(x: typing.Literal["\ud800"]): ...


@pytest.mark.parametrize("function, options, why", [
    (lambda: None, {}, "<lambda>"), (Box, {}, "no function"), (5, {}, "no function"), (lone, {}, "surrogate"),
    (lone, {"name": "a b"}, "'a b'"), (test_a_result_has_a_schema_and_a_generator_has_none, {"max_attempts": 0}, "max_attempts"),
    (test_a_result_has_a_schema_and_a_generator_has_none, {"kind": "gpu"}, "kind"), (dict, {}, "no function"),
])
def test_what_cannot_be_a_task_is_named_with_its_place_and_the_reason(function, options, why):
    with pytest.raises(NotATask, match=why) as caught:
        spindle.task(function, **options)
    if hasattr(function, "__code__"):
        assert f"{__file__}:{function.__code__.co_firstlineno}: " in str(caught.value)


NO_JSON = [complex, range, slice, type, typing.Type[int], typing.Callable, typing.Callable[[int], str], collections.abc.Callable,
           typing.Awaitable[int], typing.List[complex], typing.Dict[str, range], typing.Tuple[int, typing.Callable],
           typing.Annotated[complex, "a note"], typing.NewType("Number", complex), typing.Union[complex, range],
           dataclasses.make_dataclass("Holder", [("held", complex)]), typing.TypedDict("Words", {"held": range})]


@pytest.mark.parametrize("hint", NO_JSON)
def test_what_no_json_is_a_value_of_makes_no_task(hint):
    def taking(x: hint): ...
    def giving() -> hint: ...
    def more(**rest: hint): ...
    for function, what in (taking, "its parameter x: "), (giving, "its result: "), (more, "its parameter rest: "):
        with pytest.raises(NotATask) as caught:
            spindle.task(function)
        assert str(caught.value).startswith(f"{__file__}:{function.__code__.co_firstlineno}: ")
        assert f"cannot be a task: {what}" in str(caught.value) and "no JSON is a value of" in str(caught.value)


def test_what_no_json_is_a_value_of_keeps_its_default_and_is_no_alternative():
    @dataclasses.dataclass
    class Holder:
        a: int
        how: typing.Callable = len

    def function(x: typing.Union[int, complex], key: typing.Callable = len, then: typing.Callable = None,
                 some: typing.Optional[range] = None, held: typing.Optional[Holder] = None): ...
    bind, schema, _, _ = signature(function)
    assert schema["properties"].pop("held")["anyOf"][0]["properties"] == {"a": {"type": "integer"}}
    nothing = {"type": "null", "default": None}
    assert schema["properties"] == {"x": {"type": "integer"}, "then": nothing, "some": nothing}
    assert bind({"x": 1, "held": {"a": 1}})[1] == {"x": 1, "held": Holder(1)}


@dataclasses.dataclass
class Bad:
    ring: "Ring"
    held: complex


@dataclasses.dataclass
class Ring:
    next: "typing.Optional[Ring]"
    back: "typing.Optional[Bad]"


def test_a_class_that_is_refused_is_refused_each_time_and_nothing_refers_to_it():
    def function(a: typing.Union[Bad, int], b: typing.Union[Bad, int], c: Bad = None): ...
    bind, schema, _, _ = signature(function)
    assert schema["properties"]["a"] == schema["properties"]["b"] == {"type": "integer"} and "$defs" not in schema, schema
    assert bind({"a": 1, "b": 2.0})[1] == {"a": 1, "b": 2}
    with pytest.raises(spindle.InvalidInput, match="^/b: "):
        bind({"a": 1, "b": {}})


def test_two_tasks_of_one_name_are_refused():
    spindle.task(name="once")(lambda: None)
    with pytest.raises(ValueError, match="two tasks"):
        spindle.task(name="once")(lambda: None)


def test_a_cancel_is_no_exception():
    assert not issubclass(spindle.Cancelled, Exception)
