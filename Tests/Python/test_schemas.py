"""What the signature of a function says about its input."""
import dataclasses
import enum
import pathlib
import sys
import typing

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "Sources/Python"))
sys.dont_write_bytecode = True
import spindle
from _spindle.schema import _schema, signature


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2


@dataclasses.dataclass
class Box:
    size: Size
    names: typing.List[str] = dataclasses.field(default_factory=list)


class Options(typing.TypedDict):
    fast: bool


@pytest.mark.parametrize("hint, schema", [
    (int, {"type": "integer"}),
    (typing.Any, {}),
    (typing.Optional[int], {"type": ["integer", "null"]}),
    (typing.Union[int, typing.List[str]], {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "string"}}]}),
    (typing.Literal["a", 1], {"enum": ["a", 1]}),
    (typing.List[float], {"type": "array", "items": {"type": "number"}}),
    (typing.Set[int], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
    (typing.Tuple[int, str], {"type": "array", "minItems": 2, "maxItems": 2}),
    (typing.Dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
    (Size, {"enum": [1, 2]}),
    (Options, {"type": "object", "properties": {"fast": {"type": "boolean"}}, "required": ["fast"], "additionalProperties": False}),
])
def test_a_type_has_a_schema(hint, schema):
    assert _schema(hint)[0] == schema


def test_a_dataclass_is_made_with_all_its_parts():
    schema, make = _schema(Box)
    assert schema["required"] == ["size"]
    assert make({"size": 2, "names": ["a"]}) == Box(Size.LARGE, ["a"])


def test_parameters_without_a_default_are_required():
    def function(a: int, b: str = "x", *, c, **rest):
        pass
    bind, schema, output = signature(function)
    assert schema["required"] == ["a", "c"]
    assert schema["properties"]["b"] == {"type": "string", "default": "x"}
    assert schema["additionalProperties"] is True
    assert bind({"a": 1}) == {"a": 1} and output is None


def test_a_result_has_a_schema_and_a_generator_has_none():
    def plain() -> int: ...
    def steps() -> int:
        yield 1
    assert signature(plain)[2] == {"type": "integer"}
    assert signature(steps)[2] is None


def test_two_tasks_of_one_name_are_refused():
    spindle.task(name="once")(lambda: None)
    with pytest.raises(ValueError, match="two tasks"):
        spindle.task(name="once")(lambda: None)


def test_a_cancel_is_no_exception():
    assert not issubclass(spindle.Cancelled, Exception)
