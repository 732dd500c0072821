"""Which isolation this machine allows, found out by trying to get out of it."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from posttrain.errors import UserError
from posttrain.sandbox.jobs import run_probe
from posttrain.sandbox.zygote import ENVIRONMENT, Configuration, Isolation, SandboxError, Zygote

Mode = Literal["require", "auto"]

ISOLATIONS: tuple[Isolation, ...] = ("namespaces", "landlock")
"""The real ones, best first; "limits" isolates nothing."""


class Level(NamedTuple):
    """What was reached: the isolation, and its layers in words, as "namespaces + Landlock + seccomp"."""

    isolation: Isolation
    words: str
    missing: str = ""
    """Why no more was reached."""


@lru_cache(maxsize=1)
def level() -> Level:
    """Return the best isolation that holds on this machine; the answer is kept for this process.

    Raises UserError where nothing can be run at all.
    """
    reasons = []
    for isolation in ISOLATIONS:
        found = probed(isolation)
        if not found.missing:
            return found
        reasons.append(f"{isolation}: {found.missing}")
    limits = probed("limits")
    if not limits.words:
        raise UserError(f"the sandbox cannot run here ({limits.missing})", fix="it needs Linux")
    return limits._replace(missing="; ".join(reasons))


def probed(isolation: Isolation) -> Level:
    """Return the level that this isolation reaches, `missing` saying where it does not hold."""
    if not hasattr(os, "memfd_create"):
        return Level(isolation, "", f"{sys.platform} has no files in memory")
    try:
        zygote = Zygote(Configuration(isolation))
    except SandboxError as error:
        return Level(isolation, "", str(error))
    try:
        found = _ways_out(zygote)
    except SandboxError as error:
        return Level(isolation, "", str(error))
    finally:
        zygote.end()
    return Level(isolation, zygote.layers, f"a process could {', '.join(found)}" if found else "")


def required(mode: Mode) -> Level:
    """Return the level reached; raises UserError when `mode` requires isolation and there is none.

    Where `mode` does not, that is said once on standard error.
    """
    found = level()
    if mode == "require" and found.isolation == "limits":
        raise UserError(
            f"programs cannot be isolated on this machine ({found.missing})",
            fix="allow user namespaces or Landlock with seccomp (docs/sandbox.md), or write `sandbox: auto` to run "
            "them with limits alone, where the machine itself can be thrown away",
        )
    if found.isolation == "limits":
        _warn(found)
    return found


@lru_cache(maxsize=1)
def _warn(found: Level) -> None:
    print(f"warning: programs run with {found.words} ({found.missing})", file=sys.stderr)


def _ways_out(zygote: Zygote) -> list[str]:
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
        os.chmod(folder, 0o755)
        secret = Path(folder, "secret")
        secret.write_text("secret")
        job = {
            "file": str(secret),
            "folder": folder,
            "port": server.getsockname()[1],
            "process": os.getpid(),
            "environment": ENVIRONMENT,
        }
        return run_probe(zygote, job)
