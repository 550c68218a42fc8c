"""What JSON can say of a value, strictly: what cannot be said fails the job that said it, with the place in the value."""
import base64
import collections
import collections.abc
import dataclasses
import datetime
import decimal
import enum
import json
import math
import os
import uuid

#: How deep a value may nest; the server refuses what is deeper.
MAX_DEPTH = 64
#: Beyond it a whole number is no double; the server refuses it.
MAX_INTEGER = 1 << 1024
#: Bytes of one result.
MAX_BYTES = 64 << 20


class Never(Exception):
    """Raise it (or a subclass) from a task for what would fail again: the job is not tried again."""


class UnknownTask(Never):
    """There is no such task here, or no more."""


class InvalidOutput(Never):
    """A task said what JSON cannot say."""


class InvalidInput(Never):
    """What came is no value of the type that the task asks for."""


def encode(value, what="the result"):
    """The value as strict JSON on one line, UTF-8.

    what: names the value in the message of the failure.
    Raises InvalidOutput, which says where in the value it is wrong.
    """
    if type(value) is int and -MAX_INTEGER < value < MAX_INTEGER:
        return b"%d" % value
    try:
        encoded = _encode(value).encode()
        is_plain = type(value) in _LEAVES or _is_plain(value)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, RuntimeError) as error:
        found = _find(value) or ("", f"{type(error).__name__}: {clean(error, 1000)}")
    else:
        found = None if is_plain else _find(value)
    if found is not None:
        where, why = found
        raise InvalidOutput(f"{what} is no JSON{f', at {clean(where, 1000)}' if where else ''}: {why}")
    if len(encoded) > MAX_BYTES:
        raise InvalidOutput(f"{what} has {len(encoded)} bytes; {MAX_BYTES} fit")
    return encoded


def plain(value):
    """What stands for a value in JSON, one level deep; the value itself where nothing else does."""
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, (uuid.UUID, decimal.Decimal, os.PathLike)):
        return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    if isinstance(value, collections.abc.Set):
        try:
            return sorted(value)
        except TypeError:  # of several types
            return list(value)
    if isinstance(value, type):
        return value
    if hasattr(value, "model_dump"):  # pydantic 2
        return value.model_dump(mode="json", by_alias=True)
    if hasattr(value, "__fields__") and hasattr(value, "json"):  # pydantic 1
        return json.loads(value.json(by_alias=True))
    if isinstance(value, collections.abc.Mapping):
        return dict(value)
    if isinstance(value, (collections.deque, collections.abc.ValuesView)):
        return list(value)
    if hasattr(value, "tolist"):  # numpy: arrays and scalars
        return value.tolist()
    return value


def clean(value, bound):
    """The text of a value, whatever the value does, with what is no UTF-8 escaped, cut to so many bytes."""
    try:
        text = value if type(value) is str else str(value)
    except BaseException as error:  # an interrupt or an exit too: whoever asks is to get a text
        text = f"(its text cannot be had: str() raised {type(error).__name__})"
    encoded = str.encode(text, "utf-8", "backslashreplace")
    if len(encoded) > bound:
        kept = encoded[:bound].decode("utf-8", "ignore")
        return f"{kept}… ({len(encoded) - bound} bytes more)"
    return encoded.decode()


def finite(value, what):
    """A number as JSON can say it; raises InvalidOutput for all else."""
    if type(value) is int and -MAX_INTEGER < value < MAX_INTEGER:
        return value
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, (str, bytes)) or not math.isfinite(number):
        raise InvalidOutput(f"{what} must be a number, not {clean(repr(value), 200)}")
    return int(number) if number.is_integer() and abs(number) < 1 << 53 else number


def _default(value):
    made = plain(value)
    if made is value:
        raise TypeError(f"{type(value).__name__} is no JSON")
    return made


_encode = json.JSONEncoder(
    separators=(",", ":"), default=_default, allow_nan=False, ensure_ascii=False).encode
_LEAVES = frozenset((str, float, bool, type(None)))


def _is_plain(value):
    """Whether a value that could be encoded is nothing but what it looks like: no name is made of something else, no number
    is too long, nothing is too deep. False: perhaps not."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        below = []
        for node in level:
            kind = type(node)
            if kind is dict:
                for key in node:
                    if type(key) is not str:
                        return False
                below.extend(item for item in node.values() if type(item) not in _LEAVES)
            elif kind is list or kind is tuple:
                below.extend(item for item in node if type(item) not in _LEAVES)
            elif kind is not int or not -MAX_INTEGER < node < MAX_INTEGER:
                return False
        if not below:
            return True
        level = below
    return False


def _find(value):
    """(where, why) of the first thing that is no JSON, or None."""
    open_places = [(value, "", 0)]
    while open_places:
        node, where, depth = open_places.pop()
        if isinstance(node, str):
            try:
                str.encode(node, "utf-8")
            except UnicodeEncodeError:
                return where, "the text has half of a character, a lone surrogate"
        elif isinstance(node, int):
            if not -MAX_INTEGER < node < MAX_INTEGER:
                return where, "the number is too long"
        elif isinstance(node, float):
            if not math.isfinite(node):
                return where, f"{float.__repr__(node)} is no JSON number"
        elif node is not None:
            if depth >= MAX_DEPTH:
                return where, f"it is nested deeper than {MAX_DEPTH} levels"
            if isinstance(node, dict):
                wrong = _find_name(node, where)
                if wrong:
                    return wrong
                below = [(item, f"{where}/{step(key)}", depth + 1) for key, item in node.items()]
            elif isinstance(node, (list, tuple)):
                below = [(item, f"{where}/{index}", depth + 1) for index, item in enumerate(node)]
            else:
                try:
                    made = plain(node)
                except Exception as error:
                    return where, f"{type(node).__name__}: {clean(error, 1000)}"
                if made is node:
                    return where, f"{type(node).__name__} is no JSON"
                # Deeper, lest what stands for itself without end is followed without end.
                below = [(made, where, depth if isinstance(made, (dict, list)) else depth + 1)]
            open_places.extend(reversed(below))
    return None


def _find_name(members, where):
    known = set()
    for key in members:
        if isinstance(key, enum.Enum) and not isinstance(key, str):
            return where, f"{clean(repr(key), 200)} is no name of a member"
        if not isinstance(key, (str, int, float, type(None))):
            return where, f"a {type(key).__name__} is no name of a member: {clean(repr(key), 200)}"
        name = _name(key)
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:
            return where, "the name of a member has half of a character, a lone surrogate"
        if name in known:
            return where, f"two members have the name {clean(name, 200)}"
        known.add(name)
    return None


def _name(key):
    """The name that JSON gives a member with this key."""
    if isinstance(key, str):
        return str.__str__(key)
    if key is None or key is True or key is False:
        return {None: "null", True: "true", False: "false"}[key]
    return int.__repr__(key) if isinstance(key, int) else float.__repr__(key)


def step(key):
    """A name of a member, or the number of an element, as one step of a JSON pointer."""
    return clean(_name(key), 200).replace("~", "~0").replace("/", "~1")
