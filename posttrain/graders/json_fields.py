"""Two JSON objects held against each other, field by field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from posttrain.graders.grade import BadProblem, Part, shortened
from posttrain.graders.number import gold_number

Compare = Literal["equals", "ignore_case", "number", "set"]
ABSENT = object()


class FieldSettings(BaseModel):
    """How one field is compared, and what it is worth."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    compare: Compare = Field(
        "equals",
        description="equals: the same JSON value. ignore_case: the same text, but for upper and lower case and white "
        "space. number: the same number, as a number or as text. set: lists with the same elements in any order.",
    )
    tolerance: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="With number, the largest difference that still counts as equal."
    )
    weight: float = Field(1.0, gt=0, allow_inf_nan=False, description="Weight of the field in the score.")

    @model_validator(mode="after")
    def _tolerance_is_for_numbers(self) -> FieldSettings:
        if self.tolerance and self.compare != "number":
            raise ValueError(f"tolerance goes with `compare: number`, not with {self.compare}")
        return self


def compare_field(path: str, settings: FieldSettings, found: Any, gold: Any) -> Part:
    """Return the verdict on one field; what both leave out is right.

    Raises BadProblem where the gold value cannot be compared in this way.
    """
    if found is ABSENT or gold is ABSENT:
        passed = found is gold
        return _part(path, passed, "missing" if found is ABSENT else "not in the answer")
    passed = _COMPARED[settings.compare](path, settings, found, gold)
    return _part(path, passed, f"{_shown(found)}, expected {_shown(gold)}")


def value_at(value: Any, path: str) -> Any:
    """Return what stands at a dotted path, in which a number counts into a list; ABSENT where nothing does."""
    for key in path.split("."):
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return ABSENT
    return value


def same(a: Any, b: Any) -> bool:
    """Return whether two JSON values are the same: 1 is 1.0, and true is not 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in b)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def _ignore_case(path: str, settings: FieldSettings, found: Any, gold: Any) -> bool:
    if not isinstance(gold, str):
        raise BadProblem(f"the answer's {path} is no text, and is to be compared by ignore_case: {_shown(gold)}")
    return isinstance(found, str) and _folded(found) == _folded(gold)


def _number(path: str, settings: FieldSettings, found: Any, gold: Any) -> bool:
    expected, number = _as_number(gold), _as_number(found)
    if expected is None:
        raise BadProblem(f"the answer's {path} is no number: {_shown(gold)}")
    return number is not None and abs(number - expected) <= Fraction(str(settings.tolerance))


def _set(path: str, settings: FieldSettings, found: Any, gold: Any) -> bool:
    if not isinstance(gold, list):
        raise BadProblem(f"the answer's {path} is no list, and is to be compared as a set: {_shown(gold)}")
    return isinstance(found, list) and _within(found, gold) and _within(gold, found)


_COMPARED: dict[str, Callable[[str, FieldSettings, Any, Any], bool]] = {
    "equals": lambda path, settings, found, gold: same(found, gold),
    "ignore_case": _ignore_case,
    "number": _number,
    "set": _set,
}


def _as_number(value: Any) -> Fraction | None:
    if not isinstance(value, int | float | str):
        return None
    try:
        return gold_number(value)
    except BadProblem:
        return None


def _within(these: list[Any], those: list[Any]) -> bool:
    return all(any(same(this, that) for that in those) for this in these)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _part(path: str, passed: bool, note: str) -> Part:
    return Part(path, float(passed), passed, "" if passed else note)


def _shown(value: Any) -> str:
    return shortened(repr(value), 40)
