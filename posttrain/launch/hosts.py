"""Lists of machines: DeepSpeed hostfiles and SLURM's compressed node lists."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from posttrain.errors import UserError

_HOST_LINE = re.compile(r"(\S+)\s+slots=(\d+)")
_NODE_NAME = re.compile(r"(?:[^\[\],]|\[[^\[\]]*\])+")
_NAME_PART = re.compile(r"\[([^\]]*)\]|([^\[]+)")
_NUMBERS = re.compile(r"(\d+)(?:-(\d+))?")
_TASK_COUNT = re.compile(r"(\d+)(?:\(x(\d+)\))?")


def read_hostfile(path: str, *, where: str = "launch.hostfile") -> dict[str, int]:
    """Return the slots of each host of a DeepSpeed hostfile, in the file's order.

    A line is ``host slots=N``; ``#`` begins a comment. Raises UserError with the line, or with `where` when
    the file cannot be read.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UserError(f"cannot read the hostfile {path}: {reason}", where=where) from None
    hosts: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if text:
            host, slots = _host_line(text, f"{path}:{number}")
            if host in hosts:
                raise UserError(f"{host} is listed twice", where=f"{path}:{number}", fix="give each host one line")
            hosts[host] = slots
    if not hosts:
        raise UserError(f"the hostfile {path} lists no host", where=where, fix="add lines like `host-1 slots=8`")
    return hosts


def _host_line(text: str, place: str) -> tuple[str, int]:
    match = _HOST_LINE.fullmatch(text)
    if match is None:
        raise UserError(f"{text!r} is not a host", where=place, fix="write `host-1 slots=8`, one host a line")
    if int(match[2]) == 0:
        raise UserError(f"{match[1]} has no slots", where=place, fix="give it at least one, or leave it out")
    return match[1], int(match[2])


def expand_nodelist(text: str) -> list[str]:
    """Return the host names in a SLURM node list: ``n[01-02],gpu`` is n01, n02, gpu.

    Raises UserError when it is none.
    """
    names = _NODE_NAME.findall(text)
    if not names or ",".join(names) != text:
        raise UserError(f"cannot read SLURM's node list {text!r}", where="SLURM_NODELIST")
    return [host for name in names for host in _expand_name(name)]


def _expand_name(name: str) -> list[str]:
    parts = [_expand_numbers(bracket) if bracket else [plain] for bracket, plain in _NAME_PART.findall(name)]
    return ["".join(choice) for choice in itertools.product(*parts)]


def _expand_numbers(text: str) -> list[str]:
    """Return each number of ``01-03,7``, with the zeros that pad it."""
    numbers = []
    for part in text.split(","):
        match = _NUMBERS.fullmatch(part)
        if match is None:
            raise UserError(f"cannot read [{text}] in SLURM's node list", where="SLURM_NODELIST")
        first, last = match[1], match[2] or match[1]
        numbers += [f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)]
    return numbers


def tasks_on_node(text: str, node: int) -> int:
    """Return how many tasks SLURM runs on the node with this index; `text` is like ``2(x3),1``."""
    counts: list[int] = []
    for part in text.split(","):
        match = _TASK_COUNT.fullmatch(part)
        if match is None:
            raise UserError(f"cannot read the task counts {text!r}", where="SLURM_TASKS_PER_NODE")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts[node] if node < len(counts) else 1
