"""Two rows that are much the same, side by side: in a terminal, as rows of a file, as a page."""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from posttrain.curation.write import new_file, refuse_existing
from posttrain.data.files import shown
from posttrain.errors import UserError

_SHOWN = 400  # characters of a text in a terminal

_HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff }}
table {{ border-collapse: collapse; width: 100%; table-layout: fixed }}
td, th {{ border-top: 1px solid #ccc; padding: .5rem; text-align: left; vertical-align: top }}
td {{ white-space: pre-wrap; overflow-wrap: anywhere }} .why {{ width: 6rem }} small {{ color: #666 }}
mark {{ background: #ffe08a }}
</style>
<h1>{title}</h1>
<table><tr><th class="why"></th><th>{left}</th><th>{right}</th></tr>
"""


@dataclass(frozen=True)
class Side:
    """A row's place and its text; `marked` are spans of characters that the other side has too."""

    place: str
    text: str
    marked: list[tuple[int, int]]


@dataclass(frozen=True)
class Pair:
    """`why` says how alike the two are; `share` is it in numbers, from 0 to 1."""

    why: str
    share: float
    left: Side
    right: Side

    def as_json(self, left: str, right: str) -> dict[str, Any]:
        """The pair as plain values, its sides under their names."""
        return {"why": self.why, "share": round(self.share, 4), left: asdict(self.left), right: asdict(self.right)}


def refuse_report(path: Path | None, *, force: bool = False) -> None:
    """Raise UserError for a path that `pair_file` cannot write."""
    if path is None:
        return
    if path.suffix.lower() != ".html":
        refuse_existing(path, force=force)
    elif path.exists() and not force:
        raise UserError("is there already", where=shown(path), fix="--force writes over it.")


@contextmanager
def pair_file(
    path: Path | None, left: str, right: str, title: str, *, force: bool = False
) -> Iterator[Callable[[Pair], None]]:
    """Give a function that writes a pair to `path`: rows, or a page where it ends in .html; nowhere if it is None.

    The file is there once all are written. Raises UserError as `refuse_report` does.
    """
    refuse_report(path, force=force)
    if path is None:
        yield lambda pair: None
    elif path.suffix.lower() != ".html":
        with new_file(path, force=force) as file:
            yield lambda pair: file.write(pair.as_json(left, right))
    else:
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("w", encoding="utf-8", errors="replace") as page:
                page.write(_HEAD.format(title=html.escape(title), left=left, right=right))
                yield lambda pair: _write_row(page.write, pair)
                page.write("</table></html>\n")
            os.replace(beside, path)
        except OSError as error:
            raise UserError(f"cannot be written: {error.strerror or error}", where=shown(path)) from error
        finally:
            beside.unlink(missing_ok=True)


def lines_of(pair: Pair, left: str, right: str) -> list[str]:
    """The pair for a terminal; what both say stands in ⟦ ⟧."""
    width = max(len(left), len(right))
    said = [f"{pair.left.place} · {pair.right.place}: {pair.why}"]
    for name, side in ((left, pair.left), (right, pair.right)):
        text = _marked(side, "⟦", "⟧", _printable)
        text = text if len(text) <= _SHOWN else text[:_SHOWN] + " …"
        said += [f"  {name if not at else '':{width}}  {line}" for at, line in enumerate(text.splitlines())]
    return said


def _write_row(write: Callable[[str], Any], pair: Pair) -> None:
    cells = [f'<td class="why">{html.escape(pair.why)}</td>']
    for side in (pair.left, pair.right):
        text = _marked(side, "<mark>", "</mark>", lambda text: html.escape(_printable(text)))
        cells.append(f"<td><small>{html.escape(side.place)}</small>\n{text}</td>")
    write(f"<tr>{''.join(cells)}</tr>\n")


def _marked(side: Side, before: str, after: str, escape: Callable[[str], str]) -> str:
    said, at = "", 0
    for start, end in side.marked:
        said += escape(side.text[at:start]) + before + escape(side.text[start:end]) + after
        at = end
    return said + escape(side.text[at:])


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "�" for letter in text)
