"""The line before a model loads: what the run will take of what there is, and what to change if it does not fit."""

from __future__ import annotations

import os

from posttrain.errors import UserError
from posttrain.memory.device import this_device
from posttrain.memory.forecast import Forecast, fits, forecast
from posttrain.memory.remedies import remedies
from posttrain.memory.report import advice, gigabytes, summary
from posttrain.memory.work import Longest, ranks_of
from posttrain.model.resolve import Parent
from posttrain.recipe.schema import Recipe
from posttrain.stages.terminal import say


def say_memory(recipe: Recipe, parent: Parent, longest: Longest) -> Forecast | None:
    """Say how much memory the run will take, and return what is foreseen, in the first rank. Nothing is loaded and no
    random number drawn.

    Raises UserError when not even the weights fit. A model that cannot be rehearsed is no reason not to start.
    """
    if os.environ.get("RANK", "0") != "0":
        return None
    device = this_device(ranks_of(recipe)[1])
    try:
        found = forecast(recipe, parent, longest, on_gpu=device.is_gpu)
        lines = [summary(found, device)]
        if not fits(found.estimate, device):
            lines += advice(remedies(found, parent, longest, device))
    except Exception as error:  # whatever a strange model raises: it is a forecast, and the run goes on without it
        say(f"memory: not foreseen ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})")
        return None
    if found.estimate.weights > device.free:
        raise UserError(
            f"the weights alone take {gigabytes(found.estimate.weights)} GB, and {gigabytes(device.free)} GB are free",
            where="model.path",
            fix="\n".join(line.strip() for line in lines[1:]),
        )
    for line in lines:
        say(line)
    return found
