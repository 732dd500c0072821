"""The mixture that a command line asks for: its sources, and how many rows each gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from posttrain.curation.source import name_of
from posttrain.data.mixture import recipe_rows, rows_to_take
from posttrain.errors import UserError
from posttrain.recipe.load import load_recipe
from posttrain.recipe.schema import Source

ShareOut = Callable[[list[int]], list[int]]


def asked_mixture(
    given: Sequence[str],
    *,
    rows: int | None = None,
    temperature: float | None = None,
    counts: bool = False,
    repeat: bool = False,
) -> tuple[list[Source], ShareOut]:
    """The sources, and a function from the rows that each has to those that it gives.

    `given` are a recipe, whose ``data.train`` is mixed as it says, or sources, ``path=0.7`` with a share each.
    Raises UserError where they say it twice or not at all.
    """
    if len(given) == 1 and given[0].lower().endswith((".yaml", ".yml")):
        if counts or repeat or temperature is not None or rows is not None:
            raise UserError(
                "a recipe says itself how it is mixed",
                where=given[0],
                fix="Set data.mix and the sources' shares in it.",
            )
        return _of_recipe(Path(given[0]))
    pairs = [_parse(text) for text in given]
    sources = [Source(path=path) for path, _ in pairs]
    names = [name_of(source) for source in sources]
    numbers = [number for _, number in pairs if number is not None]
    if numbers and len(numbers) < len(pairs):
        bare = next(path for path, number in pairs if number is None)
        raise UserError("has no share, and others have", where=bare, fix="Give every source one, or none.")
    if numbers and temperature is not None:
        raise UserError("shares or a temperature, not both", where="--temperature", fix="Leave one of them out.")
    if temperature is not None and temperature <= 0:
        raise UserError("must be above 0", where="--temperature", fix="1 keeps the sizes; a large one evens them out.")
    if not counts:
        return sources, lambda sizes: rows_to_take(
            sizes,
            shares=numbers or None,
            temperature=temperature or 1.0,
            rows=rows,
            repeat=repeat,
            names=names,
            where="--rows",
        )
    if not numbers or rows is not None or any(number != int(number) for number in numbers):
        raise UserError(
            "needs a whole number of rows on each source, and no --rows", where="--counts", fix="a.jsonl=700"
        )
    asked = [int(number) for number in numbers]
    # Shares of the counts are the counts again.
    return sources, lambda sizes: rows_to_take(
        sizes, shares=asked, rows=sum(asked), repeat=repeat, names=names, where="--counts"
    )


def _of_recipe(path: Path) -> tuple[list[Source], ShareOut]:
    loaded = load_recipe(path, stage=None)
    data = loaded.recipe.data
    if not data.train:
        raise UserError("the recipe has no data.train", where=str(path), fix="Name the sources there.")
    names = [name_of(source) for source in data.train]
    return data.train, lambda sizes: recipe_rows(sizes, data, names, loaded.place)


def _parse(text: str) -> tuple[str, float | None]:
    """The path, and the number behind its last ``=``. A path may have a ``=`` of its own, as URLs do."""
    path, _, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        return text, None
    if not path:
        return text, None
    if not 0 < value < float("inf"):
        raise UserError("a share must be above 0", where=text, fix="Leave the source out.")
    return path, value
