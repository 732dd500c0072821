"""What a grader is: one pure function from a completion and its problem to a grade.

The same object serves training (`rlvr`), evaluation, offline grading and checks of data. A grader never
raises on a bad completion; it refuses a bad problem with `BadProblem`; and a grader that itself failed (a
worker that crashed, a function that raised) says so in `Grade.error`, so that the failure is counted and left
out of the update instead of being taught to the model as a 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from posttrain.errors import did_you_mean

ErrorKind = Literal[
    "formula_parse_error",
    "invalid_variable_error",
    "python_grader_server_error",
    "python_grader_runtime_error",
    "model_grader_server_error",
    "model_grader_refusal_error",
    "model_grader_parse_error",
    "unresponsive_reward_error",
    "other_error",
]
"""Why a grader failed, by the names of OpenAI's grader API (``metadata.errors`` of a grader run)."""

Role = Literal["score", "gate", "log"]


class Part(NamedTuple):
    """The verdict of one part of a grade: one grader of several, one test, one constraint."""

    name: str
    score: float | None
    passed: bool
    note: str = ""
    error: str = ""


class Grade(NamedTuple):
    """The verdict on one completion."""

    score: float | None
    """A finite number, from 0 to 1 but for model graders and formulas with a range of their own; None only when
    `error` is set."""
    passed: bool
    note: str = ""
    """Why, in a few words, for people who read samples."""
    answer: str | None = None
    """The extracted answer in a normal form, for comparing samples; None if there is none."""
    error: str = ""
    """Why the grader failed, as ``kind: message`` with an ErrorKind. The completion is then counted and left out;
    it is never a 0."""
    parts: tuple[Part, ...] = ()


class BadProblem(ValueError):
    """A problem that cannot be graded at all: a field is missing, or its gold answer cannot be read."""


class GraderSettings(BaseModel):
    """What every grader can be told in a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    type: str = Field(description="Which grader.")
    name: str = Field("", description="Name in metrics and samples; the type when empty.")
    weight: float = Field(1.0, gt=0, description="Weight in the mean when there are several graders.")
    role: Role = Field(
        "score",
        description="score: a part of the mean. gate: pays nothing itself, and without its pass the whole is 0. "
        "log: shown apart, and neither paid nor needed.",
    )
    columns: dict[str, str] = Field(
        {}, description="Where the grader's fields are in the problem, as {answer: solution}."
    )

    @model_validator(mode="after")
    def _only_a_score_has_a_weight(self) -> GraderSettings:
        if self.role != "score" and self.weight != 1.0:
            raise ValueError(f"a grader with `role: {self.role}` is not paid: leave out `weight`, or set `role: score`")
        return self


@dataclass(frozen=True)
class Grader:
    """A grader ready for use.

    `gold` returns a completion that must pass, or None where none can be made, and raises BadProblem for a
    problem that cannot be graded. `parallel` is how many grades may and should be asked for at once. `parts` are the
    names of the parts that each of its grades has, where they are always the same. `ready` raises UserError when what
    it asks is not there, such as a judge; it comes after the problems were read. `caution` is what speaks against it
    as a reward, and empty where nothing is known to.
    """

    name: str
    weight: float
    grade: Callable[[str, Mapping[str, Any]], Grade]
    gold: Callable[[Mapping[str, Any]], str | None]
    parallel: int = 1
    role: Role = "score"
    parts: tuple[str, ...] = ()
    ready: Callable[[], object] = lambda: None
    caution: str = ""


def verdict(passed: bool, note: str = "", answer: str | None = None) -> Grade:
    """Return a grade of 1 or 0."""
    return Grade(1.0 if passed else 0.0, passed, note, answer)


def compared(answer: str, gold: str, passed: bool) -> Grade:
    """Return the grade of an answer that was found and compared with the gold one."""
    note = "" if passed else f"answer {shortened(answer)}, expected {shortened(gold)}"
    return verdict(passed, note, answer)


def failure(kind: ErrorKind, message: str) -> Grade:
    """Return the grade of a completion whose grader failed."""
    return Grade(None, False, error=f"{kind}: {message}")


def error_kind(error: str) -> str:
    """Return the kind of a grade's error, for counting."""
    return error.partition(":")[0]


def field(problem: Mapping[str, Any], name: str) -> Any:
    """Return the problem's field `name`; raises BadProblem, naming the fields there are, without it."""
    value = problem.get(name)
    if value is None:
        there = ", ".join(map(str, problem)) or "none"
        hint = did_you_mean(name, map(str, problem))
        raise BadProblem(f"the problem has no field '{name}' (fields: {there}).{hint}")
    return value


def shortened(text: str, limit: int = 80) -> str:
    """Return the text on one line of at most `limit` characters."""
    line = " ".join(text[: 4 * limit].split())
    return line if len(line) <= limit and len(text) <= 4 * limit else line[: limit - 1] + "…"
