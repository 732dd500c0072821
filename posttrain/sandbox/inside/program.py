"""Role `program`: the program that is tested. It answers calls, and never sees a test or an expected value.

Descriptors: 3 requests, 4 replies (`texts.Channel`). What the program does to its own process is its own affair:
whatever it writes can only be an answer to a call.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from .script import NAME, run_module
from .texts import Channel, Ended
from .values import decode, encode

_CHANGEABLE = (list, dict, set, bytearray)
MAX_NOTE = 500


def main() -> None:
    """Answer requests until the tests end."""
    served = Served(Channel(3, 4))
    try:
        while True:
            served.answer(served.channel.receive())
    except Ended:
        return


class Served:
    """The program's objects, by the numbers that the tests know them by."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}

    def answer(self, request: dict[str, Any]) -> None:
        """Carry a request out and send its reply."""
        try:
            reply = getattr(self, request["do"])(request)
        except Ended:
            raise
        except BaseException as error:
            reply = {"raised": raised(error)}
        try:
            self.channel.send(reply)
        except (ValueError, TypeError, RecursionError, MemoryError) as error:
            self.channel.send({"raised": raised(error)})

    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run the first of the texts that compiles; return what it defines, {name: {module, exception or value}}."""
        module = run_module(_first_that_compiles(request["texts"]), "program")
        return {"names": {name: self._described(value) for name, value in vars(module).items() if name[:2] != "__"}}

    def _described(self, value: Any) -> dict[str, Any]:
        if isinstance(value, ModuleType):
            return {"module": value.__name__}
        if isinstance(value, type) and issubclass(value, BaseException):
            return {"exception": [base.__name__ for base in value.__mro__], "value": self._encoded(value)}
        return {"value": self._encoded(value)}

    def call(self, request: dict[str, Any]) -> dict[str, Any]:
        """Call an object; return its value, and what it made of the arguments that can be changed."""
        arguments = [self._decoded(data) for data in request["arguments"]]
        keywords = {name: self._decoded(data) for name, data in request["keywords"].items()}
        value = self._objects[request["object"]](*arguments, **keywords)
        changed = {}
        for index, argument in enumerate(arguments):
            if type(argument) in _CHANGEABLE:
                now = self._encoded(argument)
                if now != request["arguments"][index]:
                    changed[str(index)] = now
        return {"value": self._encoded(value), "changed": changed}

    def operate(self, request: dict[str, Any]) -> dict[str, Any]:
        """Apply a special method to an object; return its value."""
        target = self._objects[request["object"]]
        arguments = [self._decoded(data) for data in request["arguments"]]
        name = request["name"]
        if name == "__getattr__":
            return {"value": self._encoded(getattr(target, *arguments))}
        if name == "__setattr__":
            setattr(target, *arguments)
            return {"value": None}
        if name == "__bool__":
            return {"value": bool(target)}
        if name == "__iter__":
            return {"value": self._refer(iter(target))}
        if name == "__instancecheck__":
            return {"value": isinstance(arguments[0], target)}
        method = getattr(type(target), name, None)
        if method is None:
            raise TypeError(f"a {type(target).__name__} has no {name}")
        return {"value": self._encoded(method(target, *arguments))}

    def _encoded(self, value: Any) -> Any:
        try:
            return encode(value, self._refer)
        except RecursionError:
            return self._refer(value)

    def _decoded(self, data: Any) -> Any:
        return decode(data, self._resolve)

    def _refer(self, value: Any) -> dict[str, Any]:
        if value is NotImplemented:
            return {"special": "NotImplemented"}
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)  # kept, so that its id stays its own
        return {"object": self._numbers[id(value)]}

    def _resolve(self, data: dict[str, Any]) -> Any:
        if "callback" in data:
            return self._callback(data["callback"])
        return self._objects[data["object"]]

    def _callback(self, number: int) -> Callable[..., Any]:
        """Return a function of the tests; calling it asks the tests, which may ask the program meanwhile."""

        def function(*arguments: Any) -> Any:
            self.channel.send({"callback": number, "arguments": [self._encoded(value) for value in arguments]})
            while "do" in (message := self.channel.receive()):
                self.answer(message)
            if "raised" in message:
                raise RuntimeError(message["raised"])
            return self._decoded(message["value"])

        return function


def _first_that_compiles(texts: list[str]) -> str:
    errors: list[Exception] = []
    for text in texts:
        try:
            compile(text, NAME, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            errors.append(error)
        else:
            return text
    raise errors[0]


def raised(error: BaseException) -> dict[str, Any]:
    """Return an exception as {names: of its classes, text, line: of the program that it came from or None}."""
    try:
        text = str(error)[:MAX_NOTE]
    except BaseException:
        text = ""
    line = error.lineno if isinstance(error, SyntaxError) else None
    for frame, number in _frames(error):
        if frame == NAME:
            line = number
    return {"names": [base.__name__ for base in type(error).__mro__], "text": text, "line": line}


def _frames(error: BaseException) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    trace = error.__traceback__
    while trace is not None and len(found) < 2000:
        found.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    return found
