"""Ways to ask the same problems, for a grader: what row 0 is measured with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from posttrain.advice.facts import Facts

_SHOTS = 4
_MOST_LABELS = 100  # that a prompt lists

_WORDED = {
    "number": "{prompt}\n\nThink step by step. End with a line of Answer: and the number.",
    "math": "{prompt}\n\nThink step by step. Put the final answer in \\boxed{}.",
    "choice": "{prompt}\n\nThink step by step. End with a line of Answer: and the letter.",
    "json": "{prompt}\n\nReply with JSON and nothing else.",
    "code": "{prompt}\n\nReply with the whole program in one ```python block.",
    "instruction": "{prompt}\n\nFollow every instruction to the letter.",
    "string_check": "{prompt}\n\nReply with the answer and nothing else.",
}


def variants(facts: Facts, grader: Mapping[str, Any], shown: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Entries of ``eval.prompts``: as it stands, worded for the grader, and with examples where there are some."""
    worded = _WORDED.get(grader["type"], "{prompt}\n\nThink step by step, then answer.")
    labels = sorted(facts.answers)
    if grader["type"] == "string_check" and 1 < len(labels) <= _MOST_LABELS:
        worded = f"{{prompt}}\n\nReply with one of these and nothing else: {', '.join(labels)}."
    found: list[dict[str, Any]] = [{"name": "plain"}, {"name": "worded", "template": worded}]
    if shown:
        shots = [{**shown[0], "limit": _SHOTS}]
        found.append({"name": f"{_SHOTS} shots", "template": worded, "shots": shots})
    return found
