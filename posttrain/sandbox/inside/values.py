"""Values as JSON, between a program and its tests: plain values by value, every other object by a number.

A value of a subclass travels as the built-in value that it holds, so what arrives has no methods of the program's.
"""

from __future__ import annotations

import builtins
import collections
import datetime
import decimal
import fractions
from collections.abc import Callable
from typing import Any

_SMALL = 1 << 53
_TYPES = {value: name for name, value in vars(builtins).items() if type(value) is type}
Refer = Callable[[Any], dict[str, Any]]
Resolve = Callable[[dict[str, Any]], Any]


def encode(value: Any, refer: Refer) -> Any:
    """Return the value as JSON has it; `refer` returns the reference to an object that is not plain."""
    kind = type(value)
    if value is None or kind is bool or kind is str or kind is float:
        return value
    if kind is int:
        return value if -_SMALL < value < _SMALL else {"int": hex(value)}
    if kind is list:
        return [encode(item, refer) for item in value]
    if kind in _ENCODERS:
        return {kind.__name__: _ENCODERS[kind](value, lambda inner: encode(inner, refer))}
    if kind is type and value in _TYPES:
        return {"type": _TYPES[value]}
    for base, exact in _BASES:
        if issubclass(kind, base):
            return encode(exact(value), refer)
    if kind.__module__ == "numpy" and getattr(value, "shape", None) == ():
        return encode(value.item(), refer)
    return refer(value)


def decode(data: Any, resolve: Resolve) -> Any:
    """Return the value of JSON that `encode` wrote; raises ValueError, TypeError and the like for any other."""
    if isinstance(data, list):
        return [decode(item, resolve) for item in data]
    if not isinstance(data, dict):
        return data
    ((name, content),) = data.items()
    if name in _DECODERS:
        return _DECODERS[name](content, lambda inner: decode(inner, resolve))
    return resolve(data)


def _items(value: Any, inner: Callable[[Any], Any]) -> list[Any]:
    return [inner(item) for item in value]


def _pairs(value: Any, inner: Callable[[Any], Any]) -> list[Any]:
    return [[inner(key), inner(item)] for key, item in value.items()]


# How each plain type is written, beside what JSON has itself.
_ENCODERS: dict[type, Callable[[Any, Callable[[Any], Any]], Any]] = {
    tuple: _items,
    set: _items,
    frozenset: _items,
    dict: _pairs,
    collections.OrderedDict: _pairs,
    collections.Counter: _pairs,
    collections.deque: _items,
    bytes: lambda value, inner: value.hex(),
    bytearray: lambda value, inner: value.hex(),
    complex: lambda value, inner: [value.real, value.imag],
    range: lambda value, inner: [inner(value.start), inner(value.stop), inner(value.step)],
    decimal.Decimal: lambda value, inner: str(value),
    fractions.Fraction: lambda value, inner: [inner(value.numerator), inner(value.denominator)],
    datetime.datetime: lambda value, inner: value.isoformat(),
    datetime.date: lambda value, inner: value.isoformat(),
    datetime.time: lambda value, inner: value.isoformat(),
    datetime.timedelta: lambda value, inner: [value.days, value.seconds, value.microseconds],
    type({}.keys()): _items,
    type({}.values()): _items,
    type({}.items()): _items,
}
_DECODERS: dict[str, Callable[[Any, Callable[[Any], Any]], Any]] = {
    "int": lambda content, inner: int(content, 16),
    "type": lambda content, inner: next(kind for kind, name in _TYPES.items() if name == content),
    "tuple": lambda content, inner: tuple(map(inner, content)),
    "set": lambda content, inner: set(map(inner, content)),
    "frozenset": lambda content, inner: frozenset(map(inner, content)),
    "dict": lambda content, inner: {inner(key): inner(item) for key, item in content},
    "OrderedDict": lambda content, inner: collections.OrderedDict((inner(key), inner(item)) for key, item in content),
    "Counter": lambda content, inner: collections.Counter({inner(key): inner(item) for key, item in content}),
    "deque": lambda content, inner: collections.deque(map(inner, content)),
    "bytes": lambda content, inner: bytes.fromhex(content),
    "bytearray": lambda content, inner: bytearray.fromhex(content),
    "complex": lambda content, inner: complex(*content),
    "range": lambda content, inner: range(*map(inner, content)),
    "Decimal": lambda content, inner: decimal.Decimal(content),
    "Fraction": lambda content, inner: fractions.Fraction(*map(inner, content)),
    "datetime": lambda content, inner: datetime.datetime.fromisoformat(content),
    "date": lambda content, inner: datetime.date.fromisoformat(content),
    "time": lambda content, inner: datetime.time.fromisoformat(content),
    "timedelta": lambda content, inner: datetime.timedelta(*content),
    "dict_keys": lambda content, inner: dict.fromkeys(map(inner, content)).keys(),
    "dict_values": lambda content, inner: dict(enumerate(map(inner, content))).values(),
    "dict_items": lambda content, inner: dict(map(inner, content)).items(),
}
# What a value of a subclass holds, by methods that the subclass cannot have replaced.
_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (int, int.__pos__),
    (float, float.__pos__),
    (str, str.__str__),
    (bytes, bytes),
    (list, list),
    (tuple, tuple),
    (set, set),
    (frozenset, frozenset),
    (dict, lambda value: dict(dict.items(value))),
)
