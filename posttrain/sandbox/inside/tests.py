"""Role `tests`: runs the tests of a program that is in another process, and judges what it answers.

Descriptors: 3 replies, 4 requests (`texts.Channel`), 5 the job, 6 the events. The job is {"programs": [text, …], of
which the first that compiles is meant, "helpers", "tests": [text, …], "entry_point"}. Events are lines: {"assert": n,
"passed", "note"} for each assert that is reached and again when it first fails, {"test": n, "note"} for a test that
raised outside its asserts, {"program": true, "note"} when the program cannot be tested at all, {"done": true} at last.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import json
import types
from typing import Any

from .asserts import FAILED, REPORT, reporting
from .remote import Module, Program
from .texts import Channel, Ended, read_all, write_all

MAX_NOTE = 200
AS_JSON = "__as_json__"


def main() -> None:
    """Run the job's tests."""
    job = json.loads(read_all(5))
    events = Events()
    trees = [ast.parse(text) for text in job["tests"]]
    needed = {node.id for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)}
    reporting(trees)
    try:
        program = Program(Channel(3, 4))
        namespace = _namespace(program, job, needed)
    except Ended as error:
        events.write({"program": True, "note": str(error)})
    except BaseException as error:
        events.write({"program": True, "note": _note(error)})
    else:
        namespace |= {REPORT: events.report, FAILED: events.failed, AS_JSON: as_json}
        _run(trees, namespace, events)
    events.write({"done": True})


def _run(trees: list[ast.Module], namespace: dict[str, Any], events: Events) -> None:
    for number, tree in enumerate(trees):
        try:
            exec(compile(tree, "tests.py", "exec", dont_inherit=True), namespace)
        except Ended as error:
            # Nothing can be asked any more: what has not been reached has failed.
            events.write({"test": number, "note": str(error)})
            return
        except BaseException as error:
            events.write({"test": number, "note": _note(error)})


def _namespace(program: Program, job: dict[str, Any], needed: set[str]) -> dict[str, Any]:
    """Run the program and return the names that its tests start with. Raises what the program raised."""
    module = types.ModuleType("tests")
    namespace = vars(module)
    exec(compile(job["helpers"], "prompt.py", "exec", dont_inherit=True), namespace)
    defined = program.run(job["programs"])
    entry_point = job["entry_point"]
    if entry_point:
        if entry_point not in defined:
            raise NameError(f"the program defines no '{entry_point}'")
        namespace |= {entry_point: defined[entry_point], "candidate": defined[entry_point]}
    asked = (needed & defined.keys()) - namespace.keys()
    # A program cannot replace the `len` that its tests use; but one of MBPP's tested functions is called `sum`.
    own = asked - vars(builtins).keys()
    tested = own if own or entry_point else asked
    return namespace | {name: _module(name, defined[name]) for name in tested}


def _module(name: str, defined: Any) -> Any:
    """Return what a name of the tests stands for: a module, here the real one, or what the program defines."""
    if not isinstance(defined, Module):
        return defined
    try:
        # The test's own word for it goes before what the program made of the name.
        return importlib.import_module(name if importlib.util.find_spec(name) else defined.name)
    except Exception:
        return None


class Events:
    """Writes down what happened, as it happens."""

    def __init__(self) -> None:
        self._passed: dict[int, bool] = {}

    def write(self, event: dict[str, Any]) -> None:
        """Write one event."""
        write_all(6, json.dumps(event).encode() + b"\n")

    def report(self, number: int, truth: Any, *sides: Any) -> None:
        """Take the value of an assert's test, and of an equation's two sides."""
        if truth:
            self._record(number, True, "")
        else:
            self._record(number, False, f"got {_shown(sides[0])}" if sides else "")

    def failed(self, number: int, error: Exception) -> None:
        """Take the exception that an assert's test raised."""
        self._record(number, False, _note(error))

    def _record(self, number: int, passed: bool, note: str) -> None:
        if self._passed.get(number) in (None, True) and self._passed.get(number) != passed:
            self._passed[number] = passed
            self.write({"assert": number, "passed": passed, "note": note})


def as_json(value: Any) -> Any:
    """Return a value with lists in the place of its tuples, as JSON would give it back."""
    if type(value) in (list, tuple):
        return [as_json(item) for item in value]
    return {key: as_json(item) for key, item in value.items()} if type(value) is dict else value


def _shown(value: Any) -> str:
    try:
        return repr(value)[:MAX_NOTE]
    except Exception:
        return "an object that cannot be shown"


def _note(error: BaseException) -> str:
    raised = getattr(error, "raised", None)
    if raised is None:
        return f"{type(error).__name__}: {error}"[:MAX_NOTE]
    where = f" (line {raised['line']} of the program)" if raised["line"] else ""
    return f"{raised['name']}: {raised['text']}"[:MAX_NOTE] + where
