"""One verdict: up, down, or why it is neither. Nothing is guessed: a scale counts only as the user says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from posttrain.curation.feedback.names import SCALES, filled
from posttrain.data.formats.feedback import read_label
from posttrain.errors import UserError

NO_VERDICT = "no verdict"
IN_BETWEEN = "a score between --down-at and --up-at"
NEITHER = "a verdict that is neither up nor down"

_NONE = ("none", "null", "nan", "n/a", "na", "neutral", "no_feedback", "unrated", "skip", "skipped", "-")
_EXAMPLES = 5


@dataclass
class Scale:
    """How verdicts are read: scores from `up_at` are up and to `down_at` down; None: there are only thumbs.

    `words` are some of those that say neither; `numbers` the thumbs that were numbers, to find a 0 beside a -1.
    """

    up_at: float | None = None
    down_at: float | None = None
    words: list[str] = field(default_factory=list)
    numbers: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        if (self.up_at is None) != (self.down_at is None):
            raise UserError("a scale has two ends", where="--up-at", fix="Give both --up-at and --down-at.")
        if self.up_at is not None and self.down_at is not None and self.up_at <= self.down_at:
            raise UserError(f"{self.up_at:g} is not above --down-at {self.down_at:g}", where="--up-at")


def read_verdict(value: Any, name: str, place: str, scale: Scale) -> bool | str:
    """Whether the verdict in the column `name` is up; or the reason to leave it out.

    Raises UserError at `place` for a number that is no thumb where no scale was given, and for a 0 beside a -1.
    """
    if not filled(value):
        return NO_VERDICT
    if isinstance(value, bool):
        return value
    stars = _stars(value)
    number, name = (_number(value), name) if stars is None else (stars, "stars")
    if number is not None and scale.up_at is not None and scale.down_at is not None:
        return True if number >= scale.up_at else False if number <= scale.down_at else IN_BETWEEN
    if number is not None:
        return _thumb(number, name, place, scale)
    if not isinstance(value, str):
        return NEITHER
    word = value.strip().casefold()
    if word.replace(" ", "_") in _NONE:
        return NO_VERDICT
    try:
        return read_label(value, place)
    except UserError:
        if word[:30] not in scale.words and len(scale.words) < _EXAMPLES:
            scale.words.append(word[:30])
        return NEITHER


def _thumb(number: float, name: str, place: str, scale: Scale) -> bool:
    if number not in (1, 0, -1) or name in SCALES:
        raise UserError(
            f"{number:g} under {name!r} is a score, not a thumb",
            where=place,
            fix="Say what counts, e.g. `--up-at 4 --down-at 2`; scores in between are left out.",
        )
    scale.numbers.add(int(number))
    if {-1, 0} <= scale.numbers:
        raise UserError(
            "verdicts are -1, but also 0: that may mean down, or nothing",
            where=place,
            fix="`--up-at 1 --down-at -1` leaves 0 out, `--up-at 1 --down-at 0` counts it as down.",
        )
    return number == 1


def _number(value: Any) -> float | None:
    """The number that a value is, also as text, or None."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _stars(value: Any) -> float | None:
    """★★★☆☆ is 3; None for what are no stars."""
    signs = value.strip().replace("\ufe0f", "") if isinstance(value, str) else ""
    if not signs or set(signs) - set("★☆⭐"):
        return None
    return float(len(signs) - signs.count("☆"))
