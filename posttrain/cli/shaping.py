"""`posttrain data convert|mix|split|sample`: rows into the shape and the files that they are wanted in."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posttrain.cli.options import (
    AsJson,
    Columns,
    Force,
    FormatName,
    NewFile,
    Revision,
    Seed,
    SourceName,
    Split,
    StageOfRows,
    Subset,
)
from posttrain.errors import UserError

if TYPE_CHECKING:
    from posttrain.curation.sample import How
    from posttrain.recipe.schema import Source


def convert(
    source: SourceName,
    out: NewFile,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="canonical, trl, prompt_completion, openai, openai_evals, sharegpt or alpaca (docs/shaping.md).",
        ),
    ] = "canonical",
    keep: Annotated[
        list[str] | None, typer.Option("--keep", metavar="COLUMN", help="Carry this column over; again for more.")
    ] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Set aside rows that cannot be read.")] = False,
    skip_unfit: Annotated[
        bool, typer.Option("--skip-unfit", help="Set aside rows that say what the new shape cannot.")
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
    stage: StageOfRows = None,
    columns: Columns = None,
    format: FormatName = None,
    subset: Subset = None,
    split: Split = None,
    revision: Revision = None,
) -> None:
    """Write rows in another shape: posttrain's own, TRL's, OpenAI's, ShareGPT's, alpaca's.

    Example: posttrain data convert rows.jsonl --to openai --out openai.jsonl
    """
    from posttrain.curation import convert as conversion
    from posttrain.inspection.stage import stage_of

    given = source_of(source, columns, format, subset, split, revision)
    stage, note = stage_of(stage, given)
    done = conversion.convert(
        given, stage, to, out, keep=keep or (), skip_bad=skip_bad, skip_unfit=skip_unfit, force=force
    )
    print_result(done.path, [*note, *conversion.report(done)], done.as_json(), as_json)


def mix(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE[=SHARE]...|RECIPE", help="Sources, each with its share; or a recipe."),
    ],
    out: NewFile,
    rows: Annotated[
        int | None, typer.Option("--rows", min=1, help="So many; absent: as many as there are, none taken twice.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="No shares: in proportion to size^(1/temperature).")
    ] = None,
    counts: Annotated[bool, typer.Option("--counts", help="The numbers are rows, not shares.")] = False,
    repeat: Annotated[
        bool, typer.Option("--repeat", help="A source with too few rows gives them several times.")
    ] = False,
    seed: Seed = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Mix sources into one file of rows: by share, by count or by temperature.

    Example: posttrain data mix chat.jsonl=0.7 math.jsonl=0.3 --rows 10000 --out mix.jsonl
    """
    from posttrain.curation import mix as mixing
    from posttrain.curation.mixture import asked_mixture

    data, share_out = asked_mixture(sources, rows=rows, temperature=temperature, counts=counts, repeat=repeat)
    done = mixing.mix(data, out, share_out, seed=seed or 0, force=force)
    print_result(done.path, mixing.report(done), done.as_json(), as_json)


def split(
    source: SourceName,
    out: Annotated[Path, typer.Option("--out", help="The folder for the parts' files.")],
    parts: Annotated[
        str, typer.Option("--parts", help="Names with shares that add up to 1.")
    ] = "train=0.9,dev=0.05,unseen=0.05",
    by: Annotated[
        str | None, typer.Option("--by", metavar="COLUMN", help="Keep rows with one value of it together as well.")
    ] = None,
    suffix: Annotated[str, typer.Option("--suffix", help="Of the files: .jsonl, .jsonl.gz or .parquet.")] = ".jsonl",
    seed: Seed = None,
    force: Force = False,
    as_json: AsJson = False,
    stage: StageOfRows = None,
    columns: Columns = None,
    format: FormatName = None,
    subset: Subset = None,
    split: Split = None,
    revision: Revision = None,
) -> None:
    """Split rows into parts that share no prompt: most rows stay in theirs when rows are added.

    Example: posttrain data split rows.jsonl --out data --parts train=0.9,dev=0.1 --by user
    """
    from posttrain.curation import split as splitting
    from posttrain.inspection.stage import stage_of

    shares = splitting.parse_parts(parts)
    given = source_of(source, columns, format, subset, split, revision)
    stage, note = stage_of(stage, given)
    done = splitting.split(given, stage, out, shares, by=by, suffix=suffix, seed=seed or 0, force=force)
    document = {"stage": stage, "parts": [part.as_json() for part in done]}
    paths = "\n".join(part.path for part in done)
    print_result(paths, [*note, *splitting.report(done)], document, as_json)


def sample(
    source: SourceName,
    out: NewFile,
    count: Annotated[int, typer.Option("-n", "--rows", min=1, help="How many rows.")],
    per: Annotated[
        str | None, typer.Option("--per", metavar="COLUMN", help="Of each of its values in proportion.")
    ] = None,
    equal: Annotated[bool, typer.Option("--equal", help="With --per: of each value the same number.")] = False,
    head: Annotated[bool, typer.Option("--head", help="The first rows.")] = False,
    shortest: Annotated[bool, typer.Option("--shortest", help="The shortest rows, the shortest first.")] = False,
    longest: Annotated[bool, typer.Option("--longest", help="The longest rows, the longest first.")] = False,
    seed: Seed = None,
    force: Force = False,
    as_json: AsJson = False,
    columns: Columns = None,
    subset: Subset = None,
    split: Split = None,
    revision: Revision = None,
) -> None:
    """Take some rows: at random, per value of a column, the first, the shortest or the longest.

    Example: posttrain data sample rows.jsonl -n 1000 --per source --equal --out some.jsonl
    """
    from posttrain.curation import sample as sampling

    how: list[How] = []
    how += ["head"] if head else []
    how += ["shortest"] if shortest else []
    how += ["longest"] if longest else []
    options = [*(f"--{each}" for each in how), *(["--per"] if per else [])]
    if len(options) > 1:
        raise UserError(f"{' and '.join(options)} are different samples", where=options[1], fix="Give one of them.")
    if equal and per is None:
        raise UserError("goes with --per COLUMN", where="--equal", fix="Name the column.")
    given = source_of(source, columns, None, subset, split, revision)
    kind = how[0] if how else "random"
    taken = sampling.sample(given, count, out, how=kind, per=per, equal=equal, seed=seed or 0, force=force)
    said = [f"{value}: {number:,}" for value, number in list(taken.items())[:20]]
    more = [f"and {len(taken) - 20:,} more values"] if len(taken) > 20 else []
    document = {"path": str(out), "rows": count, "how": kind, "per": taken or None}
    print_result(str(out), [f"took {count:,} rows: {kind}", *said, *more], document, as_json)


def source_of(
    path: str,
    columns: list[str] | None = None,
    format: str | None = None,
    subset: str | None = None,
    split: str | None = None,
    revision: str | None = None,
) -> Source:
    from posttrain.inspection.opened import parse_columns
    from posttrain.recipe.schema import Source

    return Source(
        path=path,
        columns=parse_columns(columns or []),
        format=format or "auto",
        subset=subset,
        split=split or "train",
        revision=revision,
    )


def print_result(path: str, report: list[str], document: dict[str, Any], as_json: bool) -> None:
    """What was written, on stdout; what there is to say about it, on stderr."""
    _say(report)
    print(json.dumps(document, indent=2) if as_json else path)


def _say(lines: list[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr)
