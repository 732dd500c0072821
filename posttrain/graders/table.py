"""The graders there are. A new one is a module with its settings and a `make`, and one line here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from posttrain.errors import UserError, did_you_mean
from posttrain.graders.grade import BadProblem, Grader, GraderSettings, Role

GRADERS = {
    "number": "posttrain.graders.number:NumberSettings",
    "string": "posttrain.graders.string:StringSettings",
    "pattern": "posttrain.graders.pattern:PatternSettings",
    "choice": "posttrain.graders.choice:ChoiceSettings",
    "math": "posttrain.graders.math.grader:MathSettings",
    "instruction": "posttrain.graders.instruction:InstructionSettings",
    "python": "posttrain.graders.python:PythonSettings",
    "score_model": "posttrain.graders.score_model:ScoreModelSettings",
    "label_model": "posttrain.graders.label_model:LabelModelSettings",
    "verifier": "posttrain.graders.verifier:VerifierSettings",
    "length": "posttrain.graders.length:LengthSettings",
    "repetition": "posttrain.graders.repetition:RepetitionSettings",
    "json": "posttrain.graders.json:JsonSettings",
    "string_check": "posttrain.graders.string_check:StringCheckSettings",
    "text_similarity": "posttrain.graders.text_similarity:TextSimilaritySettings",
    "multi": "posttrain.graders.multi:MultiSettings",
    "code": "posttrain.graders.code:CodeSettings",
}


def _settings_class(place: str) -> type[GraderSettings]:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def _any_of(types: Iterable[str]) -> Any:
    classes = tuple(_settings_class(GRADERS[name]) for name in types)
    return Annotated[Union[classes], Field(discriminator="type")]  # noqa: UP007


if TYPE_CHECKING:
    AnyGrader = GraderSettings
else:
    AnyGrader = _any_of(GRADERS)
_settings_class(GRADERS["multi"]).model_rebuild(
    _types_namespace={"InnerGrader": _any_of(name for name in GRADERS if name != "multi")}
)


def settings_of(options: Mapping[str, Any]) -> GraderSettings:
    """Return the settings of a grader that is given as plain data, as ``{"type": "number"}``."""
    return _settings_class(GRADERS[options["type"]]).model_validate(options)


def build(settings: GraderSettings, base_dir: Path) -> Grader:
    """Return the grader that the settings describe; its file paths are relative to `base_dir`.

    It is made by the function `make` of the settings' own module. Raises UserError when something it needs is
    not there.
    """
    grader: Grader = import_module(type(settings).__module__).make(settings, base_dir)
    grader = replace(grader, role=settings.role)
    return _with_columns(grader, settings.columns) if settings.columns else grader


def build_all(graders: Sequence[GraderSettings], base_dir: Path) -> list[Grader]:
    """Return the graders of a recipe; raises UserError as `build` and `check_together` do."""
    built = [build(settings, base_dir) for settings in graders]
    check_together([(grader.name, grader.role) for grader in built])
    return built


def check_together(graders: Sequence[tuple[str, Role]]) -> None:
    """Raise UserError when two graders have one name, since their figures could not be told apart, or none scores."""
    if graders and all(role != "score" for _, role in graders):
        raise UserError("no grader scores", where="graders", fix="leave out `role:` of the one that decides")
    names = [name for name, _ in graders]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two graders are called '{name}'", where="graders", fix="give each a `name:`")


def _with_columns(grader: Grader, columns: Mapping[str, str]) -> Grader:
    """Return the grader reading its fields from the problem's own columns."""

    def renamed(problem: Mapping[str, Any]) -> dict[str, Any]:
        missing = next((column for column in columns.values() if column not in problem), None)
        if missing is not None:
            there = ", ".join(map(str, problem)) or "none"
            hint = did_you_mean(missing, map(str, problem))
            raise BadProblem(f"the problem has no field '{missing}' (fields: {there}).{hint}")
        return {**problem, **{field: problem[column] for field, column in columns.items()}}

    grade: Callable[..., Any] = grader.grade
    gold: Callable[..., Any] = grader.gold
    return replace(
        grader,
        grade=lambda completion, problem: grade(completion, renamed(problem)),
        gold=lambda problem: gold(renamed(problem)),
    )
