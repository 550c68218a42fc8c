"""What the signature of a function says: the schema of its input, how its arguments are made, the schema of its result."""
import inspect
import json
import os
import site
import typing

from .shapes import MISFITS, Definitions, NoJSON, hints_of, misfit, shape_of
from .values import InvalidInput, InvalidOutput, clean, encode

#: Where code stands that is not the task's own: ours, Python's, and packages installed with it; "<" begins what is in no file.
_OTHERS = (os.path.dirname(__file__), os.path.dirname(os.__file__), "<",
           *(os.path.join(path, "") for path in getattr(site, "getsitepackages", list)()))


def signature(function):
    """(input -> (arguments by place, arguments by name), schema of the input, schema of the result or None,
    whether the digits of its numbers are needed)
    """
    parameters = inspect.signature(function).parameters
    hints = hints_of(function, [*parameters, "return"], getattr(inspect.unwrap(function), "__globals__", {}))
    definitions = Definitions()
    shapes, properties, required, more = {}, {}, [], False
    for parameter in parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            continue
        hint = hints.get(parameter.name, typing.Any)
        if parameter.default is None:
            hint = typing.Optional[hint]
        try:
            shape = shape_of(hint, definitions)
        except NoJSON as error:
            if parameter.default is not parameter.empty:
                continue  # it keeps its default, whoever calls
            raise NoJSON(f"its parameter {parameter.name}: {error}") from None
        if parameter.kind is parameter.VAR_KEYWORD:
            more = shape
            continue
        shapes[parameter.name] = shape
        properties[parameter.name] = dict(shape.schema)
        if parameter.default is parameter.empty:
            required.append(parameter.name)
        else:
            _add_default(properties[parameter.name], parameter.default)
    schema = {"type": "object", "properties": properties, "required": required,
              "additionalProperties": more and (more.schema or True)}
    return (_binder(parameters, shapes, more), definitions.root(schema), _output(function, hints.get("return")),
            definitions.reads_digits)


def _add_default(schema, default):
    try:
        schema["default"] = json.loads(encode(default))
    except InvalidOutput:
        pass  # it holds where the function is called; nobody else can be told


def _output(function, hint):
    if hint is None or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return None
    definitions = Definitions()
    try:
        schema = shape_of(hint, definitions, for_output=True).schema
    except NoJSON as error:
        raise NoJSON(f"its result: {error}") from None
    return definitions.root(schema) or None


def _binder(parameters, shapes, more):
    makers = {name: shape.make for name, shape in shapes.items() if not shape.is_plain}
    by_place = [parameter for parameter in parameters.values() if parameter.kind is parameter.POSITIONAL_ONLY]
    if more and not more.is_plain:
        others = more.make
    else:
        others = None
    if not makers and not by_place and others is None:
        return lambda value: ((), value)

    def bind(value):
        names = {}
        for name, member in value.items():
            make = makers.get(name) or (others if name not in shapes else None)
            try:
                names[name] = member if make is None else make(member)
            except InvalidInput:
                raise
            except MISFITS as error:
                raise _invalid(misfit(error, name))
        places = []
        for parameter in by_place:
            if parameter.name not in names and all(later.name not in names for later in by_place):
                break
            places.append(names.pop(parameter.name, parameter.default))
        return places, names
    return bind


def _invalid(found):
    error = InvalidInput(f"{clean(found.where, 1000)}: {found}")
    error.__cause__ = _of_task(found.origin)
    return error


def _of_task(error):
    """The error, if code of the task had a part in it (a `__post_init__`, say); None: its message and the place say all."""
    frames = error.__traceback__
    while frames is not None:
        if not frames.tb_frame.f_code.co_filename.startswith(_OTHERS):
            return error
        frames = frames.tb_next
    return None
