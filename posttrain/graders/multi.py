"""Grader `multi`: OpenAI's. The scores of several graders in one formula."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import Semaphore
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationInfo, field_validator

from posttrain.graders.combine import check_problem
from posttrain.graders.formula import FUNCTIONS, NAME, FormulaError, parse
from posttrain.graders.grade import BadProblem, Grade, Grader, GraderSettings, Part, failure

if TYPE_CHECKING:
    InnerGrader = GraderSettings  # any grader but `multi`: table.py completes the settings with their union


def _variable(name: str) -> str:
    if not NAME.fullmatch(name) or name in FUNCTIONS:
        why = "that is a function of formulas" if name in FUNCTIONS else "take letters, digits and _"
        raise ValueError(f"{name!r} cannot be a variable of the formula: {why}")
    return name


def _shape(graders: Any) -> str:
    """Return which of the three ways to write `graders` this is; by it an error is about that way alone."""
    if isinstance(graders, list):
        return "a list"
    return "one grader" if isinstance(graders, dict) and isinstance(graders.get("type"), str) else "by variable"


class MultiSettings(GraderSettings):
    """OpenAI's multi grader: several graders, and a formula over their scores."""

    type: Literal["multi"]
    graders: Annotated[
        Annotated[dict[Annotated[str, AfterValidator(_variable)], InnerGrader], Tag("by variable")]
        | Annotated[list[InnerGrader], Tag("a list")]
        | Annotated[InnerGrader, Tag("one grader")],
        Discriminator(_shape),
    ] = Field(
        description="The graders by their variables in the formula, as {clause: {type: …}}; or a list of them, or one, "
        "whose `name` is then the variable. Any but multi."
    )
    calculate_output: str = Field(
        description="The score, a formula over the variables: + - * / ^, parentheses, min max abs floor ceil exp sqrt "
        "log. 0.5 * clause + 0.5 * text"
    )
    pass_threshold: float | None = Field(
        None,
        allow_inf_nan=False,
        description="A score at least this high has passed; absent: passed when every grader has.",
    )

    @field_validator("graders")
    @classmethod
    def _are_variables(cls, graders: Any) -> Any:
        if not graders:
            raise ValueError("a multi grader needs at least one grader")
        if not isinstance(graders, dict):
            names = [_variable(grader.name) for grader in (graders if isinstance(graders, list) else [graders])]
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ValueError(f"two graders are called '{twice}', and the name is the variable of the formula")
        for name, grader in _by_variable(graders).items():
            for key, alone in (("weight", 1.0), ("role", "score")):
                if key in grader.model_fields_set and getattr(grader, key) != alone:
                    raise ValueError(f"{name}.{key} has no meaning here: calculate_output says what {name} is worth")
        return graders

    @field_validator("calculate_output")
    @classmethod
    def _is_a_formula(cls, formula: str, info: ValidationInfo) -> str:
        if "graders" in info.data:  # else they have an error of their own
            parse(formula, _by_variable(info.data["graders"]))
        return formula


def make(settings: MultiSettings, base_dir: Path) -> Grader:
    """Return the grader, made of the graders inside it; raises UserError when one of them lacks something."""
    from posttrain.graders.table import build

    inner = {
        variable: replace(build(grader, base_dir), name=variable)
        for variable, grader in _by_variable(settings.graders).items()
    }
    formula = parse(settings.calculate_output, inner)
    parallel = max(grader.parallel for grader in inner.values())
    slots = {variable: Semaphore(grader.parallel) for variable, grader in inner.items()}

    def graded(variable: str, completion: str, problem: Mapping[str, Any]) -> Grade:
        with slots[variable]:  # a grader that answers one at a time stays so beside one that answers many
            return inner[variable].grade(completion, problem)

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        grades = {variable: graded(variable, completion, problem) for variable in inner}
        parts = tuple(Part(name, g.score, g.passed, g.note, g.error) for name, g in grades.items())
        for name, part in grades.items():
            if part.error:
                kind, _, message = part.error.partition(": ")
                return Grade(None, False, error=f"{kind}: {name}: {message}", parts=parts)
        try:
            score = formula({name: part.score or 0.0 for name, part in grades.items()})
        except FormulaError as error:
            return failure("formula_parse_error", str(error))._replace(parts=parts)
        everyone = all(part.passed for part in grades.values())
        least = settings.pass_threshold
        return Grade(
            score=score,
            passed=everyone if least is None else score >= least or math.isclose(score, least),
            note="; ".join(f"{name}: {part.note}" for name, part in grades.items() if part.note),
            answer=next((part.answer for part in grades.values() if part.answer is not None), None),
            parts=parts,
        )

    def gold(problem: Mapping[str, Any]) -> str | None:
        for grader in inner.values():
            try:
                check_problem([grader], problem)
            except BadProblem as error:
                raise BadProblem(f"{grader.name}: {error}") from None
        golds = {grader.gold(problem) for grader in inner.values()}
        return golds.pop() if len(golds) == 1 else None

    def ready() -> None:
        for grader in inner.values():
            grader.ready()

    cautions = [f"{grader.name}: {grader.caution}" for grader in inner.values() if grader.caution]
    name, caution = settings.name or settings.type, "; ".join(cautions)
    return Grader(name, settings.weight, grade, gold, parallel, parts=tuple(inner), ready=ready, caution=caution)


def _by_variable(graders: Any) -> dict[str, GraderSettings]:
    if isinstance(graders, dict):
        return graders
    return {grader.name: grader for grader in (graders if isinstance(graders, list) else [graders])}
