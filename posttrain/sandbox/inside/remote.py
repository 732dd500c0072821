"""The program's objects as its tests see them: what is done to one is asked of the program.

An object of the program's own is never equal to a plain value, whatever it says of itself.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

from .texts import Channel
from .values import decode, encode

_ASKED = """
__abs__ __add__ __and__ __contains__ __delitem__ __enter__ __exit__ __float__ __floordiv__ __getitem__ __index__
__int__ __invert__ __iter__ __len__ __lshift__ __matmul__ __mod__ __mul__ __neg__ __next__ __or__ __pos__ __pow__
__radd__ __repr__ __reversed__ __rmul__ __round__ __rshift__ __rsub__ __rtruediv__ __setitem__ __str__ __sub__
__truediv__ __xor__ __bool__ __instancecheck__
"""
_COMPARED = ("__lt__", "__le__", "__gt__", "__ge__")


class ProgramError(Exception):
    """The program raised something that is no Exception, or of a class that nobody knows here."""


class Program:
    """The program at the other end of a channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._callbacks: list[Callable[..., Any]] = []
        self._exceptions: dict[str, type[Exception]] = {}

    def run(self, texts: list[str]) -> dict[str, Any]:
        """Run the first of the texts that compiles; return by name what it defines: modules, functions, values.

        Raises what the program raised.
        """
        names = self._ask({"do": "run", "texts": texts})["names"]
        return {str(name): self._defined(str(name), dict(described)) for name, described in dict(names).items()}

    def _defined(self, name: str, described: dict[str, Any]) -> Any:
        if "module" in described:
            return Module(str(described["module"]))
        if "exception" in described:
            self._exceptions[name] = type(name, (_builtin_exception(described["exception"]),), {})
            return self._exceptions[name]
        return self._decoded(described["value"])

    def call(self, number: int, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Call an object. Lists, dictionaries and sets that it changed are changed here too."""
        sent = [self._encoded(argument) for argument in arguments]
        named = {name: self._encoded(argument) for name, argument in keywords.items()}
        reply = self._ask({"do": "call", "object": number, "arguments": sent, "keywords": named})
        for index, data in dict(reply.get("changed") or {}).items():
            _replace(arguments[int(index)], self._decoded(data))
        return self._decoded(reply["value"])

    def operate(self, number: int, name: str, arguments: tuple[Any, ...]) -> Any:
        """Apply a special method, or get or set an attribute."""
        sent = [self._encoded(argument) for argument in arguments]
        return self._decoded(self._ask({"do": "operate", "object": number, "name": name, "arguments": sent})["value"])

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self._channel.send(request)
        while "callback" in (reply := self._channel.receive()):
            self._channel.send(self._called_back(reply))
        if "raised" in reply:
            raise self._exception(reply["raised"])
        return reply

    def _called_back(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            arguments = [self._decoded(data) for data in message["arguments"]]
            return {"value": self._encoded(self._callbacks[message["callback"]](*arguments))}
        except Exception as error:
            return {"raised": f"{type(error).__name__}: {error}"[:200]}

    def _exception(self, raised: dict[str, Any]) -> Exception:
        names, text = [str(name) for name in raised["names"]], str(raised["text"])
        own = next((self._exceptions[name] for name in names if name in self._exceptions), None)
        error = (own or _builtin_exception(names))(text)
        error.__dict__["raised"] = {"name": names[0], "text": text, "line": raised.get("line")}
        return error

    def _encoded(self, value: Any) -> Any:
        return encode(value, self._refer)

    def _decoded(self, data: Any) -> Any:
        return decode(data, lambda found: NotImplemented if "special" in found else Remote(self, int(found["object"])))

    def _refer(self, value: Any) -> dict[str, Any]:
        if isinstance(value, Remote):
            return {"object": object.__getattribute__(value, "_number")}
        if callable(value):
            self._callbacks.append(value)
            return {"callback": len(self._callbacks) - 1}
        raise TypeError(f"a {type(value).__name__} of the tests cannot be given to the program")


class Module:
    """A module that the program imported, by its name."""

    def __init__(self, name: str) -> None:
        self.name = name


class Remote:
    """An object of the program."""

    __slots__ = ("_number", "_program")

    def __init__(self, program: Program, number: int) -> None:
        object.__setattr__(self, "_program", program)
        object.__setattr__(self, "_number", number)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self._program.call(self._number, arguments, keywords)

    def __getattr__(self, name: str) -> Any:
        if name[:2] == "__" and name != "__name__":
            raise AttributeError(name)
        return self._program.operate(self._number, "__getattr__", (name,))

    def __setattr__(self, name: str, value: Any) -> None:
        self._program.operate(self._number, "__setattr__", (name, value))

    def __eq__(self, other: object) -> Any:
        if not isinstance(other, Remote):
            return NotImplemented
        return self._number == other._number or self._program.operate(self._number, "__eq__", (other,))

    def __hash__(self) -> int:
        return hash(("Remote", self._number))

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("an object of the program cannot be copied")


def _asked(name: str) -> Callable[..., Any]:
    def method(self: Remote, *arguments: Any) -> Any:
        return self._program.operate(self._number, name, arguments)

    return method


def _compared(name: str) -> Callable[..., Any]:
    def method(self: Remote, other: Any) -> Any:
        if not isinstance(other, Remote):
            return NotImplemented
        return self._program.operate(self._number, name, (other,))

    return method


for _name in _ASKED.split():
    setattr(Remote, _name, _asked(_name))
for _name in _COMPARED:
    setattr(Remote, _name, _compared(_name))


def _builtin_exception(names: list[Any]) -> type[Exception]:
    """Return the nearest built-in exception of the classes; ProgramError if there is none but Exception."""
    for name in names:
        found = getattr(builtins, str(name), None)
        if found is Exception:
            break
        if isinstance(found, type) and issubclass(found, Exception) and not issubclass(found, UnicodeError):
            return found
    return ProgramError


def _replace(target: Any, content: Any) -> None:
    """Give a list, bytearray, dictionary or set of the tests the content that the program left it with."""
    if type(content) is not type(target):
        return
    if isinstance(target, (list, bytearray)):
        target[:] = content
    else:
        target.clear()
        target.update(content)
