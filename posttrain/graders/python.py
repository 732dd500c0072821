"""Grader `python`: a function of the user's own, in a file beside the recipe. It is trusted and runs here."""

from __future__ import annotations

import importlib.util
import inspect
import math
import numbers
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from pydantic import Field, field_validator

from posttrain.errors import UserError, did_you_mean
from posttrain.graders.grade import Grade, Grader, GraderSettings, failure, shortened, verdict
from posttrain.graders.template import openai_sample

_KEYS = {"score", "passed", "note"}


class PythonSettings(GraderSettings):
    """A function of yours: `function(completion, problem)`, or OpenAI's `grade(sample, item)`."""

    type: Literal["python"]
    path: str = Field(description="file.py:function, the file relative to the recipe. It is run: trust it.")
    pass_threshold: float = Field(
        1.0, ge=0, le=1, description="A score at least this high has passed, where the function does not say."
    )

    @field_validator("path")
    @classmethod
    def _names_a_function(cls, path: str) -> str:
        if not re.fullmatch(r".+\.py:\w+", path):
            raise ValueError("must name a file and a function in it, as grader.py:grade")
        return path


def make(settings: PythonSettings, base_dir: Path) -> Grader:
    """Return the grader; its function gets the whole completion and the whole problem.

    The function returns a score from 0 to 1, true or false, or {score, passed, note}. An exception, or a
    value that is none of these, is a grader error. Raises UserError when the file has no such function.
    """
    file, _, name = settings.path.rpartition(":")
    path = base_dir / file
    function = load_function(path, name)
    # OpenAI's graders are told apart by the names of their parameters.
    by_sample = list(inspect.signature(function).parameters)[:2] == ["sample", "item"]

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        try:
            sample = openai_sample(completion) if by_sample else completion
            if sample is None:
                return verdict(False, "thinking never ended")
            result = function(sample, dict(problem))
            return read_result(result, settings.pass_threshold)
        except Exception as error:
            message = f"{type(error).__name__}: {shortened(str(error))} ({_place(error, path)})"
            return failure("python_grader_runtime_error", message)

    return Grader(settings.name or settings.type, settings.weight, grade, lambda problem: None)


def load_function(path: Path, name: str) -> Callable[[Any, dict[str, Any]], Any]:
    """Run the file and return its function; raises UserError when there is none that takes two arguments."""
    if not path.is_file():
        files = [file.name for file in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise UserError(f"no such grader file.{did_you_mean(path.name, files)}", where=str(path))
    module = _run(path)
    function = getattr(module, name, None)
    if not callable(function):
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        there = f" It has: {', '.join(functions)}." if functions else ""
        raise UserError(f"no function '{name}'.{did_you_mean(name, functions)}{there}", where=str(path))
    try:
        inspect.signature(function).bind(None, None)
    except TypeError as error:
        message = f"'{name}' cannot be called with two arguments: {error}"
        fix = f"write `def {name}(completion: str, problem: dict)`"
        raise UserError(message, where=str(path), fix=fix) from None
    return function


def read_result(result: Any, pass_threshold: float) -> Grade:
    """Return the grade that the user's value means; a value that means none is a grader error."""
    fields = result if isinstance(result, dict) else {"score": result}
    if unknown := set(fields) - _KEYS:
        message = f"returned the unknown key {min(map(str, unknown))!r}, beside {', '.join(sorted(_KEYS))}"
        return failure("python_grader_runtime_error", message)
    score = _score(fields.get("score"))
    if score is None:
        message = f"returned {shortened(repr(result))}: the score must be a number from 0 to 1"
        return failure("python_grader_runtime_error", message)
    passed = fields.get("passed")
    passed = score >= pass_threshold if passed is None else bool(passed)
    return Grade(score, passed, str(fields.get("note") or ""))


def _run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"posttrain_grader_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # so that it can import its neighbours
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        message = f"the grader file cannot be run: {type(error).__name__}: {error}"
        raise UserError(message, where=_place(error, path)) from error
    return module


def _place(error: BaseException, path: Path) -> str:
    """Return ``grader.py:12``, the last line of the user's file that the error passed through."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)


def _score(value: Any) -> float | None:
    """Return a number, or a scalar of numpy or torch, as a float; None unless it is from 0 to 1."""
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, numbers.Real):
        return None
    score = float(value)
    return score if math.isfinite(score) and 0.0 <= score <= 1.0 else None
