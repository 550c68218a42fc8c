"""Models of pydantic, if it is there: it says what they look like, and makes them."""
import dataclasses
import decimal
import functools
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
        schema = hint.model_json_schema(by_alias=True, mode=_mode(for_output), schema_generator=_generator())
        return _shape(schema, _with_digits(hint, hint.model_validate, definitions), definitions)
    return _shape(hint.schema(by_alias=True, ref_template="#/$defs/{model}"), hint.parse_obj, definitions)


def adapted(hint, definitions, for_output):
    adapter = sys.modules["pydantic"].TypeAdapter(hint)
    return _shape(adapter.json_schema(by_alias=True, mode=_mode(for_output), schema_generator=_generator()),
                  _with_digits(hint, adapter.validate_python, definitions), definitions)


# ---------------------------------------------------------------- numbers, digit by digit

def _with_digits(hint, validate, definitions):
    """Gives pydantic the numbers as they came, where it is plain that a decimal or a whole number is wanted."""
    known = {}
    change = _exact(hint, known)
    # A class that contains itself has one, and nothing to do where there is no number.
    if change is None or known.keys().isdisjoint(_NUMBERS):
        return validate
    definitions.reads_digits = True
    return lambda value: validate(change(value))


def _exact(hint, known):
    """A function that returns a value with exact numbers in it for the floats; None: there is nothing to do.

    known: those of the numbers that were met, and of the classes that were begun, which may contain themselves.
    """
    from . import shapes
    if hint is decimal.Decimal or hint is int:
        return known.setdefault(hint, _NUMBERS[hint])
    if hasattr(hint, "__supertype__"):
        return _exact(hint.__supertype__, known)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated or origin in shapes._WRAPPERS and origin is not typing.ClassVar:
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


def _to_decimal(value):
    return exact(value) if type(value) is float else value


def _to_whole(value):
    # Within these no digit is lost, and a model that is strict about what is no whole number still sees one.
    number = whole(value) if type(value) is float and abs(value) >= 1 << 53 else None
    return value if number is None else number


_NUMBERS = {decimal.Decimal: _to_decimal, int: _to_whole}


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
        fields = [(_names(name, field, getattr(hint, "model_config", {})), field.annotation)
                  for name, field in hint.model_fields.items()]
    elif dataclasses.is_dataclass(hint) or hasattr(hint, "__required_keys__"):
        from .shapes import hints_of
        names = hint.__dataclass_fields__ if dataclasses.is_dataclass(hint) else hint.__required_keys__ | hint.__optional_keys__
        scope = vars(sys.modules[hint.__module__]) if hint.__module__ in sys.modules else {}
        fields = [({name}, annotation) for name, annotation in hints_of(hint, names, scope).items()]
    else:
        return None
    if hint in known:
        return lambda value: known[hint](value) if known[hint] else value
    known[hint] = None
    members = {name: change for names, annotation in fields if (change := _exact(annotation, known)) for name in names}

    def make(value):
        if type(value) is not dict:
            return value
        return {name: members[name](one) if name in members else one for name, one in value.items()}
    if members:
        known[hint] = members["root"] if getattr(hint, "__pydantic_root_model__", False) else make
    return known[hint]


def _names(name, field, config):
    """What a field of a model may be called in what comes."""
    alias = getattr(field, "validation_alias", None) or getattr(field, "alias", None)
    if alias is None or config.get("validate_by_alias") is False:
        return {name}
    names = {one for one in getattr(alias, "choices", [alias]) if isinstance(one, str)}
    return names | {name} if config.get("populate_by_name") or config.get("validate_by_name") else names


@functools.lru_cache(None)
def _generator():
    """Makes schemas as pydantic does, but for fields that may come under several names: they have one there, and require it."""
    import pydantic.json_schema

    class Generator(pydantic.json_schema.GenerateJsonSchema):
        def field_is_required(self, field, total):
            return super().field_is_required(field, total) and not (
                self.mode == "validation" and self._has_several_names(field))

        def _has_several_names(self, field):
            alias = field.get("validation_alias")
            is_named_too = any(getattr(self._config, one, False) for one in ("populate_by_name", "validate_by_name"))
            return alias is not None and (is_named_too or isinstance(alias, list) and len(alias) > 1)
    return Generator


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
