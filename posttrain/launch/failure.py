"""A rank's error on its way to the process that started it: one small JSON file in the run's logs."""

from __future__ import annotations

import json
import signal
import socket
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from posttrain.errors import EXIT_CRASH, GateError, OutOfMemory, Stopped, UserError
from posttrain.launch.plan import LOGS, Process
from posttrain.masking import masked

_TAIL_LINES = 12
_ERROR_FILES = "rank-*.error.json"
_SIGNAL_CODES = 128  # and above: 128 + the signal


class RankFailed(UserError):
    """A rank crashed or was killed; its own error is the message. Exit code 1."""

    exit_code = EXIT_CRASH


def exit_code_of(error: BaseException) -> int:
    """Return the exit code that says this error: its own, or 1 for a crash."""
    return error.exit_code if isinstance(error, UserError | Stopped) else EXIT_CRASH


def failure_document(rank: int, error: BaseException) -> dict[str, Any]:
    """Return what there is to say of `error` to another process; `as_error` makes an error of it again."""
    return {
        "rank": rank,
        "host": socket.gethostname(),
        "time": time.time(),
        "code": exit_code_of(error),
        "out_of_memory": isinstance(error, OutOfMemory),
        "message": masked(getattr(error, "message", str(error))),
        "where": getattr(error, "where", None),
        "fix": masked(getattr(error, "fix", None) or "") or None,
        "traceback": None if isinstance(error, RankFailed) else masked("".join(traceback.format_exception(error))),
    }


def write_failure(run: Path, rank: int, error: BaseException) -> None:
    """Leave `error` where the process that started this rank finds it."""
    logs = run / LOGS
    logs.mkdir(parents=True, exist_ok=True)
    aside = logs / f"rank-{rank}.error.partial"
    aside.write_text(json.dumps(failure_document(rank, error)), encoding="utf-8")
    aside.replace(logs / f"rank-{rank}.error.json")


def clear_failures(run: Path) -> None:
    """Take away what the ranks of an earlier start left."""
    for path in (run / LOGS).glob(_ERROR_FILES):
        path.unlink()


def error_of(run: Path, failed: Sequence[tuple[Process, int]], *, kernel_kills: int = 0) -> UserError | Stopped:
    """Return the error that ended the run, given the processes that failed with their exit codes, and how many
    processes the kernel has killed for lack of memory meanwhile.

    When one rank goes, the others' collectives fail too. So a killed rank is the cause before any exception,
    and among exceptions the earliest; an abort comes last, since it is how NCCL ends the others.
    """
    killed = [item for item in failed if item[1] < 0 and -item[1] != signal.SIGABRT]
    if killed:
        return _killed(*killed[0], kernel_kills=kernel_kills)
    left = [json.loads(path.read_text(encoding="utf-8")) for path in (run / LOGS).glob(_ERROR_FILES)]
    if left:
        return as_error(min(left, key=lambda document: document["time"]))
    process, code = failed[0]
    return _killed(process, code) if code < 0 else _unexplained(process, code)


def as_error(document: dict[str, Any]) -> UserError | Stopped:
    """Return the error of another rank: a UserError or a stop as it was, a crash with the end of its traceback."""
    code, trace = document["code"], document.get("traceback")
    if code > _SIGNAL_CODES:
        return Stopped(code - _SIGNAL_CODES)
    if code == EXIT_CRASH and trace:
        place = "" if document["host"] == socket.gethostname() else f" ({document['host']})"
        return RankFailed(f"rank {document['rank']}{place} crashed\n{_tail(trace)}")
    kind = {EXIT_CRASH: RankFailed, GateError.exit_code: GateError}.get(code, UserError)
    kind = OutOfMemory if document.get("out_of_memory") else kind
    return kind(document["message"], where=document["where"], fix=document["fix"])


def _killed(process: Process, code: int, *, kernel_kills: int = 0) -> UserError:
    name = signal.Signals(-code).name
    if name != "SIGKILL":
        return RankFailed(f"{process.name} was killed by {name}")
    if kernel_kills:
        return OutOfMemory(
            f"the kernel has killed {process.name}, since memory ran out",
            where="train.per_device_train_batch_size",
            fix="lower it, and raise train.gradient_accumulation_steps as much; --set launch.on_out_of_memory=smaller "
            "has that done by itself, from the last checkpoint on; `posttrain memory RECIPE` says what a run takes",
        )
    fix = "out of memory? `dmesg` says so; if it is, lower train.per_device_train_batch_size"
    return RankFailed(f"{process.name} was killed by {name}", fix=fix)


def _unexplained(process: Process, code: int) -> RankFailed:
    """Return the error of a process that left none, with the end of its log."""
    text = process.log.read_text(encoding="utf-8", errors="replace") if process.log else "its output is above"
    return RankFailed(f"{process.name} ended with exit code {code}\n{_tail(text)}")


def _tail(text: str) -> str:
    return "\n".join(text.rstrip().splitlines()[-_TAIL_LINES:])
