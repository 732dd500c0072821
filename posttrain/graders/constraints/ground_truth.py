"""Constraints as AI2's training data writes them: one text, a Python literal."""

from __future__ import annotations

import ast
import json
from typing import Any

from posttrain.graders.constraints.table import Instruction, instructions
from posttrain.graders.grade import BadProblem, shortened


def constraints_of_ground_truth(text: str) -> list[Instruction]:
    """Return the constraints of a row's `ground_truth`: ``[{'instruction_id': [...], 'kwargs': [...]}]``.

    The literal is read without running it; its element may itself be a text of JSON. Raises BadProblem for any
    other text, and as `instructions` does for what it says.
    """
    try:
        value: Any = ast.literal_eval(text)
        (found,) = value if isinstance(value, list) else [value]
        found = json.loads(found) if isinstance(found, str) else found
        ids, kwargs = found["instruction_id"], found["kwargs"]
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise BadProblem(
            f"ground_truth {shortened(str(text))!r} is not [{{'instruction_id': [...], 'kwargs': [...]}}]: "
            f"{type(error).__name__}: {error}"
        ) from None
    return instructions(ids, kwargs)
