"""Completions that outlive the process: one JSON object each in a file, read back by a look that goes on."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from posttrain.data.identity import content_key
from posttrain.data.records import Problem
from posttrain.engines.sampling import Completion
from posttrain.evals.held_out import grade_group
from posttrain.evals.summary import Graded, check_errors
from posttrain.graders.grade import Grade, Grader, Part
from posttrain.masking import masked, masked_values

Draw = Callable[[Sequence[int]], Iterator[tuple[int, Graded]]]
"""Samples and grades the problems with these indices, and yields (index, problem with its completions and grades)."""


def look_again(
    path: Path,
    problems: Sequence[Problem],
    samples: int,
    graders: Sequence[Grader],
    graded_by: str,
    draw: Draw,
    on_done: Callable[[int], None],
    *,
    max_errors: float = 1.0,
) -> list[Graded]:
    """Return every problem with `samples` completions and their grades, in the problems' order.

    What `path` already holds is not drawn again. Grades there are kept if they have a verdict and were given by the
    same graders (`graded_by`, a digest of theirs); else the kept text is graded anew. Each problem is written as
    soon as it is graded; at the end the file is written in order, with what it held of other problems behind it.
    Raises UserError when more than the share `max_errors` of the completions is left without a verdict.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = read_back(path)
    found: dict[int, Graded] = {}
    with path.open("a", encoding="utf-8") as file:

        def keep(index: int, row: Graded) -> None:
            found[index] = row
            file.writelines(_lines(row, graded_by))
            file.flush()
            on_done(samples)

        file.write("\n")  # ends a line that a crash cut off
        for index, problem in enumerate(problems):
            rows = kept.get(problem_key(problem), {})
            if sorted(rows) != list(range(samples)) or any(rows[i]["engine_error"] for i in rows):
                continue
            drawn = [rows[i] for i in range(samples)]
            if any(row["error"] or row["graded_by"] != graded_by for row in drawn):
                keep(index, grade_group(problem, _completions(drawn), graders))
            else:
                found[index] = as_graded(problem, drawn)
                on_done(samples)
            if any(grade.error for grade in found[index].grades):
                check_errors(list(found.values()), max_errors)
        for index, row in draw([index for index in range(len(problems)) if index not in found]):
            keep(index, row)
    ordered = [found[index] for index in range(len(problems))]
    check_errors(ordered, max_errors)
    asked = {problem_key(problem) for problem in problems}
    others = [row for key, rows in kept.items() if key not in asked for row in rows.values()]
    _write_lines(path, [line for row in ordered for line in _lines(row, graded_by)] + [_line(row) for row in others])
    return ordered


def problem_key(problem: Problem) -> str:
    """Return what tells one problem from another in a file of samples."""
    return content_key(problem).hex()[:16]


def read_back(path: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """Return the rows of a file of samples by problem and number of sample; a line cut off by a crash is left out."""
    rows: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    # Not splitlines(): a completion may hold U+2028, which JSON leaves as it is.
    for line in path.read_text(encoding="utf-8").split("\n") if path.exists() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows[row["key"]][row["sample"]] = row
    return rows


def write_samples(path: Path, graded: Sequence[Graded], graded_by: str = "") -> None:
    """Write the file anew, whole or not at all, one JSON object a completion: the problem, the text and its grade."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_lines(path, [line for row in graded for line in _lines(row, graded_by)])


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    aside = path.with_name(path.name + ".partial")
    with aside.open("w", encoding="utf-8") as file:
        file.writelines(lines)
    aside.replace(path)


def sample_row(problem: Problem, completion: Completion, grade: Grade) -> dict[str, Any]:
    """Return what samples/ keeps of one completion."""
    return {
        "prompt": problem.prompt,
        "completion": completion.text,
        "score": grade.score,
        "passed": grade.passed,
        "answer": grade.answer,
        "note": masked_values(grade.note),  # what a grader or its server said may hold the key that it was given
        "error": masked(grade.error),
        "parts": [part._asdict() for part in grade.parts],
        "tokens": completion.tokens,
        "truncated": completion.truncated,
        "place": problem.place,
    }


def _lines(row: Graded, graded_by: str) -> Iterator[str]:
    key = problem_key(row.problem)
    for number, (completion, grade) in enumerate(zip(row.completions, row.grades, strict=True)):
        document = {
            **sample_row(row.problem, completion, grade),
            "key": key,
            "sample": number,
            "engine_error": completion.error,
            "graded_by": graded_by,
        }
        yield _line(document)


def _line(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False) + "\n"


def as_graded(problem: Problem, rows: Sequence[Mapping[str, Any]]) -> Graded:
    """Return what `rows` of a problem in samples/ were written from."""
    return Graded(problem, _completions(rows), [_grade(row) for row in rows])


def _completions(rows: Sequence[Mapping[str, Any]]) -> list[Completion]:
    return [Completion(row["completion"], row["tokens"], row["truncated"]) for row in rows]


def _grade(row: Mapping[str, Any]) -> Grade:
    parts = tuple(Part(**part) for part in row["parts"])
    return Grade(row["score"], row["passed"], row["note"], row["answer"], row["error"], parts)
