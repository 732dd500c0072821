"""`posttrain grade`: completions in a file, graded by one grader from a file, without a model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from posttrain.data.read import read_rows
from posttrain.errors import UserError, UserErrors
from posttrain.graders import AnyGrader, GraderSettings, build, check_problems, grade_all
from posttrain.graders.grade import Grade, Grader, error_kind, shortened
from posttrain.progress import progress
from posttrain.recipe.explain import explain
from posttrain.recipe.yaml_lines import Loc, dotted, read_json, read_yaml

MAX_COMPLAINTS = 20
_SHOWN_ROWS = 20


class _GraderFile(BaseModel):
    grader: AnyGrader


def grade_file(grader_file: Path, rows_file: Path, limit: int | None = None) -> dict[str, Any]:
    """Return the verdicts on the first `limit` rows of a file, in its order, with their mean and counts.

    A row holds the problem's fields and `completion`; or, as OpenAI's Evals have it, the fields inside `item`, and
    the completion also as `sample.output_text`. The document is {"rows": [{"score", "passed", "error", "note",
    "parts"}], "mean", "passed", "errors", "error_kinds"}: `passed` and `errors` count rows, `error_kinds` is {kind:
    rows}, and `mean` leaves out the rows whose grader failed (None if all did). Raises UserErrors with the place of
    the rows that cannot be graded, and of every error in the grader file.
    """
    grader = build(read_grader(grader_file), grader_file.parent)
    placed = list(islice(read_rows(str(rows_file)), limit))
    problems = [problem_of(row) for row, _ in placed]
    completions = [completion_of(row) for row, _ in placed]
    with progress("trying the gold answers", len(placed)) as advance:
        complaints = check_problems([telling(grader, advance)], problems)
    bad = [
        UserError(completion_complaint or problem_complaint, where=place)
        for (_, place), completion, problem_complaint in zip(placed, completions, complaints, strict=True)
        if (completion_complaint := _completion_complaint(completion)) or problem_complaint
    ]
    if bad:
        raise UserErrors(bad[:MAX_COMPLAINTS])
    grader.ready()
    with progress("grading", len(placed)) as advance:
        return document(grade_all([telling(grader, advance)], completions, problems))


def telling(grader: Grader, advance: Callable[[], None]) -> Grader:
    """Return the grader calling `advance` after each grade."""

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        try:
            return grader.grade(completion, problem)
        finally:
            advance()

    return replace(grader, grade=grade)


def read_grader(path: Path) -> GraderSettings:
    """Return the settings in a YAML or JSON file of one grader; raises UserErrors with every error in it."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read the grader: {reason}", where=str(path)) from None
    file = (read_json if path.suffix == ".json" else read_yaml)(text, str(path))

    def place(loc: Loc) -> str:
        line = next((file.lines[loc[1:n]] for n in range(len(loc), 1, -1) if loc[1:n] in file.lines), 1)
        return f"{path}:{line} {dotted(loc[1:])}".rstrip()

    if file.duplicates:
        twice = [f"{path}:{line} {dotted(loc)}" for loc, line, _ in file.duplicates]
        raise UserErrors([UserError("duplicate key", where=where) for where in twice])
    if not isinstance(file.data, dict):
        raise UserError("not a grader", where=str(path), fix="write one, as `type: number`")
    data = {"grader": file.data}
    try:
        return _GraderFile.model_validate_json(json.dumps(data), strict=True).grader
    except ValidationError as error:
        raise UserErrors(explain(error.errors(), data, _GraderFile, place)) from None


def document(grades: list[Grade]) -> dict[str, Any]:
    """Return the grades as `posttrain grade --json` prints them."""
    scores = [grade.score for grade in grades if grade.score is not None]
    return {
        "rows": [
            {
                "score": grade.score,
                "passed": grade.passed,
                "error": grade.error,
                "note": grade.note,
                "parts": [part._asdict() for part in grade.parts],
            }
            for grade in grades
        ],
        "mean": sum(scores) / len(scores) if scores else None,
        "passed": sum(grade.passed for grade in grades),
        "errors": sum(bool(grade.error) for grade in grades),
        "error_kinds": error_kinds(grades),
    }


def error_kinds(grades: Iterable[Grade]) -> dict[str, int]:
    """Return how many of the grades are errors of each kind, the commonest first."""
    return dict(Counter(error_kind(grade.error) for grade in grades if grade.error).most_common())


def render(document: dict[str, Any]) -> str:
    """Return the document as text for people: the first rows that did not pass, and the figures."""
    rows = document["rows"]
    failed = [(number, row) for number, row in enumerate(rows, 1) if not row["passed"]]
    lines = [
        f"row {number}: error  {row['error']}" if row["error"] else f"row {number}: {row['score']:g}  {row['note']}"
        for number, row in failed[:_SHOWN_ROWS]
    ]
    if len(failed) > _SHOWN_ROWS:
        lines.append(f"… and {len(failed) - _SHOWN_ROWS} more that did not pass")
    mean = "none" if document["mean"] is None else f"{document['mean']:.4f}"
    kinds = ", ".join(f"{kind} {count}" for kind, count in document["error_kinds"].items())
    errors = f"grader errors {document['errors']}" + (f" ({kinds})" if kinds else "")
    lines.append(f"passed {document['passed']} of {len(rows)}, mean {mean}, {errors}")
    return "\n".join(lines)


def _is_evals_row(row: dict[str, Any]) -> bool:
    return isinstance(row.get("item"), dict) and row.keys() <= {"item", "sample", "completion"}


def problem_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return the problem of a row that holds a completion beside it."""
    return row["item"] if _is_evals_row(row) else {key: value for key, value in row.items() if key != "completion"}


def completion_of(row: dict[str, Any]) -> Any:
    """Return the row's completion, whatever it is; None where it has none."""
    if "completion" in row or not _is_evals_row(row):
        return row.get("completion")
    sample = row.get("sample")
    return sample.get("output_text") if isinstance(sample, dict) else None


def _completion_complaint(completion: Any) -> str:
    if completion is None:
        return "the row has no `completion`"
    if isinstance(completion, str):
        return ""
    return f"`completion` must be text, not {shortened(json.dumps(completion, default=str))}"
