"""What people look at when runs are done, or while they go on: report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Places = Annotated[
    list[Path], typer.Argument(metavar="RUN...", help="A run's directory, finished or not, or an eval's.")
]


def report(
    runs: Places,
    to: Annotated[Path | None, typer.Option("--to", help="The page; absent: report.html in the last RUN.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Also write it as Markdown, here.")] = None,
    png: Annotated[
        Path | None, typer.Option("--png", help="Also draw each plot as PNG, in this folder. Needs posttrain[plots].")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=0, help="At most so many completions in the page.")] = 10_000,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is no report.")] = False,
) -> None:
    """Write a page on runs: curves, lineage, samples, evals, cost. One file, no network.

    The runs that a run comes from are on it too, and evals beside it that scored one of them. Prints the path of the
    page, and of what else was written.

    Example: posttrain report runs/rlvr --to report.html --markdown report.md
    """
    from posttrain.report.command import write_report

    for path in write_report(runs, to=to, markdown=markdown, png=png, most_samples=samples, force=force):
        print(path)
