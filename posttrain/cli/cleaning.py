"""`posttrain data dedup|decontaminate`: rows without those that say the same as another, or as a held-out one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from posttrain.cli.options import (
    AsJson,
    Columns,
    Force,
    FormatName,
    NewFile,
    Revision,
    SourceName,
    Split,
    StageOfRows,
    Subset,
)
from posttrain.cli.shaping import print_result, source_of
from posttrain.errors import UserError

if TYPE_CHECKING:
    from posttrain.curation.decontaminate import Rows

PairsFile = Annotated[
    Path | None, typer.Option("--report", help="Every row left out beside its match: .jsonl, .parquet or .html.")
]


def decontaminate(
    train: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE...|RECIPE", help="Training rows; or a recipe that has both."),
    ],
    out: NewFile,
    against: Annotated[
        list[str] | None,
        typer.Option("--against", metavar="SOURCE", help="Held-out rows, of a hub data set its test split."),
    ] = None,
    ngram: Annotated[int, typer.Option("--ngram", min=1, max=64, help="Words of a run that counts as shared.")] = 8,
    threshold: Annotated[
        float, typer.Option("--threshold", help="More than this share of a held-out row's words is an overlap.")
    ] = 0.5,
    fields: Annotated[str, typer.Option("--fields", help="prompt: the user's turns; all: the answers too.")] = "prompt",
    same_numbers: Annotated[
        bool, typer.Option("--same-numbers", help="One text with other numbers is no overlap.")
    ] = False,
    report: PairsFile = None,
    force: Force = False,
    as_json: AsJson = False,
    stage: StageOfRows = None,
    columns: Columns = None,
    format: FormatName = None,
    subset: Subset = None,
    split: Split = None,
    revision: Revision = None,
) -> None:
    """Leave out training rows that nearly say a held-out one: by shared 8-grams, as Tülu 3 does.

    Examples: posttrain data decontaminate rlvr.yaml --out clean.jsonl;
    posttrain data decontaminate rows.jsonl --against test.jsonl --report pairs.html --out clean.jsonl
    """
    from posttrain.curation import decontaminate as cleaning
    from posttrain.data.overlap import Fields
    from posttrain.inspection.stage import stage_of

    _one_of("--fields", fields, get_args(Fields))
    _share("--threshold", threshold, least=0)
    notes: list[str] = []
    if train[0].lower().endswith((".yaml", ".yml")):
        options: dict[str, Any] = {
            "--against": against,
            "--stage": stage,
            "--columns": columns,
            "--format": format,
            "--subset": subset,
            "--split": split,
            "--revision": revision,
        }
        given = [name for name, value in options.items() if value] + train[1:]
        if given:
            raise UserError(f"does not go with a recipe, and {train[0]} is one", where=given[0], fix="Leave it out.")
        rows, held_out = _of_recipe(Path(train[0]))
    else:
        if not against:
            raise UserError("held-out rows are missing", where="--against", fix="--against test.jsonl, or a recipe.")
        rows, held_out = [], []
        for path in train:
            source = source_of(path, columns, format, subset, split, revision)
            found, note = stage_of(stage, source)
            rows.append((source, found))
            notes += note
        held_out = [(source, stage_of(None, source)[0]) for source in (source_of(at, split="test") for at in against)]
    rule = cleaning.Rule(ngram, threshold, "all" if fields == "all" else "prompt", same_numbers)
    done = cleaning.decontaminate(rows, held_out, out, rule, report_to=report, force=force)
    print_result(done.path, [*notes, *cleaning.report(done)], done.as_json(), as_json)


def dedup(
    source: SourceName,
    out: NewFile,
    match: Annotated[
        str, typer.Option("--match", help="exact; normalised: and but for case, blanks, punctuation; near: and nearly.")
    ] = "near",
    by: Annotated[str, typer.Option("--by", help="content: prompt and answer; prompt: alone.")] = "content",
    threshold: Annotated[
        float, typer.Option("--threshold", help="Nearly: so much of the runs of three words is in both.")
    ] = 0.8,
    same_numbers: Annotated[
        bool, typer.Option("--same-numbers", help="One text with other numbers is no near duplicate.")
    ] = False,
    keep: Annotated[str, typer.Option("--keep", help="Which one stays: first or longest.")] = "first",
    report: PairsFile = None,
    force: Force = False,
    as_json: AsJson = False,
    stage: StageOfRows = None,
    columns: Columns = None,
    format: FormatName = None,
    subset: Subset = None,
    split: Split = None,
    revision: Revision = None,
) -> None:
    """Leave out rows that say the same as another one, or nearly.

    Example: posttrain data dedup rows.jsonl --report pairs.html --out once.jsonl
    """
    from posttrain.curation import dedup as cleaning
    from posttrain.curation.normalised import By
    from posttrain.inspection.stage import stage_of

    _one_of("--match", match, cleaning.MATCHES)
    _one_of("--by", by, get_args(By))
    _one_of("--keep", keep, get_args(cleaning.Keep))
    _share("--threshold", threshold, least=0.1)
    given = source_of(source, columns, format, subset, split, revision)
    stage, note = stage_of(stage, given)
    rule = cleaning.Rule(match, by, threshold, keep, same_numbers)  # type: ignore[arg-type]  # one of each, checked above
    done = cleaning.dedup(given, stage, out, rule, report_to=report, force=force)
    print_result(done.path, [*note, *cleaning.report(done)], done.as_json(), as_json)


def _of_recipe(path: Path) -> tuple[list[Rows], list[Rows]]:
    """The training sources of a recipe, and those of its held-out rows, with what each is for."""
    from posttrain.recipe.load import load_recipe

    loaded = load_recipe(path, stage=None)
    data, stage = loaded.recipe.data, loaded.recipe.stage
    if not data.train:
        raise UserError("the recipe has no training rows", where=loaded.place("data"), fix="Name a training recipe.")
    dev = data.dev if isinstance(data.dev, list) else []
    held_out: list[Rows] = [
        *((each, stage) for each in (*dev, *data.unseen)),
        *((each, "rlvr") for each in data.problems),
    ]
    if not held_out:
        raise UserError(
            "the recipe holds out no rows of a file of their own",
            where=loaded.place("data"),
            fix="List them under data.dev, data.unseen or data.problems. Of a share of train: data dedup.",
        )
    return [(each, stage) for each in data.train], held_out


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"no {value!r}", where=option, fix=", ".join(known))


def _share(option: str, value: float, least: float) -> None:
    if not least <= value <= 1:
        raise UserError(f"{value:g} is not from {least:g} to 1", where=option)
