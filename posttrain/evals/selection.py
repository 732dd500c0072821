"""Training rows out of a problem's own graded completions: rejection sampling, on-policy pairs, labels.

A completion that was cut off, or has no verdict, is never an example of anything.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from posttrain.evals.summary import Graded


class Attempt(NamedTuple):
    """One distinct completion of a problem with its score and whether it passed."""

    text: str
    tokens: int
    score: float
    passed: bool


def imitation_rows(row: Graded, best: int) -> list[dict[str, Any]]:
    """Return up to `best` chat rows for sft: the distinct completions that passed, best score first, then shortest."""
    right = [attempt for attempt in attempts_of(row) if attempt.passed]
    right.sort(key=lambda attempt: (-attempt.score, attempt.tokens))
    return [
        {"messages": [*row.problem.prompt, _turn(attempt)]} | _tools(row) for attempt in right[:best] if attempt.text
    ]


def preference_rows(row: Graded, best: int) -> list[dict[str, Any]]:
    """Return up to `best` pairs for dpo, each a completion that passed over one that did not, no completion twice.

    Best-scored right ones come first. Each is paired with the wrong one nearest to it in length, since pairs that
    differ in length teach length (Park et al. 2024, arXiv 2403.19159).
    """
    attempts = attempts_of(row)
    right = sorted((a for a in attempts if a.passed and a.text), key=lambda a: (-a.score, a.tokens))
    wrong = [a for a in attempts if not a.passed]
    pairs = []
    for chosen in right[:best]:
        if not wrong:
            break
        rejected = min(wrong, key=lambda a: abs(a.tokens - chosen.tokens))
        wrong.remove(rejected)
        pairs.append(
            {"prompt": row.problem.prompt, "chosen": [_turn(chosen)], "rejected": [_turn(rejected)]} | _tools(row)
        )
    return pairs


def feedback_rows(row: Graded, best: int) -> list[dict[str, Any]]:
    """Return rows for kto: up to `best` distinct completions that passed, and as many that did not."""
    attempts = attempts_of(row)
    kept = [a for a in attempts if a.passed and a.text][:best] + [a for a in attempts if not a.passed][:best]
    return [
        {"prompt": row.problem.prompt, "completion": [_turn(attempt)], "label": attempt.passed} | _tools(row)
        for attempt in kept
    ]


def attempts_of(row: Graded) -> list[Attempt]:
    """Return the distinct whole completions that have a verdict, in the order they were drawn."""
    found: dict[str, Attempt] = {}
    for completion, grade in zip(row.completions, row.grades, strict=True):
        if grade.score is not None and not completion.truncated:
            attempt = Attempt(completion.text, completion.tokens, grade.score, grade.passed)
            found.setdefault(completion.text, attempt)
    return list(found.values())


def _turn(attempt: Attempt) -> dict[str, str]:
    return {"role": "assistant", "content": attempt.text}


def _tools(row: Graded) -> dict[str, Any]:
    return {"tools": row.problem.tools} if row.problem.tools else {}
