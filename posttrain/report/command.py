"""`posttrain report`: runs read once, then written as a page, as Markdown and as pictures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from posttrain.errors import UserError
from posttrain.report.collect import MOST_SAMPLES, collect
from posttrain.report.page import page
from posttrain.runs.whole import write_text

PAGE = "report.html"
_OURS = ("posttrain report",)
"""What the beginning of a file that we wrote says: such a file may be written over."""


def write_report(
    places: Sequence[Path],
    *,
    to: Path | None = None,
    markdown: Path | None = None,
    png: Path | None = None,
    most_samples: int = MOST_SAMPLES,
    force: bool = False,
) -> list[Path]:
    """Write the report on `places`, runs and evals, and return what was written, the page first.

    Without `to` the page is ``report.html`` in the last of the places. Raises UserError for what is no run, and for a
    file that is there and is not a report of ours, unless `force`.
    """
    target = to or _own(places[-1]) / PAGE
    for path in (target, markdown):
        if path is not None:
            _check(path, force)
    if png is not None:
        from posttrain.report.plots import check_matplotlib

        check_matplotlib()
    document = collect(places, most_samples=most_samples)
    text = page(document)
    write_text(target, text)
    print(f"{target}: {len(text.encode()) / 1e6:.1f} MB, {document['samples']['kept']:,} samples", file=sys.stderr)
    written = [target]
    if markdown is not None:
        from posttrain.report.markdown import as_markdown

        write_text(markdown, as_markdown(document))
        written.append(markdown)
    if png is not None:
        from posttrain.report.plots import write_plots

        written += write_plots(document, png)
    return written


def _own(place: Path) -> Path:
    """Return the directory of the run that a place is: RUN/final is RUN."""
    return place.parent if place.name == "final" else place


def _check(path: Path, force: bool) -> None:
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent}", where=str(path), fix="make it first")
    if path.is_dir():
        raise UserError("is a folder", where=str(path), fix="name a file")
    if path.exists() and not force:
        with path.open(encoding="utf-8", errors="replace") as file:
            if not any(mark in file.read(500) for mark in _OURS):
                raise UserError("is there already, and is no report", where=str(path), fix="--force writes over it")
