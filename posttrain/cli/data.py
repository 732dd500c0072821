"""`posttrain data`: look at rows, and shape them."""

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
    MaxLength,
    NewFile,
    PartOfRecipe,
    Revision,
    Sets,
    SourceName,
    SourceOrRecipe,
    Split,
    StageOfRows,
    Subset,
    TokenizerOf,
    piped,
)
from posttrain.errors import UserError

if TYPE_CHECKING:
    from posttrain.recipe.schema import Source


def formats(as_json: AsJson = False) -> None:
    """List the row formats that each stage reads, with the columns that they need.

    Example: posttrain data formats
    """
    from posttrain.data.formats import FORMATS

    found = {
        stage: {name: {"title": format.title, "columns": format.needs} for name, format in formats.items()}
        for stage, formats in FORMATS.items()
    }
    if as_json:
        print(json.dumps(found, indent=2))
        return
    width = max(len(name) for formats in found.values() for name in formats)
    for stage, listed in found.items():
        print(stage)
        for name, said in listed.items():
            print(f"  {name:{width}}  {said['columns']}")


def show(
    source: SourceOrRecipe,
    rows: Annotated[
        int | None, typer.Option("--rows", min=1, help="How many rows; absent: 3, of a page 2,000.")
    ] = None,
    at: Annotated[int | None, typer.Option("--at", help="Begin with the row of this number, from 1.")] = None,
    row: Annotated[
        str | None, typer.Option("--row", help="Begin with the row of this place, e.g. rows.jsonl:137.")
    ] = None,
    grep: Annotated[str | None, typer.Option("--grep", help="Only rows that say this.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Draw the rows at random, by this seed.")] = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="Show where each token ends, and its id.")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page to scroll and filter.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the page.")] = False,
    as_json: AsJson = False,
    stage: StageOfRows = None,
    part: PartOfRecipe = None,
    set_: Sets = None,
    model: TokenizerOf = None,
    max_length: MaxLength = None,
    columns: Columns = None,
    format: FormatName = None,
    subset: Subset = None,
    split: Split = None,
    revision: Revision = None,
) -> None:
    """Show rows as the model will see them: the template applied, what is trained, what is cut.

    Examples: posttrain data show sft.yaml; posttrain data show rows.jsonl --at 17 --tokens
    """
    from posttrain.inspection.opened import open_rows
    from posttrain.inspection.show import show as show_rows
    from posttrain.launch.start import reserved_stdout

    if html is not None and as_json:
        raise UserError("a page or JSON, not both", where="--json", fix="Leave one of them out.")
    if html is not None and html.exists() and not force:
        raise UserError("is there already", where=str(html), fix="--force writes over it.")
    with reserved_stdout() as stdout:
        opened = open_rows(
            source,
            stage=stage,
            part=part,
            overrides=set_ or [],
            model=piped(model, "data show"),
            max_length=max_length,
            columns=columns or [],
            format=format,
            subset=subset,
            split=split,
            revision=revision,
        )
        show_rows(
            opened,
            stdout,
            count=rows,
            at=at,
            place=row,
            grep=grep,
            seed=seed,
            token_ids=tokens,
            html=html,
            as_json=as_json,
        )


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
    from posttrain.data.formats import FORMATS
    from posttrain.errors import did_you_mean
    from posttrain.inspection.stage import find_stage

    given = _source(source, columns, format, subset, split, revision)
    note = ""
    if stage is None:
        stage, note = find_stage(given)
    elif stage not in FORMATS:
        raise UserError(f"no stage {stage!r}.{did_you_mean(stage, FORMATS)}", where="--stage", fix=", ".join(FORMATS))
    done = conversion.convert(
        given, stage, to, out, keep=keep or (), skip_bad=skip_bad, skip_unfit=skip_unfit, force=force
    )
    _say([note] if note else [])
    _result(done.path, conversion.report(done), done.as_json(), as_json)


def feedback(
    logs: Annotated[list[str], typer.Argument(metavar="LOGS...", help="Files or globs of logs; their shape is found.")],
    out: NewFile,
    ratings: Annotated[
        list[str] | None,
        typer.Option("--ratings", help="A file of ratings, joined by the completion's id; again for more."),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--columns",
            metavar="OURS=THEIRS",
            help="Where a column is: id, prompt, response, label, user, conversation or time=COLUMN; a.b goes down.",
        ),
    ] = None,
    score: Annotated[
        str | None, typer.Option("--score", help="Take the score of this name, e.g. quality; absent: users' thumbs.")
    ] = None,
    up_at: Annotated[float | None, typer.Option("--up-at", help="Scores from here on are up.")] = None,
    down_at: Annotated[float | None, typer.Option("--down-at", help="Scores down to here are down.")] = None,
    conflicts: Annotated[
        str, typer.Option("--conflicts", help="Where users differ: majority, keep (all) or drop (all).")
    ] = "majority",
    drop_ids: Annotated[
        bool, typer.Option("--drop-ids", help="Write salted hashes in place of users and conversations.")
    ] = False,
    dev: Annotated[float | None, typer.Option("--dev", help="Hold out this share, in a file NAME-dev.")] = None,
    by: Annotated[str, typer.Option("--by", help="What is held out whole: user, conversation or prompt.")] = "user",
    seed: Annotated[int, typer.Option("--seed", help="Which are held out.")] = 42,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Count rows that cannot be read, and go on.")] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Make rows for kto of an endpoint's logs and its users' thumbs: OpenAI's, Langfuse's, LangSmith's, tables.

    Example: posttrain data feedback log.csv --out kto.jsonl --dev 0.1 --by user
    """
    from posttrain.curation.feedback import collect as collection
    from posttrain.curation.feedback.report import document, report
    from posttrain.inspection.opened import parse_columns

    options = collection.Options(
        ratings=tuple(ratings or ()),
        columns=parse_columns(columns or []),
        score=score,
        up_at=up_at,
        down_at=down_at,
        conflicts=conflicts,
        drop_ids=drop_ids,
        dev=dev,
        by=by,
        seed=seed,
        skip_bad=skip_bad,
        force=force,
    )
    done = collection.collect(logs, out, options)
    _result("\n".join(filter(None, (done.path, done.dev_path))), report(done), document(done), as_json)


def _source(
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


def _result(path: str, report: list[str], document: dict[str, Any], as_json: bool) -> None:
    """What was written, on stdout; what there is to say about it, on stderr."""
    _say(report)
    print(json.dumps(document, indent=2, ensure_ascii=False) if as_json else path)


def _say(lines: list[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr)
