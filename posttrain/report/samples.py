"""Completions with their grades, from samples/ of runs and evals: each prompt once, each text cut where it is long."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from posttrain.runs import directory
from posttrain.runs.metrics import read_rows

MOST_CHARACTERS = 20_000
"""Of one text; what is longer is cut, and says so."""

_NAME = re.compile(r"(train|dev)-(\d+)")


@dataclass(frozen=True)
class Source:
    """Completions of one model at one moment: a step of a run, or a line of an eval's table."""

    label: str
    kind: str
    step: int
    run: str
    files: list[Path]


@dataclass
class Samples:
    """`prompts` are lists of (role, text); a row is (source, prompt, number, text, score, passed, answer, note, error,
    parts, tokens, truncated, place)."""

    sources: list[dict[str, Any]] = field(default_factory=list)
    prompts: list[list[list[str]]] = field(default_factory=list)
    rows: list[list[Any]] = field(default_factory=list)
    kept: int = 0
    seen: int = 0


def sources_of_run(name: str, run: Path) -> list[Source]:
    """Return a run's looks and training steps, in order."""
    found: dict[tuple[str, int], list[Path]] = {}
    for path in sorted((run / directory.SAMPLES).glob("*.jsonl")):
        if match := _NAME.match(path.name):
            found.setdefault((match[1], int(match[2])), []).append(path)
    return [
        Source(f"{name} · {'held-out' if kind == 'dev' else 'training'} · step {step}", kind, step, name, files)
        for (kind, step), files in sorted(found.items())
    ]


def gather(sources: Sequence[Source], most: int, advance: Callable[[], None] = lambda: None) -> Samples:
    """Read at most `most` completions.

    Looks that show a change come first, whole: the first and the last of each run and the lines of evals, then the
    looks between. Training steps share what room is left evenly, drawn at random by problem.
    """
    samples = Samples()
    index: dict[str, int] = {}
    order = _weightiest_first([source for source in sources if source.kind != "train"])
    training = [source for source in sources if source.kind == "train"]
    for position, source in enumerate([*order, *training]):
        rows = [
            row for path in source.files for row in read_rows(path) if isinstance(row, dict) and "completion" in row
        ]
        samples.seen += len(rows)
        left = most - len(samples.rows)
        share = left if source.kind != "train" else left // (len(order) + len(training) - position)
        chosen = _some(rows, share)
        if chosen:
            number = len(samples.sources)
            samples.sources.append(
                {"label": source.label, "kind": source.kind, "step": source.step, "run": source.run, "of": len(rows)}
            )
            samples.rows += [_row(number, row, index, samples.prompts) for row in chosen]
        advance()
    samples.kept = len(samples.rows)
    _in_order(samples)
    return samples


def _weightiest_first(sources: Sequence[Source]) -> list[Source]:
    steps: dict[str, list[int]] = {}
    for source in sources:
        steps.setdefault(source.run, []).append(source.step)
    ends = [s for s in sources if s.kind == "eval" or s.step in (min(steps[s.run]), max(steps[s.run]))]
    return [*ends, *(source for source in sources if source not in ends)]


def _some(rows: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """Return at most `most` rows: problems drawn at random, with all samples of each."""
    if len(rows) <= most:
        return rows
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(_identity(row), []).append(row)
    keys = random.Random(0).sample(sorted(groups), len(groups))  # the same problems of each look
    chosen: list[dict[str, Any]] = []
    for key in keys:
        if len(chosen) + len(groups[key]) > most:
            break
        chosen += groups[key]
    return chosen


def _identity(row: dict[str, Any]) -> str:
    return str(row.get("key") or "") or json.dumps(row.get("prompt"), sort_keys=True)


def _row(source: int, row: dict[str, Any], index: dict[str, int], prompts: list[list[list[str]]]) -> list[Any]:
    turns = list(_turns(row.get("prompt")))
    key = _identity(row) if row.get("key") else json.dumps(turns)
    if key not in index:
        index[key] = len(prompts)
        prompts.append(turns)
    parts = [
        [part.get("name"), part.get("score"), part.get("passed"), part.get("note")] for part in row.get("parts") or ()
    ]
    return [
        source,
        index[key],
        row.get("sample", 0),
        _cut(str(row.get("completion") or "")),
        row.get("score"),
        bool(row.get("passed")),
        None if row.get("answer") is None else str(row["answer"]),
        str(row.get("note") or ""),
        str(row.get("error") or row.get("engine_error") or ""),
        parts,
        row.get("tokens"),
        bool(row.get("truncated")),
        str(row.get("place") or ""),
    ]


def _turns(prompt: Any) -> Iterator[list[str]]:
    for turn in prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]:
        said = turn.get("content") if isinstance(turn, dict) else turn
        role = str(turn.get("role", "")) if isinstance(turn, dict) else ""
        yield [role, _cut(said if isinstance(said, str) else json.dumps(said, ensure_ascii=False))]


def _cut(text: str) -> str:
    more = len(text) - MOST_CHARACTERS
    return text if more <= 0 else f"{text[:MOST_CHARACTERS]}… ({more:,} more characters)"


def _in_order(samples: Samples) -> None:
    """Put sources in the order of runs and steps, with the evals behind, and the rows after them."""
    runs = list(dict.fromkeys(source["run"] for source in samples.sources))
    kinds = ("dev", "train", "eval")
    order = sorted(
        range(len(samples.sources)),
        key=lambda i: (
            samples.sources[i]["kind"] == "eval",
            runs.index(samples.sources[i]["run"]),
            kinds.index(samples.sources[i]["kind"]),
            samples.sources[i]["step"],
        ),
    )
    new = {old: position for position, old in enumerate(order)}
    samples.sources[:] = [samples.sources[old] for old in order]
    for row in samples.rows:
        row[0] = new[row[0]]
    samples.rows.sort(key=lambda row: row[0])
