"""The numbers of an input as they came, digit by digit: a float has lost what does not fit into it."""
import decimal
import json
import threading

from . import api
from .values import clean

#: The number that `made_of` has at hand, and its text.
_lone = threading.local()
_decode = json.JSONDecoder(parse_float=lambda text: text).decode


def digits(number):
    """A float of the input of the call that runs here as it came, digit by digit; any other one as Python writes it."""
    if getattr(_lone, "number", None) is number:
        return _lone.text
    call = api.current.get()
    if call is None or call.line is None:
        return repr(number)
    if call.texts is None:
        call.texts = {}
        # Read once more, which few calls need: the same text has the same members in the same order.
        places = [(call.params["input"], _decode(call.line.decode())["params"]["input"])]
        while places:
            value, said = places.pop()
            if type(value) is float:
                call.texts[id(value)] = said
            elif type(value) is list:
                places.extend(zip(value, said))
            elif type(value) is dict:
                places.extend(zip(value.values(), said.values()))
    return call.texts.get(id(number)) or repr(number)


def made_of(text, make):
    """What `make` makes of the one word or number of JSON that stands in a text; raises ValueError where none does."""
    value = json.loads(text, parse_constant=int)  # which no constant is
    if type(value) is not float:
        return make(value)
    _lone.number, _lone.text = value, text.strip(" \t\n\r")
    try:
        return make(value)
    finally:
        del _lone.number, _lone.text


def exact(number):
    """The decimal number that a float was made of; raises ValueError for what is beyond those, too."""
    text = digits(number)
    try:
        return decimal.Decimal(text)
    except decimal.InvalidOperation:
        raise ValueError(f"{clean(text, 200)} is no decimal number") from None


def whole(number):
    """The whole number that a float was made of; None where it was none, and only rounds to one."""
    if not number.is_integer():
        return None
    try:
        said = exact(number)
    except ValueError:  # too near to zero
        return None
    return int(said) if said == said.to_integral_value() else None
