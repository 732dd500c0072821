"""What the rows of a source are: which stages read them, how many, how long, and what is odd about them.

One pass over the rows in bounded memory: counts, and for each stage a sample drawn evenly.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from posttrain.advice.columns import guess_columns
from posttrain.data.chunks import chunks_of, rows_of
from posttrain.data.files import files_of, is_hub_id
from posttrain.data.formats import FORMATS, rename_columns
from posttrain.data.records import Chat, Feedback, Preference, Problem, Record
from posttrain.data.usable import why_unusable
from posttrain.errors import UserError
from posttrain.progress import progress
from posttrain.recipe.schema import Source

STAGES = ("sft", "dpo", "kto", "rlvr")
SAMPLE = 500
"""Records of each stage that are kept to count tokens and try graders on: a share is then right within 5 points."""
_MOST_ANSWERS = 1000  # different answers that are counted; more are no labels

_HELD_OUT = re.compile(r"(?:^|[^a-z])(test|dev|valid|validation|val|eval|unseen|held_?out)(?:[^a-z]|$)", re.IGNORECASE)


@dataclass
class Fit:
    """How one stage reads the source: by which format and columns, what came of it, and a sample of the records."""

    format: str
    columns: dict[str, str]
    guessed: bool
    rows: int = 0
    unusable: Counter[str] = field(default_factory=Counter)
    bad: int = 0
    first_bad: str = ""
    tools: int = 0
    sample: list[Record] = field(default_factory=list)


@dataclass
class Facts:
    """A source of rows. `trouble` says why none could be read; `held_out` that it is not for training."""

    source: Source
    held_out: bool = False
    rows: int = 0
    bad: int = 0
    first_bad: str = ""
    trouble: str = ""
    fits: dict[str, Fit] = field(default_factory=dict)
    labels: Counter[bool] = field(default_factory=Counter)
    chosen_characters: int = 0
    rejected_characters: int = 0
    chosen_longer: int = 0
    answers: Counter[str] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        """The file's name, or what else the source is called."""
        return Path(self.source.path).name


def held_out_by_name(path: str) -> bool:
    """Whether a file's name says that it is not for training: test, dev, valid, eval, unseen, held out."""
    return bool(_HELD_OUT.search(Path(path).name))


def look_at_source(source: Source, *, held_out: bool) -> Facts:
    """Read every row of the source. A source that cannot be read has `trouble` instead of rows; nothing is raised."""
    facts, rng = Facts(source, held_out), random.Random(0)
    try:
        for row, place in _rows(facts):
            facts.rows += 1
            if facts.rows == 1:
                facts.fits = _fits(row, source, place)
            for stage, fit in facts.fits.items():
                _read(facts, stage, fit, row, place, rng)
    except UserError as error:
        facts.trouble = _one_line(error)
    facts.fits = {stage: fit for stage, fit in facts.fits.items() if fit.rows}
    if not facts.rows and not facts.trouble:
        facts.trouble = facts.first_bad or "there are no rows in it"
    return facts


def _rows(facts: Facts) -> Iterator[tuple[dict[str, Any], str]]:
    def bad(error: UserError) -> None:
        facts.bad += 1
        facts.first_bad = facts.first_bad or _one_line(error)

    source, file, done = facts.source, 0, 0
    chunks = chunks_of(source.path, subset=source.subset, split=source.split, revision=source.revision)
    files = [] if is_hub_id(source.path) else files_of(source.path)
    megabytes = max(1, sum(each.path.stat().st_size for each in files) >> 20)
    with progress(f"reading {facts.name}, MB", megabytes) as advance:
        for chunk in chunks:
            yield from rows_of(chunk, bad)
            done = done if chunk.file == file else 0
            advance(max(0, (chunk.position >> 20) - done))
            file, done = chunk.file, max(done, chunk.position >> 20)


def _fits(raw: Mapping[str, Any], source: Source, place: str) -> dict[str, Fit]:
    """The stages that read the first row, with the format of each; columns are guessed where the source names none."""
    try:
        row = rename_columns(dict(raw), source.columns, place)
    except UserError:
        return {}
    found: dict[str, Fit] = {}
    for stage in STAGES:
        if stage == "kto" and row.get("label") is None:
            continue
        name = _format_of(row, stage, source.format, place)
        if name is not None:
            found[stage] = Fit(name, source.columns, guessed=False)
    if "rlvr" in found and {"dpo", "kto", "sft"} & found.keys() and not _has_answer(row):
        del found["rlvr"]  # pairs, thumbs and chats have a prompt too, and no answer to check
    if source.columns or "dpo" in found or "kto" in found:
        return found
    for stage in ("sft", "rlvr"):
        columns = guess_columns(row, stage)
        if not columns or (stage in found and not (stage == "rlvr" and "answer" in columns)):
            continue
        renamed = rename_columns(dict(raw), columns, place)
        name = _format_of(renamed, stage, "prompt_completion" if stage == "sft" else "prompt_answer", place)
        if name is not None:
            found[stage] = Fit(name, columns, guessed=True)
    return found


def _has_answer(row: Mapping[str, Any]) -> bool:
    from posttrain.advice.grading import GRADED_FIELDS

    inner = row["item"] if isinstance(row.get("item"), dict) else row
    return any(inner.get(name) is not None for name in GRADED_FIELDS)


def _format_of(row: Mapping[str, Any], stage: str, name: str, place: str) -> str | None:
    for key, format in FORMATS[stage].items():
        if name in ("auto", key) and format.fits(row):
            try:
                format.read(row, place)
                return key
            except UserError:
                continue
    return None


def _read(facts: Facts, stage: str, fit: Fit, raw: dict[str, Any], place: str, rng: random.Random) -> None:
    try:
        record = FORMATS[stage][fit.format].read(rename_columns(raw, fit.columns, place), place)
    except UserError as error:
        fit.bad += 1
        fit.first_bad = fit.first_bad or _one_line(error)
        return
    if why := why_unusable(record):
        fit.unusable[why] += 1
        return
    fit.rows += 1
    fit.tools += bool(record.tools)
    _count(facts, record)
    # Algorithm R (Vitter 1985): each record is kept with the same probability.
    if len(fit.sample) < SAMPLE:
        fit.sample.append(record)
    elif (at := rng.randrange(fit.rows)) < SAMPLE:
        fit.sample[at] = record


def _one_line(error: UserError) -> str:
    return " ".join(str(error).replace("\n  ", "; ").split())


def _count(facts: Facts, record: Record) -> None:
    if isinstance(record, Feedback):
        facts.labels[record.label] += 1
    elif isinstance(record, Preference):
        chosen, rejected = (sum(len(turn["content"]) for turn in side) for side in (record.chosen, record.rejected))
        facts.chosen_characters += chosen
        facts.rejected_characters += rejected
        facts.chosen_longer += chosen > rejected
    elif isinstance(record, Problem) and len(facts.answers) < _MOST_ANSWERS:
        answer = record.fields.get("answer")
        if isinstance(answer, str | int | float) and len(str(answer)) <= 100:
            facts.answers[str(answer)] += 1


def characters(record: Record) -> int:
    """Characters of what a model reads and writes of the record; of a pair, with the prompt twice."""
    if isinstance(record, Chat):
        turns = record.messages
    elif isinstance(record, Preference):
        turns = [*record.prompt, *record.chosen, *record.prompt, *record.rejected]
    elif isinstance(record, Feedback):
        turns = [*record.prompt, *record.completion]
    else:
        turns = record.prompt
    return sum(len(turn["content"]) + len(str(turn.get("tool_calls") or "")) for turn in turns)
