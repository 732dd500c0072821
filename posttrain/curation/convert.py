"""A source to rows of another shape: every record said in full, or its row an error or set aside with the reason."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from posttrain.curation.shapes import choose_shape, write_row
from posttrain.curation.shapes.shape import Unfit
from posttrain.curation.source import each_chunk, name_of
from posttrain.curation.write import RowsFile, encode, new_file, refuse_existing
from posttrain.data.chunks import Chunk, rows_of
from posttrain.data.convert import find_format
from posttrain.data.files import shown
from posttrain.data.formats import (
    FORMATS,
    check_columns,
    name_of_format,
    refuse_other_format,
    rename_columns,
)
from posttrain.data.workers import in_order
from posttrain.errors import UserError
from posttrain.recipe.schema import Source

_CHUNKS_ALONE = 4  # with fewer, starting other processes takes longer than the work
_REASONS = 20  # that are told apart in the report


@dataclass(frozen=True)
class Reshaping:
    """How rows become other rows: all that a row's new shape depends on."""

    stage: str
    format: str
    found: bool  # rather than named: then no row may fit another
    columns: dict[str, str]
    to: str
    keep: tuple[str, ...]
    skip_bad: bool
    skip_unfit: bool


@dataclass
class Reshaped:
    """What became of a source's rows. `rejected` counts by reason, `left_behind` the columns no record holds."""

    path: str
    stage: str
    format: str
    to: str
    read: int = 0
    written: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    rejected_path: str | None = None
    left_behind: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def convert(
    source: Source,
    stage: str,
    to: str,
    out: Path,
    *,
    keep: Sequence[str] = (),
    skip_bad: bool = False,
    skip_unfit: bool = False,
    force: bool = False,
) -> Reshaped:
    """Write the rows of `source`, read for `stage`, to `out` in the shape `to`; columns in `keep` go along.

    A row that cannot be read (but for `skip_bad`), or that says what the shape cannot (but for `skip_unfit`), raises
    UserError with its place. Those that are skipped stand in ``NAME.rejected.jsonl`` beside `out`, with the reason.
    """
    rejected = rejected_path(out)
    refuse_existing(out, force=force)
    refuse_existing(rejected, force=force)
    choose_shape(to, stage)
    check_columns(source.columns, stage, "--columns")
    with each_chunk(source) as chunks:
        format, _ = find_format(chunks, source, stage, skip_bad, name_of(source), "--format")
    name = name_of_format(format, stage)
    job = Reshaping(stage, name, source.format == "auto", source.columns, to, tuple(keep), skip_bad, skip_unfit)
    done = Reshaped(str(out), stage, name, to)
    reasons: Counter[str] = Counter()
    left: Counter[str] = Counter()
    with ExitStack() as stack:
        file = stack.enter_context(new_file(out, force=force))
        aside: RowsFile | None = None
        with each_chunk(source, "converting") as chunks:
            tasks = ((chunk, job) for chunk in chunks)
            for made in in_order(_convert_chunk, tasks, alone=_CHUNKS_ALONE):
                for line in made.lines:
                    file.write_line(line)
                for reason, line in made.rejected:
                    aside = aside or stack.enter_context(new_file(rejected, force=force))
                    aside.write_line(line)
                    reason = reason if reason in reasons or len(reasons) < _REASONS else "other reasons"
                    reasons[reason] += 1
                left.update(made.left_behind)
                done.read += len(made.lines) + len(made.rejected)
        if not file.rows:
            raise UserError(
                f"none of the {done.read:,} rows can be written: {in_words(reasons)}", where=name_of(source)
            )
    done.written, done.rejected, done.left_behind = file.rows, dict(reasons.most_common()), dict(left.most_common())
    done.rejected_path = str(rejected) if aside else None
    return done


def report(done: Reshaped) -> list[str]:
    """What there is to say about it, line by line."""
    said = [f"wrote {done.written:,} of {done.read:,} rows: {done.format} ({done.stage}) to {done.to}"]
    said += [
        f"left out {count:,} {'row' if count == 1 else 'rows'}: {reason}" for reason, count in done.rejected.items()
    ]
    if done.rejected_path:
        said.append(f"they stand in {shown(done.rejected_path)}, each with its reason")
    if done.left_behind:
        said.append(f"columns left behind: {', '.join(done.left_behind)}; --keep COLUMN carries one over")
    return said


def rejected_path(out: Path) -> Path:
    """Where the rows that are skipped stand: ``rows.jsonl.gz`` has ``rows.rejected.jsonl``."""
    name = out.name.removesuffix(".gz")
    return out.with_name(name.removesuffix(Path(name).suffix) + ".rejected.jsonl")


def in_words(reasons: Counter[str] | dict[str, int]) -> str:
    """Return ``2 rows: no assistant turn; 1 row: …``."""
    return "; ".join(f"{count:,} {'row' if count == 1 else 'rows'}: {reason}" for reason, count in reasons.items())


@dataclass(frozen=True)
class _Made:
    """A chunk's rows in the new shape, and those that are not, each with the reason and as a row that says it."""

    lines: list[bytes]
    rejected: list[tuple[str, bytes]]
    left_behind: Counter[str]


class _Looked(dict[str, Any]):
    """A row that remembers which of its columns were looked at."""

    def __init__(self, row: dict[str, Any]) -> None:
        super().__init__(row)
        self.columns: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.columns.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self.columns.add(key)
        return super().__getitem__(key)


def _convert_chunk(task: tuple[Chunk, Reshaping]) -> _Made:
    chunk, job = task
    made = _Made([], [], Counter())
    shape, read = choose_shape(job.to, job.stage), FORMATS[job.stage][job.format].read

    def reject(error: UserError, reason: str, row: dict[str, Any] | None) -> None:
        said = {"row": row} if row is not None else {"line": _line(chunk, error.where or "")}
        line = encode({"place": error.where, "reason": reason} | said, error.where)
        made.rejected.append((re.sub(r"'[^']*'|\d+", "…", reason), line))

    def bad(error: UserError, row: dict[str, Any] | None = None) -> None:
        if not job.skip_bad:
            raise error
        reject(error, f"cannot be read: {error.message}", row)

    for raw, place in rows_of(chunk, bad):
        try:
            row = _Looked(rename_columns(raw, job.columns, place))
            if job.found:
                refuse_other_format(dict(row), job.stage, job.format, place)
            record = read(row, place)
            new = write_row(record, shape, job.stage)
            line = encode(new | _kept(row, job.keep, new, place), place)
        except UserError as error:
            bad(error, raw)
            continue
        except Unfit as unfit:
            refused = UserError(
                f"{job.to} cannot say: {unfit}",
                where=place,
                fix="Another --to, or --skip-unfit to set such rows aside.",
            )
            if not job.skip_unfit:
                raise refused from unfit
            reject(refused, refused.message, raw)
            continue
        made.lines.append(line)
        if job.stage not in ("rlvr", "eval"):  # whose records hold every column
            unread = row.keys() - row.columns - set(job.keep)
            made.left_behind.update(name for name in unread if row[name] is not None)
    return made


def _kept(row: dict[str, Any], keep: tuple[str, ...], new: dict[str, Any], place: str) -> dict[str, Any]:
    taken = [name for name in keep if name in new and name in row]
    if taken and new[taken[0]] != row[taken[0]]:
        raise UserError(f"the column {taken[0]} is one of the new shape's own", where="--keep", fix="Leave it out.")
    return {name: row[name] for name in keep if name in row}


def _line(chunk: Chunk, place: str) -> str:
    """The line of the chunk that could not be parsed, as text."""
    number = place.rpartition(":")[2]
    if chunk.lines is None or not number.isdigit():
        return ""
    return chunk.lines.split(b"\n")[int(number) - chunk.first].decode("utf-8", "backslashreplace")
