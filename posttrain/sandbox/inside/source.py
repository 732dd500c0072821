"""Role `source`: a grader that is not trusted, asked for one grade.

Descriptors: 3 the job {"text", "file", "function", "arguments"}, 4 the result: {"value"} or {"raised",
"line"}. Without arguments (null) the text is run and the function not called.
"""

from __future__ import annotations

import json
import math
import numbers
import sys
import types
from typing import Any

from .texts import read_all, write_all

MAX_NOTE = 500


def main() -> None:
    """Run the grader's text, call its function, write what it returned."""
    job = json.loads(read_all(3))
    try:
        result = {"value": _plain(_called(job))}
    except BaseException as error:
        result = {"raised": f"{type(error).__name__}: {error}"[:MAX_NOTE], "line": _line(error, job["file"])}
    write_all(4, json.dumps(result).encode())


def _called(job: dict[str, Any]) -> Any:
    module = types.ModuleType("grader")
    module.__file__ = job["file"]
    sys.modules["grader"] = module
    exec(compile(job["text"], job["file"], "exec", dont_inherit=True), vars(module))
    function = vars(module).get(job["function"])
    if not callable(function):
        raise NameError(f"no function '{job['function']}'")
    return None if job["arguments"] is None else function(*job["arguments"])


def _plain(value: Any) -> Any:
    """Return a result as JSON has it: a dictionary as {"fields"}, what is no finite number or text as {"shown"}."""
    if isinstance(value, dict):
        return {"fields": [[str(name), _plain(item)] for name, item in list(value.items())[:10]]}
    value = value.item() if hasattr(value, "item") else value
    if value is None or type(value) in (bool, str):
        return value
    if isinstance(value, numbers.Real) and math.isfinite(value):
        return float(value)
    return {"shown": repr(value)[:MAX_NOTE]}


def _line(error: BaseException, file: str) -> int | None:
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno
    line, trace = None, error.__traceback__
    while trace is not None:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == file else line
        trace = trace.tb_next
    return line
