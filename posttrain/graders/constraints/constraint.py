"""What an instruction constraint is: a named check of a response, and the arguments that it cannot do without."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Constraint(NamedTuple):
    """`check(response, **kwargs)` says whether the response keeps the constraint.

    It never raises on a response, and raises BadProblem for arguments that it cannot work with (a wrong type, a
    relation that it does not know). An argument that is None counts as not given; a constraint whose `required`
    ones are not all given, or that is given an argument in neither list, is refused before anything is checked.
    """

    check: Callable[..., bool]
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
