"""Role `script`: a program as its own file would run, with standard input, output and error.

Descriptors: 0, 1, 2, and 3 with the program's text.
"""

from __future__ import annotations

import atexit
import builtins
import linecache
import sys
import traceback
import types
from typing import TextIO, cast

from .texts import read_all

NAME = "program.py"


def main() -> None:
    """Run the program; raises SystemExit with its status, 1 after an exception."""
    text = read_all(3)
    sys.stdin = _stream(0, "r", "surrogateescape")
    sys.stdout, sys.stderr = (_stream(number, "w", "backslashreplace") for number in (1, 2))
    sys.argv = [NAME]
    status = 0
    try:
        run_module(text, "__main__")
        atexit._run_exitfuncs()  # where fast output is often written
    except SystemExit as error:
        atexit._run_exitfuncs()
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc(limit=-1)
        status = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            status = status or 1
    raise SystemExit(status)


def _stream(descriptor: int, mode: str, errors: str) -> TextIO:
    return cast(TextIO, open(descriptor, mode, encoding="utf-8", errors=errors, closefd=False))


def run_module(text: str, name: str) -> types.ModuleType:
    """Run a program's text as a module of that name and return the module."""
    # `site` would have set these; programs end by them.
    builtins.exit = builtins.quit = sys.exit  # type: ignore[assignment]
    module = types.ModuleType(name)
    sys.modules[name] = module  # dataclasses look their module up there
    linecache.cache[NAME] = (len(text), None, text.splitlines(keepends=True), NAME)
    exec(compile(text, NAME, "exec", dont_inherit=True), vars(module))
    return module
