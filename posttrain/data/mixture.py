"""How many rows each source gives to a mixture, and which.

By shares of the result, or by temperature: source i of size n_i has a share proportional to n_i^(1/T), as in
Raffel et al. 2020 (T5), section 3.5.2. T = 1 is in proportion to size, a large T takes the same of each. Shares
become whole rows by the largest remainder, so that they add up exactly.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from posttrain.errors import UserError

if TYPE_CHECKING:
    from posttrain.recipe.schema import Data


def shares_by_weight(weights: Sequence[float]) -> list[float]:
    """The weights, scaled to add up to 1."""
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def shares_by_temperature(sizes: Sequence[int], temperature: float) -> list[float]:
    """Shares proportional to ``size ** (1 / temperature)``."""
    return shares_by_weight([size ** (1 / temperature) for size in sizes])


def allocate(shares: Sequence[float], rows: int) -> list[int]:
    """`rows` shared out by the largest remainder; of equal remainders the first source's counts."""
    exact = [share * rows for share in shares]
    taken = [math.floor(quota + 1e-9) for quota in exact]
    by_remainder = sorted(range(len(shares)), key=lambda i: -round(exact[i] - taken[i], 9))
    for i in by_remainder[: rows - sum(taken)]:
        taken[i] += 1
    return taken


def most_rows(sizes: Sequence[int], shares: Sequence[float]) -> int:
    """The largest mixture of these shares that takes no row twice."""
    return min(math.floor(size / share + 1e-9) for size, share in zip(sizes, shares, strict=True) if share)


def rows_to_take(
    sizes: Sequence[int],
    *,
    shares: Sequence[float] | None = None,
    temperature: float = 1.0,
    rows: int | None = None,
    repeat: bool = False,
    names: Sequence[str],
    where: str | None = None,
) -> list[int]:
    """The rows that each source of `sizes` gives to a mixture of `rows` rows, by `shares` or else by temperature.

    Without `rows`, there are as many as can be without taking one twice. Raises UserError at `where` for a source,
    by its name, that has too few rows, unless they may `repeat`; and for a mixture that leaves a source out.
    """
    of_each = shares_by_weight(shares) if shares is not None else shares_by_temperature(sizes, temperature)
    most = most_rows(sizes, of_each)
    taken = allocate(of_each, most if rows is None else rows)
    for name, size, wanted in zip(names, sizes, taken, strict=True):
        if not wanted:
            raise UserError(f"{name} would give no row to {sum(taken):,}", where=where, fix="Ask for more rows.")
        if wanted > size and not repeat:
            raise UserError(
                f"{name} has {size:,} rows, and {wanted:,} are asked of it",
                where=where,
                fix=f"At most {most:,} rows can be had without taking some twice; with `repeat` they are.",
            )
    return taken


def recipe_rows(sizes: Sequence[int], data: Data, names: Sequence[str], place: Callable[[str], str] = str) -> list[int]:
    """The rows that each training source of a recipe gives, from those that its `limit` lets it have.

    By its mixture where it has one, else by each one's `weight`, or all of them. Raises UserError as `rows_to_take`.
    """
    shares = [source.share for source in data.train if source.share is not None]
    if not shares and data.mix is None:
        return [
            size if source.weight is None else max(1, round(source.weight * size))
            for size, source in zip(sizes, data.train, strict=True)
        ]
    mix = data.mix
    return rows_to_take(
        sizes,
        shares=shares or None,
        temperature=(mix and mix.temperature) or 1.0,
        rows=mix.rows if mix else None,
        repeat=mix is not None and mix.repeat,
        names=names,
        where=place("data.mix" if mix else "data.train"),
    )


def draw(count: int, wanted: int, rng: np.random.RandomState) -> np.ndarray:
    """Row numbers below `count`, `wanted` of them, in order: each as often as any other, or once more, by chance."""
    copies, rest = divmod(wanted, count)
    return np.sort(np.concatenate([np.repeat(np.arange(count), copies), rng.permutation(count)[:rest]]))


def random_state(*of: object) -> np.random.RandomState:
    """Random numbers that depend on `of` alone. NumPy keeps this stream the same in all its versions."""
    digest = hashlib.sha256(" ".join(map(str, of)).encode()).digest()
    return np.random.RandomState(np.frombuffer(digest, dtype="<u4"))
