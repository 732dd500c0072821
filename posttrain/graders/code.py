"""Grader `code`: the completion's program passes the problem's tests, in a sandbox that it can neither leave nor fool.

The program answers calls in one process and its tests run in another, so it never sees a test or an expected value,
and nothing that it does to itself (its exit, its output, objects that equal everything) can be a verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from posttrain.graders.answers import final_text
from posttrain.graders.code_answer import MAX_CHARACTERS, program_text, programs
from posttrain.graders.code_problem import Case, Tests, gold_program, read_problem
from posttrain.graders.environment import package_directories
from posttrain.graders.grade import Grade, Grader, GraderSettings, Part, failure, shortened, verdict
from posttrain.sandbox import (
    WORKERS,
    Configuration,
    Ended,
    Limits,
    Mode,
    Output,
    SandboxError,
    Zygote,
    lent,
    required,
    run_script,
    run_tests,
)
from posttrain.sandbox.inside.texts import ENDED

MAX_PARTS = 100


class CodeSettings(GraderSettings):
    """The program in the completion passes the problem's tests. It runs in the sandbox (docs/sandbox.md)."""

    type: Literal["code"]
    score: Literal["all_tests", "pass_rate"] = Field(
        "all_tests", description="all_tests: 1 if every test passes, else 0. pass_rate: the share that passes."
    )
    timeout_seconds: float = Field(
        10.0, gt=0, le=600, description="For all tests of one completion together; what has not run by then has failed."
    )
    memory_mb: int = Field(1024, ge=64, description="Memory of the program, beside Python's own.")
    packages: bool = Field(
        False, description="Programs may import the packages installed here, not only the standard library."
    )
    sandbox: Mode = Field(
        "require",
        description="require: refuse to run where programs cannot be isolated. auto: run them with limits alone there.",
    )


def make(settings: CodeSettings, base_dir: Path) -> Grader:
    """Return the grader; raises UserError where `sandbox: require` cannot be had."""
    level = required(settings.sandbox)
    packages = package_directories() if settings.packages else ()
    configuration = Configuration(level.isolation, packages)
    limits = Limits(settings.timeout_seconds, settings.memory_mb << 20)

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        task = read_problem(problem)
        text = final_text(completion)
        if text is None:
            return verdict(False, "thinking never ended")
        code = program_text(text)
        if not code.strip() or len(code) > MAX_CHARACTERS:
            return verdict(False, "the program is too long" if code.strip() else "no program")
        try:
            parts = _in_sandbox(configuration, lambda zygote: verdicts(zygote, code, task, limits))
        except SandboxError as error:
            return failure("python_grader_server_error", shortened(str(error), 200))
        return _graded(parts, settings.score)

    def gold(problem: Mapping[str, Any]) -> str | None:
        read_problem(problem)
        return gold_program(problem)

    return Grader(settings.name or settings.type, settings.weight, grade, gold, parallel=WORKERS)


def _in_sandbox(configuration: Configuration, run: Callable[[Zygote], Sequence[Part]]) -> Sequence[Part]:
    """Return what `run` makes of a zygote. A sandbox that fails, as when memory is short, is tried once more."""
    try:
        with lent(configuration) as zygote:
            return run(zygote)
    except SandboxError:
        with lent(configuration) as zygote:
            return run(zygote)


def verdicts(zygote: Zygote, code: str, task: Tests | list[Case], limits: Limits) -> Sequence[Part]:
    """Return a verdict on each test of a program; raises SandboxError."""
    if isinstance(task, Tests):
        return _of_tests(zygote, code, task, limits)
    return _of_cases(zygote, code, task, limits)


def _of_cases(zygote: Zygote, code: str, cases: Sequence[Case], limits: Limits) -> Sequence[Part]:
    """Return a verdict on each case: the program ended by itself, without an error, and printed what it should."""
    left = limits.seconds
    notes = []
    for case in cases:
        if left <= 0:
            notes.append("not run: timed out")
            continue
        output = run_script(zygote, code, case.input, limits._replace(seconds=left))
        left = 0.0 if output.ended.why == "timed out" else left - output.ended.seconds[0]
        notes.append(_case_note(output, case))
    return [_part(f"case {number}", note) for number, note in enumerate(notes, 1)]


def _case_note(output: Output, case: Case) -> str:
    if output.ended.why != "exited":
        return output.ended.why
    status = output.ended.statuses[0]
    if status != 0:
        last = output.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        return shortened(last, 200) or f"ended with status {status}"
    printed = output.stdout.decode("utf-8", "replace")
    return "" if _lines(printed) == _lines(case.output) else f"printed {shortened(printed)!r}"


def _lines(text: str) -> list[str]:
    """Return the lines of an output without the white space that ends them, and ends it."""
    return [line.rstrip() for line in text.rstrip().splitlines()]


def _of_tests(zygote: Zygote, code: str, tests: Tests, limits: Limits) -> Sequence[Part]:
    """Return a verdict on each assert that was reached, or should have been."""
    job = {
        "programs": programs(code, tests.stub, tests.entry_point),
        "helpers": tests.stub,
        "tests": tests.texts,
        "entry_point": tests.entry_point,
    }
    tested = run_tests(zygote, job, limits)
    how = _how_the_program_ended(tested.ended)
    done = any("done" in event for event in tested.events)
    reached: dict[int, str] = {}
    raised: list[tuple[int, str]] = []
    because = "" if done else how
    for event in tested.events:
        note = how if event.get("note") == ENDED else str(event.get("note") or "false")
        if "program" in event:
            because = note
        elif "test" in event:
            raised.append((event["test"], note))
        elif "assert" in event:
            reached[event["assert"]] = "" if event["passed"] else note
    because = because or (raised[0][1] if raised else "")
    if not tests.names:  # every assert is within a `try`: passed is what ran to its end
        return [_part("tests", because)]
    # Not reached, although nothing went wrong, is an assert in a branch that was not taken.
    because = because or ("" if reached else "no assert was reached")
    notes = {number: reached.get(number, because) for number in range(len(tests.names))}
    parts = [_part(tests.names[number], note) for number, note in notes.items() if number in reached or note]
    if all(part.passed for part in parts):
        # An assert in a loop has passed before something went wrong, and the loop did not come to its own end.
        parts += [_part(f"test {number + 1}", note) for number, note in raised]
        parts += [] if done else [_part("tests", how)]
    return parts


def _how_the_program_ended(ended: Ended) -> str:
    if ended.why != "exited":
        return ended.why
    status = ended.statuses[1]
    return f"the program ended with status {status}" if status >= 0 else f"the program was killed (signal {-status})"


def _part(name: str, note: str) -> Part:
    return Part(shortened(name), float(not note), not note, note)


def _graded(parts: Sequence[Part], score: str) -> Grade:
    passed = sum(part.passed for part in parts)
    everything = bool(parts) and passed == len(parts)
    note = ""
    if not everything:
        first = next((part for part in parts if not part.passed), None)
        note = f"passed {passed} of {len(parts)}" + (f"; {first.name}: {first.note}" if first else "")
    value = passed / len(parts) if score == "pass_rate" and parts else float(everything)
    return Grade(value, everything, note, parts=tuple(parts[:MAX_PARTS]))
