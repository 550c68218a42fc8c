"""Models of pydantic, if it is there: it says what they look like, and makes them."""
import sys

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
        return _shape(schema, hint.model_validate, definitions)
    return _shape(hint.schema(by_alias=True, ref_template="#/$defs/{model}"), hint.parse_obj, definitions)


def adapted(hint, definitions, for_output):
    adapter = sys.modules["pydantic"].TypeAdapter(hint)
    return _shape(adapter.json_schema(by_alias=True, mode=_mode(for_output)), adapter.validate_python, definitions)


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
