"""`posttrain data feedback`: thumbs of a live endpoint's users to rows for KTO."""

from __future__ import annotations

from typing import Annotated

import typer

from posttrain.cli.options import AsJson, Force, NewFile
from posttrain.cli.shaping import print_result


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
    print_result("\n".join(filter(None, (done.path, done.dev_path))), report(done), document(done), as_json)
