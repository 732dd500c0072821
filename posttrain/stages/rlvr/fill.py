"""Which groups a step is made of: those it was to have, but for problems that rest, and for groups that teach nothing.

Groups whose rewards are all equal have no gradient. In dynamic sampling (DAPO, arXiv 2503.14476, section 3.2) other
problems are drawn in their place; here for a bounded number of rounds, after which what is there is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from posttrain.stages.rlvr.problems import Look, Problems


@dataclass(frozen=True)
class Ask:
    """A problem to draw, by its index; `queue` is its place in the queue, if it came from there."""

    index: int
    queue: int | None = None


@dataclass(frozen=True)
class Filled:
    """A step's groups: the `final` one of each place, and all `looks`, in the order they were taken. `rested` counts
    the problems that were left out before anything was drawn, `replaced` the groups that were drawn anew."""

    final: list[Look]
    looks: list[Look]
    rested: int
    replaced: int


def fill(
    problems: Problems,
    step: int,
    indices: Sequence[int],
    draw: Callable[[Mapping[int, Ask]], Mapping[int, Look]],
    *,
    refills: int,
) -> Filled:
    """Draw the problems with these indices, each at its place, or others in their stead; `refills` is how often groups
    that teach nothing are drawn anew. No problem is drawn twice; where there is no other, the place stays as it is."""
    taken = set(indices)
    asked = {place: Ask(index) for place, index in enumerate(indices)}
    rested = {place for place, index in enumerate(indices) if problems.rests(index, step)}
    rested = _others(problems, step, rested, taken, asked)
    final: dict[int, Look] = {}
    looks: list[Look] = []
    first: list[Look] = []
    for left in range(refills, -1, -1):
        drawn = draw(asked)
        first = first or list(drawn.values())
        looks += drawn.values()
        final |= {place: look for place, look in drawn.items() if look.varied or place not in final}
        flat = {place for place, look in final.items() if not look.varied}
        asked = {}
        if not left or not _others(problems, step, flat, taken, asked):
            break
    kept = {id(look) for look in final.values()}
    return Filled(
        final=[final[place] for place in range(len(indices))],
        looks=[look if id(look) in kept else replace(look, trained=False) for look in looks],
        rested=len(rested),
        replaced=sum(final[place] is not look for place, look in enumerate(first)),
    )


def _others(problems: Problems, step: int, places: set[int], taken: set[int], asked: dict[int, Ask]) -> set[int]:
    """Ask for the queue's next problems at these places, as far as there are any; return the places that got one."""
    found = set()
    for place in sorted(places):
        if (other := problems.next(step, taken)) is not None:
            asked[place] = Ask(*other)
            found.add(place)
    return found
