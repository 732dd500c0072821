"""Before they start, the ranks make sure that they have the same to do, and one directory to do it in."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import posttrain
from posttrain.errors import UserError, brief, listed
from posttrain.launch.plan import LOGS
from posttrain.runs.directory import flat

SEEN_SECONDS = 30
"""How long a shared file system may take to show one machine what another wrote."""

_POLL_SECONDS = 0.2
_MOST_LINES = 20
_DIGITS = 12  # of a digest, in a message
_LIBRARIES = ("torch", "transformers", "tokenizers", "trl", "peft", "accelerate", "deepspeed", "datasets")


def about(recipe: Mapping[str, Any], *, rows: str, model: str) -> dict[str, str]:
    """Return what ranks must have in common: the resolved recipe, the digests of rows and model, the program."""
    return {
        **{key: brief(value) for key, value in flat(recipe)},
        "the rows": rows[:_DIGITS],
        "the model": model[:_DIGITS],
        "posttrain": f"{posttrain.__version__} with code {_code_digest()[:_DIGITS]}",
        "python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
    }


def agree(mine: Mapping[str, str]) -> None:
    """Raise the same UserError in every rank when what they are to do is not the same; it says where and what."""
    if lines := differences(_from_all(dict(mine))):
        raise UserError(
            "the ranks do not have the same to do:\n  " + "\n  ".join(lines),
            fix="give all of them one recipe, the same rows and model, and the same versions",
        )


def differences(told: Sequence[tuple[str, Mapping[str, str]]]) -> list[str]:
    """Return a line for each key that the ranks, by their names, do not say the same of."""
    lines = []
    for key in dict.fromkeys(key for _, said in told for key in said):
        who_says: dict[str, list[str]] = {}
        for who, said in told:
            who_says.setdefault(said.get(key, "nothing"), []).append(who)
        if len(who_says) > 1:
            lines.append(f"{key}: " + "; ".join(f"{value} on {listed(who)}" for value, who in who_says.items()))
    return lines if len(lines) <= _MOST_LINES else [*lines[:_MOST_LINES], f"and {len(lines) - _MOST_LINES} more"]


def check_shared(run: Path) -> None:
    """Raise UserError in every rank when a file that the first writes into `run` is not seen by all of them."""
    name = f"shared-{secrets.token_hex(8)}"
    if os.environ["RANK"] == "0":
        (run / LOGS).mkdir(parents=True, exist_ok=True)
        (run / LOGS / name).touch()
    told = _from_all(name)
    token = run / LOGS / told[0][1]
    seen = _from_all(_appears(token))
    if os.environ["RANK"] == "0":
        token.unlink()
    blind = [who for who, sees in seen if not sees]
    if blind:
        raise UserError(
            f"{run} is not one directory: what {told[0][0]} writes there is not seen by {listed(blind)}",
            where="out",
            fix="put the run directory on a file system that all machines share, under the same path",
        )


def _appears(path: Path) -> bool:
    deadline = time.monotonic() + SEEN_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _from_all(value: Any) -> list[tuple[str, Any]]:
    """Return (who, value) of every rank, in their order."""
    import torch.distributed as dist

    told: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(told, (f"rank {dist.get_rank()} ({socket.gethostname()})", value))
    return told


def _code_digest() -> str:
    """SHA-256 over the source files of this package: two copies may say the same version."""
    root = Path(posttrain.__file__).parent
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        total.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return total.hexdigest()
