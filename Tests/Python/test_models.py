"""What pydantic and numpy have to say, where they are there: `Tests/run` brings them."""
import decimal
import pathlib
import sys
import typing

import pytest

from conversation import Conversation

pydantic = pytest.importorskip("pydantic", minversion="2")
numpy = pytest.importorskip("numpy")
typing_extensions = pytest.importorskip("typing_extensions")  # of pydantic

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "Sources/Python"))
sys.dont_write_bytecode = True
import spindle
from _spindle.schema import signature
from _spindle.values import encode


class Inner(pydantic.BaseModel):
    code: str = pydantic.Field(pattern="^[a-z]+$", alias="Code")


class Outer(pydantic.BaseModel):
    inner: Inner
    more: typing.List[Inner] = []
    parent: typing.Optional["Outer"] = None


class Cat(pydantic.BaseModel):
    kind: typing.Literal["cat"]
    lives: int = 9


class Dog(pydantic.BaseModel):
    kind: typing.Literal["dog"]


Animal = typing.Annotated[typing.Union[Cat, Dog], pydantic.Field(discriminator="kind")]


class Owner(pydantic.BaseModel):
    animal: Animal


def keywords(schema):
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in ("properties", "$defs"):
                for part in value.values():
                    yield from keywords(part)
            else:
                yield key
                yield from keywords(value) if key not in ("default", "enum", "const", "examples") else ()
    elif isinstance(schema, list):
        for part in schema:
            yield from keywords(part)


def test_models_within_models_are_made():
    def function(outer: Outer, cats: typing.List[Cat] = [], one: typing.Optional[Inner] = None) -> Outer: ...
    bind, schema, output, _ = signature(function)
    assert set(schema["$defs"]) >= {"Inner", "Outer"}
    assert not {"pattern", "discriminator", "definitions"} & set(keywords(schema))
    value = {"outer": {"inner": {"Code": "a"}, "parent": {"inner": {"Code": "b"}}}, "cats": [{"kind": "cat"}], "one": {"Code": "c"}}
    made = bind(value)[1]
    assert made["outer"].parent.inner.code == "b" and made["cats"] == [Cat(kind="cat")] and made["one"].code == "c"
    with pytest.raises(spindle.InvalidInput, match="^/outer: (?s:.*)pattern"):
        bind({"outer": {"inner": {"Code": "A"}}})
    assert encode(made["one"]) == b'{"Code":"c"}' and output["$defs"]


class Every(pydantic.BaseModel):
    maybe: typing.Optional[Inner] = None
    either: typing.Union[int, Inner]
    pair: typing.Tuple[int, Inner]


def test_alternatives_in_a_model_are_in_its_schema():
    def function(every: Every, animal: Animal): ...
    schema = signature(function)[1]
    members, inner = schema["properties"]["every"]["properties"], {"$ref": "#/$defs/Inner"}
    assert members["maybe"]["anyOf"] == [inner, {"type": "null"}]
    assert members["either"]["anyOf"] == [{"type": "integer"}, inner]
    assert members["pair"]["prefixItems"] == [{"type": "integer"}, inner]
    assert schema["properties"]["animal"]["oneOf"] == [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]
    assert {"Inner", "Cat", "Dog"} <= set(schema["$defs"])


def test_alternatives_are_told_apart_by_their_kind():
    def function(owner: Owner, animal: Animal): ...
    bind, schema, _, _ = signature(function)
    assert bind({"owner": {"animal": {"kind": "dog"}}, "animal": {"kind": "cat"}})[1] == {
        "owner": Owner(animal=Dog(kind="dog")), "animal": Cat(kind="cat")}
    assert not {"pattern", "discriminator"} & set(keywords(schema))


def test_a_constraint_of_an_annotation_is_kept():
    def function(n: typing.Annotated[int, pydantic.Field(gt=3)]): ...
    bind, schema, _, _ = signature(function)
    assert schema["properties"]["n"] == {"type": "integer", "exclusiveMinimum": 3}
    with pytest.raises(spindle.InvalidInput):
        bind({"n": 3})


class Open(pydantic.BaseModel, extra="allow"):
    price: decimal.Decimal = pydantic.Field(alias="Price")


class Both(Open, populate_by_name=True): ...


class Chosen(pydantic.BaseModel, extra="allow"):
    price: decimal.Decimal = pydantic.Field(validation_alias=pydantic.AliasChoices("Price", "cost"))


class Words(typing_extensions.TypedDict):
    price: typing_extensions.NotRequired[decimal.Decimal]
    ratio: float


class Holder(pydantic.BaseModel, extra="allow"):
    words: Words


class Node(pydantic.BaseModel):
    name: str
    ratio: float = 0.0
    below: typing.List["Node"] = []
    hosts: typing.Dict[str, "Node"] = {}


class Tagged(Node):
    tags: typing.List["Tagged"] = []
    count: typing.Optional[int] = None


SHORT = decimal.Decimal("1.1")


@pytest.mark.parametrize("hint, value, seen", [
    (Open, {"Price": 1.1, "price": 1.1}, {"price": SHORT, "extra": {"price": 1.1}}),
    (Both, {"price": 1.1, "more": 1.1}, {"price": SHORT, "extra": {"more": 1.1}}),
    (Chosen, {"cost": 1.1, "price": 1.1}, {"price": SHORT, "extra": {"price": 1.1}}),
    (Holder, {"words": {"price": 1.1, "ratio": 1.1}}, {"words": {"price": SHORT, "ratio": 1.1}, "extra": {}}),
])
def test_a_number_of_a_model_is_exact_by_the_names_alone_that_its_field_has(monkeypatch, hint, value, seen):
    validated = []
    monkeypatch.setattr(hint, "model_validate", validated.append)

    def function(x: hint): ...
    signature(function)[0]({"x": value})
    made = pydantic.TypeAdapter(hint).validate_python(validated[0])
    fields = {name: getattr(made, name) for name in hint.model_fields}
    assert dict(fields, extra=made.model_extra) == seen
    assert {name: type(one) for name, one in made.model_extra.items()} == {name: float for name in made.model_extra}


def test_a_validator_that_comes_before_is_given_the_exact_number():
    given = []

    class Early(pydantic.BaseModel):
        price: decimal.Decimal
        count: int

        @pydantic.field_validator("price", "count", mode="before")
        def see(cls, value):
            given.append(value)
            return value

    def function(x: Early): ...
    signature(function)[0]({"x": {"price": 1.1, "count": 1e23}})
    signature(function)[0]({"x": {"price": 1, "count": 2.0}})
    assert [(type(one), one) for one in given] == [(decimal.Decimal, SHORT), (int, 10 ** 23), (int, 1), (float, 2.0)]


@pytest.mark.parametrize("hint, reads", [(Node, False), (typing.List[Node], False), (Tagged, True), (Words, True)])
def test_a_model_without_numbers_that_contains_itself_is_left_as_it_comes(hint, reads):
    def function(x: typing.Annotated[hint, pydantic.Field(title="Any")]): ...
    assert signature(function)[3] is reads


@pytest.mark.parametrize("value, json", [
    (numpy.float64(1.5), b"1.5"), (numpy.int32(3), b"3"), (numpy.bool_(True), b"true"), (numpy.arange(3), b"[0,1,2]"),
    (numpy.ones((2, 1)), b"[[1.0],[1.0]]"), ({"a": [numpy.float32(0.5)]}, b'{"a":[0.5]}'), (numpy.str_("x"), b'"x"'),
    (Owner(animal=Dog(kind="dog")), b'{"animal":{"kind":"dog"}}')])
def test_values_of_theirs_are_results(value, json):
    assert encode(value) == json


@pytest.mark.parametrize("value", [numpy.array([1, numpy.nan]), {"x": numpy.float32("inf")}, numpy.array([1j])])
def test_numbers_of_theirs_that_are_no_json_are_refused(value):
    with pytest.raises(spindle.InvalidOutput):
        encode(value)


SEVERAL = '''
import pydantic

class Inner(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(populate_by_name=True)
    n: int = pydantic.Field(alias="N")
    plain: int

class Outer(pydantic.BaseModel):
    one: int = pydantic.Field(validation_alias=pydantic.AliasChoices("first", "second"))
    only: int = pydantic.Field(alias="Only")
    inner: Inner

@spindle.task
def several(value: Outer):
    return [value.one, value.only, value.inner.n]
'''


def test_a_field_of_several_names_is_required_under_none_of_them():
    with Conversation(SEVERAL) as worker:
        (task,) = worker.description["tasks"]
        definitions = task["input"]["$defs"]
        assert definitions["Inner"]["required"] == ["plain"]
        outer = definitions.get("Outer") or task["input"]["properties"]["value"]
        assert outer["required"] == ["Only", "inner"]
        for first, n in (("first", "N"), ("second", "n")):
            value = {first: 1, "Only": 2, "inner": {n: 3, "plain": 4}}
            assert worker.run("several", value=value) == [1, 2, 3]
        assert worker.run("several", value={"Only": 2, "inner": {"plain": 4}})["data"]["type"] == "InvalidInput"
