"""Grader `verifier`: AI2's rows, in which `dataset` names the verifier and `ground_truth` is what it compares with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from posttrain.graders import ai2
from posttrain.graders.combine import check_problem, combined
from posttrain.graders.grade import BadProblem, Grade, Grader, GraderSettings, field

PARALLEL = max(1, min(4, os.cpu_count() or 1))
"""Grades at once: formulas and programs are compared in processes of their own."""


class VerifierSettings(GraderSettings):
    """What the row's `dataset` asks for, compared with its `ground_truth`: AI2's RLVR rows as they are."""

    type: Literal["verifier"]
    remap: dict[str, str] = Field(
        {}, description="Other names of verifiers in the rows, as {my_sums: gsm8k} (AI2's remap_verifier)."
    )


def make(settings: VerifierSettings, base_dir: Path) -> Grader:
    """Return the grader; it reads `dataset` and `ground_truth`: a text each, or lists of equal length.

    The score of several verifiers is their mean, where AI2 has their sum times 10; all must pass. Its graders are
    built when a row first asks for one, so a missing extra is a UserError then.
    """
    from posttrain.graders.table import build, settings_of

    remap = {other.lower(): name for other, name in settings.remap.items()}
    made: dict[str, Any] = {}

    def checks(problem: Mapping[str, Any]) -> Iterator[tuple[Grader, dict[str, Any]]]:
        for name, truth in verifiers_of(problem):
            name = remap.get(name, name)
            if name == "ifeval" and ai2.names_a_function(truth):
                name = ai2.FUNCTION  # Tülu 3's mixtures call both kinds of rows ifeval
            if name not in made:
                made[name] = ai2.grader_of(name, lambda options: build(settings_of(options), base_dir))
            grader, fields = made[name]
            yield grader, fields(truth)

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        asked = list(checks(problem))
        return combined([grader for grader, _ in asked], [g.grade(completion, fields) for g, fields in asked])

    def gold(problem: Mapping[str, Any]) -> str | None:
        asked = list(checks(problem))
        if len(asked) == 1:
            [(grader, fields)] = asked
            return grader.gold(fields)
        for grader, fields in asked:  # no one answer need satisfy them all, but each must have one
            check_problem([grader], fields)
        return None

    return Grader(settings.name or settings.type, settings.weight, grade, gold, parallel=PARALLEL)


def verifiers_of(problem: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the row's verifiers, their names in lower case, each with its ground truth.

    Raises BadProblem when there are none, or not as many as ground truths.
    """
    names, truths = field(problem, "dataset"), field(problem, "ground_truth")
    if isinstance(names, str):
        names, truths = [names], [truths]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise BadProblem("`dataset` must be the name of a verifier, or a list of names")
    if not isinstance(truths, list) or len(names) != len(truths):
        count = len(truths) if isinstance(truths, list) else "no list of"
        raise BadProblem(f"`dataset` names {len(names)} verifiers, and there are {count} ground truths")
    return [(name.lower(), truth) for name, truth in zip(names, truths, strict=True)]
