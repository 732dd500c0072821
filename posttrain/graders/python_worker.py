"""The process in which a trusted grader file runs. Started by path; the only argument is JSON: see `main`.

On standard input, one request at a time: {"completion", "problem"}. On standard output: {"ready": true} or {"refused":
[message, where, fix]}, then {"grade": the fields of a Grade but its parts} for each request. To the grader its standard
input is empty, and what it prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

_POLL_SECONDS = 1.0
_FIELDS = 5  # all of a Grade but its parts


def main() -> None:
    """Answer requests until standard input ends. The argument is {"import_path", "file", "function",
    "pass_threshold"}."""
    settings = json.loads(sys.argv[1])
    sys.path[:] = settings["import_path"]
    requests, replies = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    # An endless loop in the grader would outlive a run that was killed.
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    from posttrain.errors import UserError
    from posttrain.graders.python import load_function, trusted

    path = Path(settings["file"])
    try:
        function = load_function(path, settings["function"])
    except UserError as error:
        _send(replies, {"refused": [error.message, error.where, error.fix]})
        return
    grade = trusted(function, path, settings["pass_threshold"])
    _send(replies, {"ready": True})
    with open(requests, "rb") as lines:
        for line in lines:
            request = json.loads(line)
            _send(replies, {"grade": grade(request["completion"], request["problem"])[:_FIELDS]})


def _end_with(parent: int) -> NoReturn:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os._exit(1)


def _send(replies: int, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(replies, data) :]


if __name__ == "__main__":
    main()
