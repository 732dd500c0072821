"""How often the model is right already: from what `posttrain signal` and `posttrain eval` have left behind."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.errors import UserError

HARDLY_ANYTHING_LEFT = 0.95
"""Above this pass rate there is little to win, and nearly every group of completions has equal rewards."""


@dataclass(frozen=True)
class Measured:
    """A pass rate (the share of completions that passed) on `problems`; `ever` is the share of problems that were
    solved at least once in `samples` attempts, `teaching` how many have rewards that differ (`signal` alone counts
    them), `label` the model, or the model and the prompt, that it is of."""

    source: str
    label: str
    rate: float
    problems: int
    samples: int
    ever: float
    teaching: int | None = None

    @property
    def hopeless(self) -> bool:
        """Whether nothing was ever solved, and no group of attempts has rewards that differ."""
        return self.ever == 0 and not self.teaching

    @property
    def solved(self) -> bool:
        """Whether there is hardly anything left to win."""
        return self.rate > HARDLY_ANYTHING_LEFT


def read_signal(out: Path) -> Measured:
    """What ``OUT/signal.json`` says. Raises UserError where it is not there or is something else."""
    read = _read(out / "signal.json", "--signal", "posttrain signal rlvr.yaml writes it")
    try:
        ever = (read["problems"] - read["never"]) / read["problems"]
        return Measured(
            str(out), "", read["mean_pass"], read["problems"], read["samples"], ever, teaching=read["teaching"]
        )
    except (KeyError, TypeError, ZeroDivisionError):
        raise UserError("is not what `posttrain signal` writes", where=str(out / "signal.json")) from None


def read_eval(out: Path) -> list[Measured]:
    """Every line that an eval kept in its out directory, the best first. Raises UserError where there is none."""
    found = []
    for path in sorted(out.glob("*.json")) if out.is_dir() else []:
        read = _read(path, "--eval", "")
        if not isinstance(read, dict) or not isinstance(read.get("pass@1"), int | float) or not read.get("problems"):
            continue
        most = max(int(key.removeprefix("pass@")) for key in read if key.removeprefix("pass@").isdigit())
        found.append(
            Measured(
                str(out),
                str(read.get("label", path.stem)),
                read["pass@1"],
                read["problems"],
                most,
                read[f"pass@{most}"],
            )
        )
    if not found:
        fix = "posttrain eval writes them into the recipe's `out`, or --out"
        raise UserError("no figures of an eval there", where=f"--eval {out}", fix=fix)
    return sorted(found, key=lambda line: line.rate, reverse=True)


def _read(path: Path, option: str, fix: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is not there", where=option, fix=fix or None) from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read: {error}", where=str(path)) from None
