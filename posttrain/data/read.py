"""Raw rows of a source, one after the other, with their places."""

from __future__ import annotations

from collections.abc import Iterator

from posttrain.data.chunks import Placed, chunks_of, rows_of


def read_rows(
    path: str,
    *,
    subset: str | None = None,
    split: str = "train",
    revision: str | None = None,
    where: str | None = None,
) -> Iterator[Placed]:
    """Yield ``(row, place)`` for each row of a file, a glob or a hub data set; place is ``rows.jsonl:137``.

    `subset`, `split` and `revision` choose the part of a hub data set. Raises UserError at `where` for a
    source that is not there or has a file without rows, and at the row's place for a row that cannot be read.
    """
    for chunk in chunks_of(path, subset=subset, split=split, revision=revision, where=where):
        yield from rows_of(chunk)
