"""What a type looks like in JSON: its schema, and how values of it are made."""
import base64
import collections
import collections.abc
import dataclasses
import datetime
import decimal
import enum
import functools
import json
import os
import pathlib
import sys
import types
import typing
import uuid

from . import models
from .digits import exact, made_of, whole
from .values import clean, encode, step


#: What making a value of a type raises where it does not fit.
MISFITS = (ValueError, TypeError, KeyError, ArithmeticError)


class NoJSON(TypeError):
    """A type of which no value is ever JSON."""


class Misfit(ValueError):
    """What does not fit, some steps into the value.

    where: a JSON pointer. origin: what was raised there.
    """

    def __init__(self, where, origin):
        super().__init__(origin)
        self.where, self.origin = where, origin

    def __str__(self):
        return clean(self.origin, 4096)


def misfit(error, place):
    """The same failure, seen from one step further out: `place` is the name of a member or the number of an element."""
    below, origin = (error.where, error.origin) if isinstance(error, Misfit) else ("", error)
    return Misfit(f"/{step(place)}{below}", origin)


class Shape:
    """A type, as JSON has it.

    make: takes a value as JSON has it and returns one of the type; raises one of `MISFITS` for what does not fit.
    is_plain: what fits the schema is a value of the type already.
    """

    __slots__ = ("schema", "make", "is_plain")

    def __init__(self, schema, make, is_plain=False):
        self.schema, self.make, self.is_plain = schema, make, is_plain


class Definitions:
    """The `$defs` of one schema, and the types that are just being looked at: one that contains itself is referred to."""

    def __init__(self):
        self.schemas = {}
        self.open = {}
        #: Whether something in them needs the digits of a number, which a float has lost.
        self.reads_digits = False

    def named(self, hint, build):
        """The shape of a class that may contain itself."""
        if hint in self.open:
            entry = self.open[hint]
            entry["is_referred"] = True
            return Shape({"$ref": f"#/$defs/{entry['name']}"}, lambda value: entry["shape"].make(value))
        name = hint.__name__
        while name in self.schemas or any(entry["name"] == name for entry in self.open.values()):
            name += "_"
        entry = self.open[hint] = {"name": name, "is_referred": False, "shape": None}
        before = dict(self.schemas)
        try:
            shape = entry["shape"] = build()
        except NoJSON:
            self.schemas = before  # what was defined in it may refer to it
            raise
        finally:
            del self.open[hint]
        if not entry["is_referred"]:
            return shape
        self.schemas[name] = shape.schema
        return Shape({"$ref": f"#/$defs/{name}"}, shape.make)

    def root(self, schema):
        """A whole schema, with all that it refers to."""
        return dict(schema, **{"$defs": self.schemas}) if self.schemas else schema


def hints_of(thing, names, scope):
    """The annotations of a function or a class; what cannot be evaluated says nothing, and spoils nothing else."""
    try:
        return typing.get_type_hints(thing, include_extras=True)
    except Exception:
        pass
    hints = {}
    for name in names:
        for place in getattr(thing, "__mro__", (thing,)):
            annotation = _annotations(place).get(name)
            if annotation is None:
                continue

            def alone(): pass
            alone.__annotations__ = {name: annotation}
            try:
                hints[name] = typing.get_type_hints(alone, scope, scope, include_extras=True)[name]
            except Exception:  # it is known to type checkers only
                pass
            break
    return hints


def _annotations(thing):
    try:
        return getattr(thing, "__annotations__", None) or {}
    except Exception:  # evaluated when asked for, from Python 3.14 on
        import annotationlib
        return annotationlib.get_annotations(thing, format=annotationlib.Format.FORWARDREF)


def shape_of(hint, definitions, for_output=False):
    """The shape of a type. What JSON has no word for is anything."""
    if not isinstance(hint, collections.abc.Hashable):
        return ANY
    if hint in _SIMPLE:
        definitions.reads_digits |= hint is int or hint is decimal.Decimal
        return _SIMPLE[hint]

    def inner(hint):
        return shape_of(hint, definitions, for_output)
    if hint in _NEVER or typing.get_origin(hint) in _NEVER:
        raise NoJSON(f"no JSON is a value of {getattr(hint, '__name__', None) or hint}")
    if hasattr(hint, "__supertype__"):  # a NewType
        return inner(hint.__supertype__)
    if hasattr(hint, "__value__") and hasattr(hint, "__type_params__"):  # type Name = …
        return definitions.named(hint, lambda: inner(hint.__value__))
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        if models.knows(arguments[1:]):
            return models.adapted(hint, definitions, for_output)
        return inner(arguments[0])
    if origin is typing.Literal:
        return _choice([argument.value if isinstance(argument, enum.Enum) else argument for argument in arguments], arguments)
    if origin is typing.Union or origin is getattr(types, "UnionType", ()):
        parts = _possible(arguments, inner)
        return _union(parts) if len(parts) > 1 else parts[0]
    if origin in _WRAPPERS:
        return inner(arguments[0]) if arguments else ANY
    return _container(origin or hint, arguments, inner) or _class(hint, definitions, inner, for_output)


# ---------------------------------------------------------------- words of JSON


def _exactly(kind, name):
    def make(value):
        if type(value) is not kind:
            raise TypeError(f"expected {name}")
        return value
    return make


def _whole(value):
    number = whole(value) if type(value) is float else value
    if type(number) is not int:
        raise TypeError("expected a whole number")
    return number


def _real(value):
    if type(value) not in (int, float):
        raise TypeError("expected a number")
    return float(value)


def _text(parse, name):
    def make(value):
        if type(value) is not str:
            raise TypeError(f"expected {name} as text")
        return parse(value)
    return make


def _moment(parse):
    # Before Python 3.11 a Z says nothing.
    return lambda text: parse(text[:-1] + "+00:00" if text[-1:] in "Zz" else text)


def _decimal(value):
    if type(value) not in (int, float, str):
        raise TypeError("expected a decimal number")
    if type(value) is float:
        return exact(value)
    try:
        return decimal.Decimal(str(value))
    except decimal.InvalidOperation:
        raise ValueError(f"{value!r} is no decimal number") from None


ANY = Shape({}, lambda value: value, is_plain=True)
_BYTES = Shape({"type": "string", "format": "byte"},
               _text(lambda text: base64.b64decode(text, validate=True), "bytes in base64"))
_SIMPLE = {
    typing.Any: ANY, object: ANY, typing.NoReturn: ANY,
    bool: Shape({"type": "boolean"}, _exactly(bool, "true or false"), is_plain=True),
    str: Shape({"type": "string"}, _exactly(str, "text"), is_plain=True),
    type(None): Shape({"type": "null"}, _exactly(type(None), "null"), is_plain=True),
    None: Shape({"type": "null"}, _exactly(type(None), "null"), is_plain=True),
    dict: Shape({"type": "object"}, _exactly(dict, "an object"), is_plain=True),
    list: Shape({"type": "array"}, _exactly(list, "a list"), is_plain=True),
    int: Shape({"type": "integer"}, _whole),
    float: Shape({"type": "number"}, _real),
    datetime.datetime: Shape({"type": "string", "format": "date-time"},
                             _text(_moment(datetime.datetime.fromisoformat), "a date with a time")),
    datetime.date: Shape({"type": "string", "format": "date"}, _text(datetime.date.fromisoformat, "a date")),
    datetime.time: Shape({"type": "string", "format": "time"}, _text(_moment(datetime.time.fromisoformat), "a time")),
    uuid.UUID: Shape({"type": "string", "format": "uuid"}, _text(uuid.UUID, "a UUID")),
    decimal.Decimal: Shape({"type": ["number", "string"]}, _decimal),
    bytes: _BYTES,
    bytearray: Shape(_BYTES.schema, lambda value: bytearray(_BYTES.make(value))),
    pathlib.Path: Shape({"type": "string"}, _text(pathlib.Path, "a path")),
    pathlib.PurePath: Shape({"type": "string"}, _text(pathlib.PurePath, "a path")),
    os.PathLike: Shape({"type": "string"}, _text(pathlib.Path, "a path")),
}
#: What Python alone has, and cannot be made of JSON or be a result.
_NEVER = {complex, range, slice, type, typing.Type, collections.abc.Callable, typing.Callable, types.ModuleType, types.FunctionType,
          types.GeneratorType, types.CoroutineType, collections.abc.Coroutine, collections.abc.Awaitable}
_WRAPPERS = {getattr(typing, name) for name in ("Final", "ClassVar", "Required", "NotRequired", "ReadOnly")
             if hasattr(typing, name)} | {dataclasses.InitVar}


# ---------------------------------------------------------------- what holds others

_LISTS = {list: list, collections.abc.Sequence: list, collections.abc.MutableSequence: list, collections.abc.Iterable: list,
          collections.abc.Collection: list, collections.abc.Iterator: iter, collections.deque: collections.deque}
_SETS = {set: set, frozenset: frozenset, collections.abc.Set: set, collections.abc.MutableSet: set}
_OBJECTS = {dict: dict, collections.abc.Mapping: dict, collections.abc.MutableMapping: dict,
            collections.OrderedDict: collections.OrderedDict,
            collections.defaultdict: functools.partial(collections.defaultdict, None)}


def _container(kind, arguments, inner):
    if kind in _LISTS or kind in _SETS:
        item = inner(arguments[0]) if arguments else ANY
        schema = {"type": "array", "items": item.schema} if arguments else {"type": "array"}
        made = _LISTS.get(kind) or _SETS[kind]
        if kind in _SETS:
            schema["uniqueItems"] = True
        return Shape(schema, lambda value: made(_each(item.make, _list(value))),
                     is_plain=item.is_plain and made is list)
    if kind is tuple:
        return _tuple(arguments, inner)
    if kind in _OBJECTS:
        item = inner(arguments[1]) if len(arguments) == 2 else ANY
        name = ANY if not arguments else Shape({}, int) if arguments[0] is int else _name(inner(arguments[0]))
        made = _OBJECTS[kind]

        def make(value):
            members = {}
            for key, one in _dict(value).items():
                try:
                    known = name.make(key)
                    if known in members:
                        raise ValueError(f"another member has this name already, as {clean(repr(known), 200)}")
                    members[known] = item.make(one)
                except MISFITS as error:
                    raise misfit(error, key) from None
            return made(members)
        schema = {"type": "object", "additionalProperties": item.schema or True} if arguments else {"type": "object"}
        return Shape(schema, make, is_plain=item.is_plain and name.is_plain and made is dict)
    return None


#: What a number, true, false and null begin with, and the longest name that is read as one of them, in characters.
_LONE = frozenset("-0123456789tfn")
LONGEST_NAME = 4096


def _name(shape):
    """The shape of names of members: text, and where that does not fit, what it reads as in JSON, as numbers are written there."""
    if shape in (ANY, _SIMPLE[str]):
        return shape

    def make(text):
        try:
            return shape.make(text)
        except MISFITS:
            # No list and no object, which may be deep.
            if text[:1] in _LONE and len(text) <= LONGEST_NAME:
                try:
                    return made_of(text, shape.make)
                except MISFITS:
                    pass
            raise
    return Shape({}, make)


def _tuple(arguments, inner, least=None):
    """least: How many of the items there have to be, at least; None: all."""
    if not arguments:
        return Shape({"type": "array"}, lambda value: tuple(_list(value)))
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        item = inner(arguments[0])
        return Shape({"type": "array", "items": item.schema}, lambda value: tuple(_each(item.make, _list(value))))
    items = [inner(argument) for argument in arguments if argument != ()]
    least = len(items) if least is None else least

    def make(value):
        if not least <= len(_list(value)) <= len(items):
            raise ValueError(f"expected {len(items) if least == len(items) else f'{least} to {len(items)}'} items")
        return tuple(_each(lambda pair: pair[0].make(pair[1]), zip(items, value)))
    schema = {"type": "array", "minItems": least, "maxItems": len(items)}
    if items:
        schema["prefixItems"] = [item.schema for item in items]
    return Shape(schema, make)


def _each(make, values):
    made = []
    try:
        for value in values:
            made.append(make(value))
    except MISFITS as error:
        raise misfit(error, len(made)) from None
    return made


def _list(value):
    if type(value) is not list:
        raise TypeError("expected a list")
    return value


def _dict(value):
    if type(value) is not dict:
        raise TypeError("expected an object")
    return value


def _possible(alternatives, inner):
    """The shapes of those that JSON has."""
    parts, refused = [], None
    for alternative in alternatives:
        try:
            parts.append(inner(alternative))
        except NoJSON as error:
            refused = error
    if not parts:
        raise refused
    return parts


def _union(parts):
    kinds = [part.schema.get("type") for part in parts if set(part.schema) == {"type"}]
    if len(kinds) == len(parts) and all(isinstance(kind, str) for kind in kinds):
        schema = {"type": kinds}
    elif any(not part.schema for part in parts):
        schema = {}
    else:
        schema = {"anyOf": [part.schema for part in parts]}
    numbers = {type_: part for type_, part in ((int, _SIMPLE[int]), (float, _SIMPLE[float])) if part in parts}

    def make(value):
        # 1 is a whole number where both are welcome, 1.0 is none.
        if type(value) in numbers:
            return value
        failures = []
        try:
            for part in parts:
                try:
                    return part.make(value)
                except MISFITS as error:
                    failures.append(error)
            raise _closest(failures)
        finally:
            failures = None  # their tracebacks hold this frame
    return Shape(schema, make, is_plain=all(part.is_plain for part in parts))


def _closest(failures):
    """Of what keeps a value from each of its alternatives the one that says most."""
    deepest = max(failures, key=lambda error: error.where.count("/") if isinstance(error, Misfit) else 0)
    if isinstance(deepest, Misfit):
        return deepest
    # Who wants another type of JSON has not looked at the value.
    looked = [error for error in failures if not isinstance(error, TypeError)] or failures
    if len(looked) == 1:
        return looked[0]
    return ValueError("fits none of the alternatives: " + "; ".join(dict.fromkeys(clean(error, 400) for error in looked)))


def _choice(values, members):
    """One of these JSON values, standing for one of the members."""
    values = [json.loads(encode(value, "an alternative")) for value in values]

    def make(value):
        for known, member in zip(values, members):
            if known == value and (type(known) is bool) == (type(value) is bool):
                return member
        raise ValueError("is none of the alternatives")
    return Shape({"enum": values}, make)


# ---------------------------------------------------------------- classes


def _class(hint, definitions, inner, for_output):
    if not isinstance(hint, type):
        origin = typing.get_origin(hint)
        return _class(origin, definitions, inner, for_output) if isinstance(origin, type) else ANY
    if issubclass(hint, enum.Flag):  # several of its members are one value of it
        number = inner(int)
        return Shape(number.schema, lambda value: hint(number.make(value)))
    if issubclass(hint, enum.Enum):
        return _choice([member.value for member in hint], list(hint))
    if models.is_model(hint):
        return models.model(hint, definitions, for_output)
    scope = vars(sys.modules[hint.__module__]) if hint.__module__ in sys.modules else {}
    if dataclasses.is_dataclass(hint):
        fields = [field for field in dataclasses.fields(hint) if field.init]
        needed = [field.name for field in fields
                  if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING]
        names = [field.name for field in fields]
        return definitions.named(hint, lambda: _members(
            hint, names, needed, hints_of(hint, names, scope), inner, lambda members: hint(**members)))
    if issubclass(hint, dict) and hasattr(hint, "__required_keys__"):  # a TypedDict
        names = [*hint.__required_keys__, *hint.__optional_keys__]
        hints = hints_of(hint, names, scope)
        return definitions.named(hint, lambda: _members(
            hint, sorted(names), sorted(hint.__required_keys__), hints, inner, dict))
    if issubclass(hint, tuple) and hasattr(hint, "_fields"):  # a NamedTuple
        hints = hints_of(hint, hint._fields, scope)

        def build():
            shape = _tuple(tuple(hints.get(name, typing.Any) for name in hint._fields) or ((),), inner,
                           len(hint._fields) - len(hint._field_defaults))
            return Shape(shape.schema, lambda value: hint(*shape.make(value)))
        return definitions.named(hint, build)
    return ANY


def _members(hint, names, needed, hints, inner, made):
    parts = {}
    for name in names:
        try:
            parts[name] = inner(hints.get(name, typing.Any))
        except NoJSON as error:
            if name in needed:
                raise NoJSON(f"{hint.__name__}.{name}: {error}") from None

    def make(value):
        members = {}
        for name, member in _dict(value).items():
            if name not in parts:
                raise ValueError(f"{hint.__name__} has no member {name!r}")
            try:
                members[name] = parts[name].make(member)
            except MISFITS as error:
                raise misfit(error, name) from None
        for name in needed:
            if name not in members:
                raise ValueError(f"{hint.__name__} lacks {name!r}")
        return made(members)
    return Shape({"type": "object", "properties": {name: part.schema for name, part in parts.items()}, "required": needed,
                  "additionalProperties": False}, make)
