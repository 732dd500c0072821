"""The constraints there are, by id, and one of them with its arguments. A new family is a module and one name here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

from posttrain.errors import did_you_mean
from posttrain.graders.constraints.constraint import Constraint
from posttrain.graders.grade import BadProblem, shortened

FAMILIES = ("ifeval", "iftrain", "ifbench")
_PROBE = "1"
"""A response that every check can be tried on at little cost, for what it says of its arguments."""


class Instruction(NamedTuple):
    """A constraint with its arguments: what a response is held to."""

    id: str
    kwargs: dict[str, Any]

    def followed(self, response: str) -> bool:
        """Return whether the response keeps the constraint; a blank response keeps none."""
        return bool(response.strip()) and constraints()[self.id].check(response, **self.kwargs)


@cache
def constraints() -> dict[str, Constraint]:
    """Return the constraints of all families by id."""
    families = [import_module(f"posttrain.graders.constraints.{name}").CONSTRAINTS for name in FAMILIES]
    return {name: constraint for family in families for name, constraint in family.items()}


def instruction(constraint_id: Any, kwargs: Any) -> Instruction:
    """Return the constraint of that id with its arguments; None is an argument that is not given.

    Raises BadProblem for an id that is unknown, for an argument that is missing or that the constraint does not
    have, and for one that it cannot work with.
    """
    constraint = constraints().get(constraint_id) if isinstance(constraint_id, str) else None
    if constraint is None:
        hint = did_you_mean(str(constraint_id), constraints())
        raise BadProblem(f"no constraint is called {shortened(repr(constraint_id))}.{hint}")
    if not isinstance(kwargs, Mapping | None):
        raise BadProblem(f"{constraint_id}: its kwargs are {shortened(repr(kwargs))}, not a mapping")
    given = {str(name): value for name, value in (kwargs or {}).items() if value is not None}
    names = (*constraint.required, *constraint.optional)
    if missing := [name for name in constraint.required if name not in given]:
        raise BadProblem(f"{constraint_id} needs {_listed(missing)} (given: {_listed(given)})")
    if unknown := [name for name in given if name not in names]:
        hint = did_you_mean(unknown[0], names)
        raise BadProblem(f"{constraint_id} has no {_listed(unknown)} (it has: {_listed(names)}).{hint}")
    try:
        constraint.check(_PROBE, **given)
    except BadProblem as error:
        raise BadProblem(f"{constraint_id}: {error}") from None
    return Instruction(constraint_id, given)


def instructions(ids: Any, kwargs: Any) -> list[Instruction]:
    """Return the constraints of two lists of one length, ids and arguments.

    Raises BadProblem when they are none, or as `instruction` does.
    """
    if not isinstance(ids, list) or not isinstance(kwargs, list) or not ids or len(ids) != len(kwargs):
        counts = [len(value) if isinstance(value, list) else type(value).__name__ for value in (ids, kwargs)]
        raise BadProblem(f"ids and kwargs are not two lists of one length, from 1: {counts[0]} and {counts[1]}")
    return [instruction(one, arguments) for one, arguments in zip(ids, kwargs, strict=True)]


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names)) or "nothing"
