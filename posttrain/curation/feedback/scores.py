"""The verdicts of a log row, wherever it keeps them: a column, a list of scores, an export of feedback.

The shapes were checked against these sources:

- Langfuse: the fields of scores in its blob-storage export reference (name, value, string_value, data_type, source,
  trace_id, observation_id); in the files of its interface each score's name is a column of lists
  (worker/src/features/database-read-stream of its repository).
- LangSmith: `FeedbackBase` in python/langsmith/schemas.py of its SDK (run_id, key, score, value, feedback_source), and
  `FeedbackStats` in its API reference (n, avg, values).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from posttrain.curation.feedback.names import NAMES, as_text, fields_of, filled, first, plain
from posttrain.data.formats.feedback import read_label
from posttrain.errors import UserError

_SCORES = ("scores", "feedback", "feedbacks", "ratings", "feedbackstats")
_OF_A_MODEL = ("eval", "model", "evaluator", "autoeval")
_NAMED_BY = ("key", "name")


@dataclass(frozen=True)
class Wanted:
    """Which verdicts count: those in the column `label` is mapped to, or the score called `score`; else users' own.

    `columns` are the user's (ours: theirs). `unused` counts scores of other names, which are no thumbs of users.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    score: str | None = None
    unused: Counter[str] = field(default_factory=Counter)

    def takes(self, name: str, source: str | None) -> bool:
        """Whether a score of this name and source is a user's verdict; counts it if it is not."""
        if self.score is not None:
            return plain(name) == plain(self.score)
        if plain(name) in NAMES["label"] and plain(source or "") not in _OF_A_MODEL:
            return True
        self.unused[name] += 1
        return False


@dataclass(frozen=True, slots=True)
class Given:
    """A verdict as the log has it: its value, the column or the score's name, and who gave it when, where it says."""

    value: Any
    name: str
    user: str | None = None
    time: Any = None


def verdicts_in(fields: Mapping[str, Any], wanted: Wanted, place: str) -> list[Given]:
    """The verdicts in the fields of one answer. Raises UserError where several columns could be the verdict."""
    found: list[Given] = []
    taken: set[str] = set()
    for column in _SCORES:
        scores = parsed(fields.get(column))
        if isinstance(scores, list) and scores and all(isinstance(score, Mapping) for score in scores):
            found += [given for score in scores for given in _score(score, wanted)]
            taken.add(column)
        elif isinstance(scores, Mapping):
            found += _mapping(scores, wanted)
            taken.add(column)
    if found:
        return found
    if wanted.score is not None:
        values = _listed(parsed(fields.get(plain(wanted.score))))
        return [Given(value, wanted.score) for value in values]
    columns = [(name, parsed(fields[name])) for name in NAMES["label"] if name in fields and name not in taken]
    sure = [(name, value) for name, value in columns if _reads(value)] or columns[:1]
    if len({json.dumps(value, default=str) for _, value in sure}) > 1:
        names = ", ".join(name for name, _ in sure)
        raise UserError(
            f"several columns could be the verdict: {names}",
            where=place,
            fix=f"Name it, e.g. `--columns label={sure[0][0]}`.",
        )
    return [Given(value, name) for name, values in sure[:1] for value in _listed(values)]


def rating_of(fields: Mapping[str, Any], wanted: Wanted, place: str) -> list[Given]:
    """The verdict of a row that is a rating of an answer elsewhere: a score with its name, or a column."""
    named = any(name in fields for name in _NAMED_BY) and any(name in fields for name in ("score", "value"))
    if named and first(fields, "label") is None:
        return list(_score(fields, wanted))
    score = {"label": fields["score"]} if "score" in fields and first(fields, "label") is None else {}
    return verdicts_in({**fields, **score}, wanted, place)


def parsed(value: Any) -> Any:
    """JSON text of a list or an object as what it says (CSV keeps nested values so), anything else as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _score(score: Mapping[str, Any], wanted: Wanted) -> Iterator[Given]:
    """A score of Langfuse's, or a feedback of LangSmith's."""
    said = fields_of(score)
    name = as_text(said.get("key", said.get("name")))
    origin = parsed(said.get("feedbacksource"))
    source = origin.get("type") if isinstance(origin, Mapping) else said.get("source")
    if name is not None and not wanted.takes(name, as_text(source)):
        return
    if said.get("datatype") == "CATEGORICAL":
        value = said.get("stringvalue", said.get("value"))
    else:
        value = next((said[key] for key in ("score", "value", "stringvalue") if key in said), None)
    value = first(said, "label") if value is None else value
    by = origin.get("user_id") if isinstance(origin, Mapping) else first(said, "user")
    yield Given(value, name or "score", as_text(by), first(said, "time"))


def _mapping(scores: Mapping[str, Any], wanted: Wanted) -> Iterator[Given]:
    """``{"rating": "up", "comment": …}``, ``{name: value}``, ``{name: [values]}``, or LangSmith's statistics."""
    said = fields_of(scores)
    for name, value in scores.items():
        if isinstance(value, Mapping) and {"n", "avg"} & value.keys():
            if wanted.takes(name, None):
                yield from _statistics(name, value)
        elif plain(name) == plain(wanted.score or "") or (wanted.score is None and plain(name) in NAMES["label"]):
            by, time = as_text(first(said, "user")), first(said, "time")
            yield from (Given(each, name, by, time) for each in _listed(value))
        elif wanted.score is None and plain(name) in ("score", "value", "type") and first(said, "label") is None:
            yield Given(value, name, as_text(first(said, "user")), first(said, "time"))
            return


def _statistics(name: str, said: Mapping[str, Any]) -> Iterator[Given]:
    """The verdicts that LangSmith counted: each of `values`, or `avg` where it can only have come from one value."""
    values = said.get("values")
    if isinstance(values, Mapping) and values:
        yield from (Given(value, name) for value, count in values.items() if count)
    elif filled(said.get("avg")):
        alone = said.get("n") == 1 or said["avg"] in (0, 1, -1)
        yield Given(said["avg"] if alone else "an average", name)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _reads(value: Any) -> bool:
    """Whether this can be a verdict: a thumb or a number, and not a comment."""
    if isinstance(value, list):
        return bool(value) and all(_reads(item) for item in value)
    if isinstance(value, int | float):
        return True
    if not isinstance(value, str):
        return False
    try:
        float(value)
    except ValueError:
        try:
            read_label(value, "")
        except UserError:
            return bool(value.strip()) and not set(value.strip()) - set("★☆⭐\ufe0f")
    return True
