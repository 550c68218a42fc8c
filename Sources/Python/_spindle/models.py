"""Models of pydantic, if it is there: it says what they look like, and makes them."""
import dataclasses
import decimal
import sys
import types
import typing

from .digits import exact, whole
from .values import InvalidOutput, encode

#: Keywords that the server checks or shows. What stands in a model beside them is checked here, by pydantic.
_CHECKED = {
    "type", "enum", "const", "required", "minProperties", "maxProperties", "minItems", "maxItems", "uniqueItems", "minimum",
    "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "$ref", "title", "description",
    "default", "examples", "deprecated", "readOnly", "writeOnly", "format", "$comment"}
_SCHEMAS, _LISTS, _MAPS = {"items", "not", "additionalProperties"}, {"prefixItems", "allOf", "anyOf", "oneOf"}, {"properties"}


def is_model(hint):
    return "pydantic" in sys.modules and (hasattr(hint, "model_json_schema") or hasattr(hint, "__fields__")
                                          and hasattr(hint, "parse_obj"))


def knows(metadata):
    """Whether what is annotated says something to pydantic."""
    return "pydantic" in sys.modules and hasattr(sys.modules["pydantic"], "TypeAdapter") and any(
        type(one).__module__.split(".")[0] in ("pydantic", "annotated_types") for one in metadata)


def model(hint, definitions, for_output):
    if hasattr(hint, "model_json_schema"):
        schema = hint.model_json_schema(by_alias=True, mode=_mode(for_output))
        return _shape(schema, _with_digits(hint, hint.model_validate, definitions), definitions)
    return _shape(hint.schema(by_alias=True, ref_template="#/$defs/{model}"), hint.parse_obj, definitions)


def adapted(hint, definitions, for_output):
    adapter = sys.modules["pydantic"].TypeAdapter(hint)
    return _shape(adapter.json_schema(by_alias=True, mode=_mode(for_output)),
                  _with_digits(hint, adapter.validate_python, definitions), definitions)


# ---------------------------------------------------------------- numbers, digit by digit

def _with_digits(hint, validate, definitions):
    """Gives pydantic the numbers as they came, where it is plain that a decimal or a whole number is wanted."""
    change = _exact(hint, {})
    if change is None:
        return validate
    definitions.reads_digits = True
    return lambda value: validate(change(value))


def _exact(hint, known):
    """A function that returns a value with exact numbers in it for the floats; None: there is nothing to do.

    known: those of the classes that were begun, which may contain themselves.
    """
    from . import shapes
    if hint is decimal.Decimal or hint is int:
        return _decimal if hint is decimal.Decimal else _whole
    if hasattr(hint, "__supertype__"):
        return _exact(hint.__supertype__, known)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _exact(arguments[0], known)
    if origin is typing.Union or origin is getattr(types, "UnionType", ()):
        parts = [part for part in arguments if part not in (type(None), str, bool, bytes)]
        # Of several alternatives pydantic alone knows which one it will be.
        return _exact(parts[0], known) if len(parts) == 1 else None
    if (origin is tuple or origin in shapes._LISTS or origin in shapes._SETS) and arguments:
        return _exact_list([_exact(part, known) for part in arguments if part is not Ellipsis],
                           origin is not tuple or arguments[-1] is Ellipsis)
    if origin in shapes._OBJECTS and len(arguments) == 2:
        item = _exact(arguments[1], known)
        return item and (lambda value: {name: item(one) for name, one in value.items()} if type(value) is dict else value)
    return _exact_members(hint, known)


def _decimal(value):
    return exact(value) if type(value) is float else value


def _whole(value):
    # Within these no digit is lost, and a model that is strict about what is no whole number still sees one.
    number = whole(value) if type(value) is float and abs(value) >= 1 << 53 else None
    return value if number is None else number


def _exact_list(items, is_repeated):
    if not any(items):
        return None

    def make(value):
        if type(value) is not list:
            return value
        these = items * len(value) if is_repeated else items + [None] * (len(value) - len(items))
        return [item(one) if item else one for item, one in zip(these, value)]
    return make


def _exact_members(hint, known):
    if hasattr(hint, "model_fields"):
        fields = [(name, field, field.annotation) for name, field in hint.model_fields.items()]
    elif dataclasses.is_dataclass(hint) or hasattr(hint, "__required_keys__"):
        try:
            fields = [(name, None, annotation) for name, annotation in typing.get_type_hints(hint).items()]
        except Exception:  # a name that is known to type checkers only
            return None
    else:
        return None
    if hint in known:
        return lambda value: known[hint](value) if known[hint] else value
    known[hint] = None
    members = {}
    for name, field, annotation in fields:
        if change := _exact(annotation, known):
            names = {name, *(getattr(field, which, None) for which in ("alias", "validation_alias"))}
            members.update((one, change) for one in names if isinstance(one, str))

    def make(value):
        if type(value) is not dict:
            return value
        return {name: members[name](one) if name in members else one for name, one in value.items()}
    if members:
        known[hint] = members["root"] if getattr(hint, "__pydantic_root_model__", False) else make
    return known[hint]


def _mode(for_output):
    return "serialization" if for_output else "validation"


def _shape(schema, make, definitions):
    from .shapes import Shape
    parts = {**schema.pop("definitions", {}), **schema.pop("$defs", {})}
    names = {}
    for name, part in parts.items():
        names[name] = name
        while names[name] in definitions.schemas and definitions.schemas[names[name]] != _known(part, names):
            names[name] += "_"
    for name, part in parts.items():
        definitions.schemas[names[name]] = _known(part, names)
    return Shape(_known(schema, names), make)


def _known(schema, names):
    """A schema of those keywords alone; the others are named in a comment."""
    if not isinstance(schema, dict):
        return schema
    known, others = {}, []
    for key, value in schema.items():
        if key == "$ref":
            name = value.rpartition("/")[2]
            known[key] = f"#/$defs/{names.get(name, name)}"
        elif key in _SCHEMAS:
            known[key] = _known(value, names)
        elif key in _LISTS and value:
            known[key] = [_known(part, names) for part in value]
        elif key in _MAPS:
            known[key] = {name: _known(part, names) for name, part in value.items()}
        elif key in _CHECKED and _is_json(value):
            known[key] = value
        else:
            others.append(f"{key} {value}" if isinstance(value, str) else key)
    if others:
        known["$comment"] = "checked by the task: " + ", ".join(others)
    return known


def _is_json(value):
    try:
        encode(value)
    except InvalidOutput:
        return False
    return True
