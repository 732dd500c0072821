"""Up, down, or neither; and what is never guessed."""

from __future__ import annotations

from typing import Any

import pytest

from posttrain.curation.feedback.clock import as_iso, seconds_of
from posttrain.curation.feedback.verdict import IN_BETWEEN, NEITHER, NO_VERDICT, Scale, read_verdict
from posttrain.errors import UserError


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (True, True),
        (False, False),
        (1, True),
        ("1.0", True),
        (-1, False),
        ("👍🏽", True),
        ("Thumbs down", False),
        ("like", True),
        ("", NO_VERDICT),
        (None, NO_VERDICT),
        (float("nan"), NO_VERDICT),
        ("Neutral", NO_VERDICT),
        ("so so", NEITHER),
        ({"a": 1}, NEITHER),
    ],
)
def test_thumbs(value: Any, verdict: bool | str) -> None:
    assert read_verdict(value, "thumb", "log.csv:2", Scale()) == verdict


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(5, True), ("4", True), (3, IN_BETWEEN), (2.0, False), (1, False), ("★★★★☆", True), ("★", False), ("up", True)],
)
def test_scores_count_as_the_user_says(value: Any, verdict: bool | str) -> None:
    assert read_verdict(value, "stars", "log.csv:2", Scale(4, 2)) == verdict


@pytest.mark.parametrize(("value", "name"), [(5, "rating"), (0.5, "rating"), (1, "stars"), ("★", "rating")])
def test_scores_are_not_guessed(value: Any, name: str) -> None:
    with pytest.raises(UserError, match="is a score, not a thumb"):
        read_verdict(value, name, "log.csv:2", Scale())


def test_a_zero_beside_a_minus_one_is_not_guessed() -> None:
    scale = Scale()
    assert read_verdict(0, "rating", "", scale) is False
    with pytest.raises(UserError, match="may mean down, or nothing"):
        read_verdict(-1, "rating", "", scale)
    assert read_verdict(0, "rating", "", Scale(1, -1)) == IN_BETWEEN


def test_a_scale_has_two_ends_in_order() -> None:
    with pytest.raises(UserError, match="both --up-at and --down-at"):
        Scale(up_at=4)
    with pytest.raises(UserError, match="not above"):
        Scale(2, 4)


@pytest.mark.parametrize(
    "value",
    [
        1767268800,
        "1767268800",
        1767268800000,
        1767268800000000,
        "2026-01-01T12:00:00Z",
        "2026-01-01T12:00:00.000Z",
        "2026-01-01 12:00:00.0000000",
        "2026-01-01T13:00:00+01:00",
        "2026-01-01 12:00:00 UTC",
    ],
)
def test_times(value: Any) -> None:
    assert as_iso(seconds_of(value)) == "2026-01-01T12:00:00+00:00"


@pytest.mark.parametrize("value", ["yesterday", None, True, -5, "", [], 1e300, float("nan"), float("inf")])
def test_what_is_no_time(value: Any) -> None:
    assert as_iso(seconds_of(value)) is None
