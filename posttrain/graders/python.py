"""Grader `python`: a function of the user's own, in a file that is trusted, or in the sandbox."""

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

from pydantic import Field, field_validator, model_validator

from posttrain.errors import UserError, did_you_mean
from posttrain.graders.grade import Grade, Grader, GraderSettings, failure, shortened, verdict
from posttrain.graders.python_file import grader_file
from posttrain.graders.python_source import Raised, Source, parameters, sandboxed
from posttrain.graders.template import openai_sample
from posttrain.sandbox import WORKERS, Mode, SandboxError

_FILE_SECONDS, _SANDBOX_SECONDS = 60.0, 10.0
_KEYS = {"score", "passed", "note"}
_OPENAI_PARAMETERS = ["sample", "item"]


class PythonSettings(GraderSettings):
    """A function of yours: `function(completion, problem)`, or OpenAI's `grade(sample, item)`.

    A `path` is trusted and runs in a process of its own; a `source` is OpenAI's and runs in the sandbox
    (docs/sandbox.md).
    """

    type: Literal["python"]
    path: str = Field("", description="file.py:function, the file relative to the recipe. It is run: trust it.")
    source: str = Field(
        "", description="Or the text of OpenAI's python grader: `def grade(sample, item)`, any number as its score."
    )
    untrusted: bool = Field(False, description="Run the function of `path` in the sandbox too, its file alone.")
    timeout_seconds: float | None = Field(
        None, gt=0, le=3600, description="For one grade; absent: 10 in the sandbox, 60 for a file that is trusted."
    )
    memory_gb: float = Field(
        4.0,
        gt=0,
        description="A file that is trusted: what its process may take beside what it began with. At half of it, or a "
        "quarter of what the machine has left, it is replaced between two grades.",
    )
    sandbox: Mode = Field(
        "require",
        description="require: refuse to run where code cannot be isolated. auto: run it with limits alone there.",
    )
    image_tag: str = Field("", description="OpenAI's; the packages that are installed here are used instead.")
    pass_threshold: float = Field(
        1.0,
        allow_inf_nan=False,
        description="A score at least this high has passed, where the function does not say.",
    )

    @field_validator("path")
    @classmethod
    def _names_a_function(cls, path: str) -> str:
        if path and not re.fullmatch(r".+\.py:\w+", path):
            raise ValueError("must name a file and a function in it, as grader.py:grade")
        return path

    @model_validator(mode="after")
    def _one_function(self) -> PythonSettings:
        if bool(self.path) == bool(self.source):
            raise ValueError("give `path: grader.py:grade` or `source`, one of them")
        if self.path and not 0 <= self.pass_threshold <= 1:
            raise ValueError("pass_threshold must be from 0 to 1, as the scores of a `path` are")
        return self


def make(settings: PythonSettings, base_dir: Path) -> Grader:
    """Return the grader; its function gets the whole completion and the whole problem.

    The function returns a score, true or false, or {score, passed, note}. An exception, or a value that is none
    of these, is a grader error. Raises UserError when there is no such function, or it cannot be run.
    """
    name = settings.name or settings.type
    if settings.source or settings.untrusted:
        return Grader(name, settings.weight, _untrusted(settings, base_dir), lambda problem: None, parallel=WORKERS)
    file, _, function_name = settings.path.rpartition(":")
    path = base_dir / file
    written = path.stat().st_mtime_ns if path.is_file() else 0
    function = grader_file(path, function_name, settings.pass_threshold, written)
    function.start()
    seconds = settings.timeout_seconds or _FILE_SECONDS
    memory_bytes = int(settings.memory_gb * 1e9)

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        return function.grade(completion, problem, seconds, memory_bytes)

    return Grader(name, settings.weight, grade, lambda problem: None)


def trusted(
    function: Callable[[Any, dict[str, Any]], Any], path: Path, pass_threshold: float
) -> Callable[[str, Mapping[str, Any]], Grade]:
    """Return what grades with a function of the user's file, in this process."""
    # OpenAI's graders are told apart by the names of their parameters.
    by_sample = list(inspect.signature(function).parameters)[:2] == _OPENAI_PARAMETERS

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        sample = openai_sample(completion) if by_sample else completion
        if sample is None:
            return verdict(False, "thinking never ended")
        try:
            return read_result(function(sample, dict(problem)), pass_threshold)
        except (Exception, SystemExit) as error:
            message = f"{type(error).__name__}: {shortened(str(error))} ({_place(error, path)})"
            return failure("python_grader_runtime_error", message)

    return grade


def _untrusted(settings: PythonSettings, base_dir: Path) -> Callable[[str, Mapping[str, Any]], Grade]:
    """Return what grades with the function in the sandbox."""
    if settings.source:
        source, limit = Source(settings.source, "source", "grade"), math.inf
    else:
        file, _, function_name = settings.path.rpartition(":")
        source, limit = Source(_read(base_dir / file), str(base_dir / file), function_name), 1.0
    by_sample = parameters(source)[:2] == _OPENAI_PARAMETERS or bool(settings.source)
    function = sandboxed(source, settings.sandbox, settings.timeout_seconds or _SANDBOX_SECONDS)

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        sample = openai_sample(completion) if by_sample else completion
        if sample is None:
            return verdict(False, "thinking never ended")
        try:
            return read_result(function([sample, dict(problem)]), settings.pass_threshold, limit)
        except Raised as error:
            return failure("python_grader_runtime_error", str(error))
        except SandboxError as error:
            return failure("python_grader_server_error", str(error))

    return grade


def load_function(path: Path, name: str) -> Callable[[Any, dict[str, Any]], Any]:
    """Run the file and return its function; raises UserError when there is none that takes two arguments."""
    _check_there(path)
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


def read_result(result: Any, pass_threshold: float, limit: float = 1.0) -> Grade:
    """Return the grade that the user's value means; a value that means none is a grader error.

    A score is from 0 to `limit`; without a limit (infinity) it is any finite number.
    """
    fields = result if isinstance(result, dict) else {"score": result}
    if unknown := set(fields) - _KEYS:
        message = f"returned the unknown key {min(map(str, unknown))!r}, beside {', '.join(sorted(_KEYS))}"
        return failure("python_grader_runtime_error", message)
    score = _score(fields.get("score"), limit)
    if score is None:
        wanted = "a number from 0 to 1" if limit == 1.0 else "a finite number"
        message = f"returned {shortened(repr(result))}: the score must be {wanted}"
        return failure("python_grader_runtime_error", message)
    passed = fields.get("passed")
    passed = score >= pass_threshold if passed is None else bool(passed)
    return Grade(score, passed, str(fields.get("note") or ""))


def _check_there(path: Path) -> None:
    if not path.is_file():
        files = [file.name for file in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise UserError(f"no such grader file.{did_you_mean(path.name, files)}", where=str(path))


def _read(path: Path) -> str:
    _check_there(path)
    return path.read_text(encoding="utf-8")


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


def _score(value: Any, limit: float) -> float | None:
    """Return a number, or a scalar of numpy or torch, as a float; None unless it is finite and within the limit."""
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, numbers.Real):
        return None
    score = float(value)
    return score if math.isfinite(score) and (limit == math.inf or 0.0 <= score <= limit) else None
