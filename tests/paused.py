"""The command line with one of its functions held up, so that a test knows where the process is when it sends a signal.

``python tests/paused.py MODULE:FUNCTION CALL FOLDER ARGUMENTS…``: at the CALL-th call of the function, FOLDER/there is
made, and the function goes on once FOLDER/go is there. All else is the program itself.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import sys
import time
from pathlib import Path

from posttrain import stopping


def hold_up(name: str, call: int, folder: Path) -> None:
    module_name, _, path = name.partition(":")
    *outer, last = path.split(".")
    owner = functools.reduce(getattr, outer, importlib.import_module(module_name))
    own, calls = getattr(owner, last), itertools.count(1)

    @functools.wraps(own)
    def held_up(*args, **kwargs):
        if next(calls) == call:
            (folder / "there").touch()
            deadline = time.monotonic() + 300
            while not (folder / "go").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
        return own(*args, **kwargs)

    setattr(owner, last, held_up)


if __name__ == "__main__":
    name, call, folder, *arguments = sys.argv[1:]
    sys.argv = ["posttrain", *arguments]
    stopping.listen()
    hold_up(name, int(call), Path(folder))
    importlib.import_module("posttrain.cli").main()
