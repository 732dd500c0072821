"""Which grader checks the answers of problems: the most specific one that passes their gold answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.data.formats.problem import ANSWERS
from posttrain.data.records import Problem
from posttrain.errors import UserError
from posttrain.graders import build, check_problems
from posttrain.graders.table import settings_of

GRADED_FIELDS = (*ANSWERS, "instruction_id_list", "tests", "cases", "test_list", "test")
NEARLY_ALL = 0.95
"""A grader fits when it passes at least this share of the gold answers; the others are to be mended."""
_TRIED, _TRIED_RUN = 200, 20  # problems; of programs, which have to run
_SHORT = 60  # characters of an answer that can be asked for word by word


@dataclass(frozen=True)
class Trial:
    """A grader, as it stands in a recipe, on the gold answers of `tried` problems."""

    options: dict[str, Any]
    passed: int
    tried: int
    complaint: str

    @property
    def share(self) -> float:
        return self.passed / self.tried

    @property
    def fits(self) -> bool:
        return self.share >= NEARLY_ALL


def try_graders(problems: Sequence[Problem]) -> Trial | None:
    """The first grader that fits, set so that it passes most gold answers; where none fits, the one that passed most;
    None where there is nothing to check."""
    trials: list[Trial] = []
    for options in candidates(problems):
        fitting = [trial for trial in trials if trial.fits]
        if fitting and (fitting[0].share == 1 or options["type"] != fitting[0].options["type"]):
            break
        trial = try_grader(options, problems)
        trials += [trial] if trial else []
    fitting = [trial for trial in trials if trial.fits]
    return max(fitting or trials, key=lambda trial: trial.share, default=None)


def try_grader(options: Mapping[str, Any], problems: Sequence[Problem]) -> Trial | None:
    """The grader on the problems' gold answers; None where something that it needs is not installed."""
    tried = problems[: _TRIED_RUN if options["type"] == "code" else _TRIED]
    try:
        complaints = check_problems([build(settings_of(options), Path.cwd())], [problem.item for problem in tried])
    except UserError:
        return None
    wrong = [(problem.place, said) for problem, said in zip(tried, complaints, strict=True) if said]
    first = f"{wrong[0][0]}: {wrong[0][1]}" if wrong else ""
    return Trial(dict(options), len(tried) - len(wrong), len(tried), first)


def candidates(problems: Sequence[Problem]) -> Iterator[dict[str, Any]]:
    """Graders that the fields of the problems suggest, the most specific first."""
    if not problems:
        return
    fields = problems[0].fields
    if fields.get("instruction_id_list") is not None:
        yield {"type": "instruction"}
        return
    if any(fields.get(name) is not None for name in ("tests", "cases", "test_list")) or (
        fields.get("test") is not None and fields.get("entry_point") is not None
    ):
        yield {"type": "code"}
        return
    if fields.get("dataset") is not None and fields.get("ground_truth") is not None:
        yield {"type": "verifier"}
    answers = [problem.fields.get("answer") for problem in problems]
    if all(answer is None for answer in answers):
        return
    if _share(answers, lambda answer: isinstance(answer, dict) or str(answer).lstrip().startswith("{")):
        yield {"type": "json"}
    if isinstance(fields.get("choices"), list):
        yield {"type": "choice"}
        yield from ({"type": "choice", "answer_is": how} for how in ("index", "letter", "text"))
    elif _share(answers, lambda answer: bool(re.fullmatch(r"\(?[A-Z]\)?", str(answer).strip()))):
        yield {"type": "choice"}
    yield {"type": "number"}
    if _share(answers, lambda answer: bool(re.search(r"[\\^=+*/]|\d", str(answer))), of=0.5):
        yield {"type": "math"}
    if _share(answers, lambda answer: len(str(answer)) <= _SHORT and "\n" not in str(answer)):
        yield {
            "type": "string_check",
            "operation": "eq",
            "input": "{{ sample.output_text }}",
            "reference": "{{ item.answer }}",
        }


def _share(answers: Sequence[Any], fits: Any, of: float = NEARLY_ALL) -> bool:
    return sum(answer is not None and fits(answer) for answer in answers) >= of * len(answers)
