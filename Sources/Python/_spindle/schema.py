"""What the annotations of a function say: JSON Schemas, and values of their types."""
import collections.abc
import dataclasses
import enum
import inspect
import json
import types
import typing


def signature(function):
    """(input -> arguments of a call, schema of the input, schema of the result or None)"""
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # an annotation that cannot be evaluated says nothing
        hints = {}
    makers, properties, required = {}, {}, []
    takes_more = False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_more = True
            continue
        schema, make = _schema(hints.get(parameter.name, typing.Any))
        if parameter.default is parameter.empty:
            required.append(parameter.name)
        else:
            try:
                schema = dict(schema, default=plain(parameter.default))
                json.dumps(schema)
            except (TypeError, ValueError):
                schema.pop("default", None)
        properties[parameter.name] = schema
        if make is not None:
            makers[parameter.name] = make
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": takes_more}

    def bind(value):
        if not makers:
            return value
        return {name: makers[name](member) if name in makers else member for name, member in value.items()}

    result = hints.get("return")
    generator = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    output = None if result is None or generator else _schema(result)[0]
    return bind, schema, output or None


def _schema(hint):
    """(JSON Schema of a type, what makes a value of it from JSON or None)"""
    simple = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null",
              dict: "object", list: "array"}
    if hint in simple:
        return {"type": simple[hint]}, None
    if hint is typing.Any or isinstance(hint, typing.TypeVar):
        return {}, None
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is getattr(typing, "Annotated", None):
        return _schema(arguments[0])
    if origin is typing.Literal:
        return {"enum": list(arguments)}, None
    if origin is typing.Union or origin is getattr(types, "UnionType", ()):
        return _union(arguments)
    if origin in (list, set, frozenset, collections.abc.Sequence, collections.abc.Iterable):
        schema, make = _schema(arguments[0])
        made = (lambda value: [make(item) for item in value]) if make else None
        if origin in (set, frozenset):
            return {"type": "array", "items": schema, "uniqueItems": True}, \
                lambda value: origin(made(value) if made else value)
        return {"type": "array", "items": schema}, made
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return {"type": "array", "items": _schema(arguments[0])[0]}, tuple
        count = len(arguments)
        return {"type": "array", "minItems": count, "maxItems": count}, tuple
    if origin in (dict, collections.abc.Mapping):
        schema, make = _schema(arguments[1])
        made = (lambda value: {name: make(item) for name, item in value.items()}) if make else None
        return {"type": "object", "additionalProperties": schema or True}, made
    if isinstance(hint, type):
        return _class(hint)
    return {}, None


def _union(arguments):
    parts = [_schema(argument) for argument in arguments]
    makers = [make for _, make in parts if make is not None]
    plain = [schema for schema, _ in parts]
    if all(set(schema) == {"type"} for schema in plain):
        schema = {"type": [schema["type"] for schema in plain]}
    else:
        schema = {"anyOf": plain}
    if not makers:
        return schema, None

    def make(value):
        if value is None:
            return None
        for maker in makers:
            try:
                return maker(value)
            except (TypeError, ValueError, KeyError):
                continue
        return value
    return schema, make


def _class(hint):
    if issubclass(hint, enum.Enum):
        return {"enum": [member.value for member in hint]}, hint
    if hasattr(hint, "model_json_schema"):  # pydantic, if it is there
        return hint.model_json_schema(), hint.model_validate
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        fields = [field for field in dataclasses.fields(hint) if field.init]
        needed = [field.name for field in fields
                  if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING]
        schema, members = _object({field.name: hints[field.name] for field in fields}, needed)
        return schema, lambda value: hint(**members(value))
    if issubclass(hint, dict) and hasattr(hint, "__required_keys__"):  # a TypedDict
        return _object(typing.get_type_hints(hint), sorted(hint.__required_keys__))
    return {}, None


def _object(hints, needed):
    parts = {name: _schema(hint) for name, hint in hints.items()}
    schema = {"type": "object", "properties": {name: part[0] for name, part in parts.items()}, "required": needed,
              "additionalProperties": False}
    return schema, lambda value: {
        name: parts[name][1](member) if name in parts and parts[name][1] else member for name, member in value.items()}


def plain(value):
    """What JSON can say of a value."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, enum.Enum):
        return value.value
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, (set, frozenset)):
        return list(value)
    return value


def default(value):
    made = plain(value)
    if made is value:
        raise TypeError(f"{type(value).__name__} is no JSON")
    return made
