"""A source's chunks while they are gone over, with how far it is on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from posttrain.data.chunks import Chunk, Placed, chunks_of, rows_of
from posttrain.data.files import files_of, is_hub_id, shown
from posttrain.progress import progress
from posttrain.recipe.schema import Source


@contextmanager
def each_chunk(source: Source, label: str | None = None) -> Iterator[Iterator[Chunk]]:
    """Give the chunks of `source`; with a `label`, what takes long says how far it is. Raises UserError."""
    chunks = chunks_of(source.path, subset=source.subset, split=source.split, revision=source.revision)
    if label is None:
        yield chunks
        return
    files = [] if is_hub_id(source.path) else files_of(source.path)
    sizes = [file.path.stat().st_size for file in files]
    with progress(f"{label} {name_of(source)}, MB", max(1, sum(sizes) >> 20)) as advance:

        def watched() -> Iterator[Chunk]:
            done = 0
            for chunk in chunks:
                position = (sum(sizes[: chunk.file]) + chunk.position) >> 20
                advance(position - done)
                done = position
                yield chunk

        yield watched()


@contextmanager
def each_row(source: Source, label: str | None = None) -> Iterator[Iterator[Placed]]:
    """Give ``(row, place)`` of each row of `source`, as `each_chunk` does."""
    with each_chunk(source, label) as chunks:
        yield (placed for chunk in chunks for placed in rows_of(chunk))


def name_of(source: Source) -> str:
    """What messages call the source."""
    return shown(source.path)
