"""What logs call the same thing: the columns of a row by what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from posttrain.errors import UserError, did_you_mean

Fields = Mapping[str, Any]

# Compared without case and signs: userId, user_id and "User ID" are one. The first that a row has filled is taken.
NAMES: dict[str, tuple[str, ...]] = {
    "prompt": (
        "prompt",
        "question",
        "query",
        "usermessage",
        "userinput",
        "userprompt",
        "inputtext",
        "instruction",
        "input",
        "inputs",
        "request",
    ),
    "response": (
        "completion",
        "response",
        "answer",
        "reply",
        "assistantmessage",
        "assistantresponse",
        "modelresponse",
        "modeloutput",
        "generation",
        "outputtext",
        "output",
        "outputs",
    ),
    "conversation_turns": ("messages", "conversations", "turns", "chat"),
    "label": (
        "label",
        "thumb",
        "thumbs",
        "thumbsup",
        "vote",
        "verdict",
        "reaction",
        "liked",
        "like",
        "ispositive",
        "ishelpful",
        "helpful",
        "feedback",
        "userfeedback",
        "humanfeedback",
        "rating",
        "userrating",
        "userscore",
        "userthumb",
        "userthumbs",
        "stars",
        "starrating",
        "csat",
    ),
    "user": ("user", "userid", "username", "useremail", "enduser", "enduserid", "customer", "customerid", "uid"),
    "conversation": (
        "conversation",
        "conversationid",
        "sessionid",
        "session",
        "threadid",
        "thread",
        "chatid",
        "dialogid",
    ),
    "time": (
        "ratedat",
        "feedbacktime",
        "feedbackat",
        "votedat",
        "time",
        "timestamp",
        "datetime",
        "date",
        "createdat",
        "created",
        "starttime",
        "updatedat",
        "modifiedat",
    ),
    "id": (
        "completionid",
        "responseid",
        "messageid",
        "generationid",
        "observationid",
        "runid",
        "requestid",
        "traceid",
        "id",
    ),
}

OURS = tuple(name for name in NAMES if name != "conversation_turns")

# A number in a column of these names is never a thumb.
SCALES = ("stars", "starrating", "csat")


@lru_cache(4096)
def plain(name: str) -> str:
    """A column's name without case, spaces and signs."""
    return "".join(sign for sign in name.casefold() if sign.isalnum())


def filled(value: Any) -> bool:
    """Whether a column says anything: CSV has '' for what is missing, data frames NaN."""
    return value is not None and value == value and not (isinstance(value, str) and not value.strip())


def fields_of(*rows: Any) -> dict[str, Any]:
    """What the rows say, by plain name: of columns with one name the first that is filled counts."""
    found: dict[str, Any] = {}
    for row in rows:
        for name, value in row.items() if isinstance(row, Mapping) else ():
            if filled(value):
                found.setdefault(plain(str(name)), value)
    return found


def first(fields: Fields, kind: str) -> Any:
    """The first filled value of a kind (a key of `NAMES`), or None."""
    return next((fields[name] for name in NAMES[kind] if name in fields), None)


def all_of(fields: Fields, kind: str) -> Iterator[tuple[str, Any]]:
    """Yield ``(name, value)`` of each filled column of a kind."""
    return ((name, fields[name]) for name in NAMES[kind] if name in fields)


def as_text(value: Any) -> str | None:
    """An identifier as text; None where there is none, or something that is no identifier."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a spreadsheet's
    return str(value).strip() or None


def identifier(fields: Fields, kind: str) -> str | None:
    """The first value of a kind that identifies something, as text; None where there is none."""
    return next((text for _, value in all_of(fields, kind) if (text := as_text(value))), None)


def check_columns(columns: Mapping[str, str]) -> None:
    """Raise UserError for a column to map that is none of ours."""
    for name in columns:
        if name not in OURS:
            raise UserError(f"no column {name!r}.{did_you_mean(name, OURS)}", where="--columns", fix=", ".join(OURS))


def mapped(row: Mapping[str, Any], columns: Mapping[str, str], found: set[str]) -> dict[str, Any]:
    """The columns that the user has named (ours: theirs, ``metadata.thumb`` goes down), as far as `row` has them.

    What was there, filled or not, is added to `found`.
    """
    given = {}
    for ours, theirs in columns.items():
        value: Any = row
        for name in [theirs] if theirs in row else theirs.split("."):
            if not isinstance(value, Mapping) or name not in value:
                break
            value = value[name]
        else:
            found.add(theirs)
            given[ours] = value
    return given
