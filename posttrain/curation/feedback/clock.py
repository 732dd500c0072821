"""Times as logs have them: seconds or milliseconds since 1970, and ISO 8601 with its variations."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import Any

_MILLISECONDS_FROM = 1e11  # in seconds that is the year 5138, in milliseconds 1973
_MICROSECONDS_FROM = 1e14
_LATEST = 2e11


def seconds_of(value: Any) -> float:
    """Seconds since 1970 in UTC, which times without a zone are taken to be in; NaN for what is no time."""
    if isinstance(value, bool) or value is None:
        return math.nan
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp()
    try:
        number = float(value)
    except (TypeError, ValueError):
        return _of_text(value)
    for bound, per_second in ((_MICROSECONDS_FROM, 1e6), (_MILLISECONDS_FROM, 1e3)):
        if number >= bound:
            number /= per_second
            break
    return number if 0 <= number < _LATEST else math.nan


def as_iso(seconds: float) -> str | None:
    """``2026-01-31T12:00:00+00:00``; None for NaN."""
    return None if math.isnan(seconds) else datetime.fromtimestamp(seconds, timezone.utc).isoformat()


def _of_text(value: Any) -> float:
    if not isinstance(value, str):
        return math.nan
    text = value.strip().replace(" UTC", "+00:00")
    text = text[:-1] + "+00:00" if text[-1:] in ("Z", "z") else text
    head, dot, rest = text.partition(".")
    if dot:  # Python 3.10 reads three or six digits of a second only
        digits = len(rest) - len(rest.lstrip("0123456789"))
        text = f"{head}.{rest[:digits][:6]:0<6}{rest[digits:]}"
    try:
        return seconds_of(datetime.fromisoformat(text))
    except ValueError:
        return math.nan
