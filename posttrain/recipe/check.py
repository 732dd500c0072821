"""`posttrain check`: everything that can be wrong with a recipe, its graders and its rows, found in one pass.

Nothing here imports torch, so the answer comes before anything heavy is loaded.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from posttrain.data.records import Problem
from posttrain.errors import UserError, UserErrors, did_you_mean
from posttrain.graders import BadProblem, Grader, GraderSettings, build, check_problem, check_together
from posttrain.recipe.load import Draft, LoadedRecipe, in_order, read_draft
from posttrain.recipe.yaml_lines import undotted

if TYPE_CHECKING:
    from posttrain.data.load import Loaded

T = TypeVar("T")

_SHOWN = 10  # bad rows of one kind; the others are counted


def check_recipe(path: Path, *, overrides: Sequence[str] = (), model: str | None = None) -> list[str]:
    """Return what the recipe asks for, in lines to print; raises UserErrors with every error found.

    The sections that can be read are checked although others cannot: the rows of each source, the graders on
    every problem's gold answer, and whether the model is there.
    """
    draft = read_draft(path, overrides=overrides, model=model)
    errors, place = list(draft.errors), lambda key: draft.place(undotted(key))
    report = []
    with _collected(errors):
        report += _check_model(draft, place)
    with _collected(errors):
        _check_batches(draft, place)
    rows: list[Loaded] = []
    with _collected(errors):
        rows += _load_rows(draft, place)
    with _collected(errors):
        _check_shots(draft, place)
    with _collected(errors):
        looked = [row for part in rows for row in _problems(draft, part, "dev", "unseen")]
        check_groups(
            draft.sections["eval"].group_by if "eval" in draft.sections else None, looked, place("eval.group_by")
        )
    problems = [row for part in rows for row in _problems(draft, part, "train", "dev", "unseen")]
    report += [line for part in rows for line in (*_rows_report(part), *_overlap_report(part, draft, path))]
    with _collected(errors):
        report += _check_graders(draft.sections.get("graders", []), problems, place)
    if errors:
        raise UserErrors(in_order(errors))
    stage, out = draft.sections["stage"], draft.sections["out"]
    return [f"{path}: {stage}" + (f" into {out}" if out else ""), *report, "no errors found"]


def check_groups(group_by: str | None, problems: Sequence[Problem], where: str) -> None:
    """Raise UserError when `eval.group_by` names a field that a problem has not got."""
    for problem in problems if group_by is not None else ():
        if problem.fields.get(str(group_by)) is None:
            fix = f"the problem at {problem.place} has: {', '.join(problem.fields)}"
            raise UserError(
                f"no field {group_by!r}.{did_you_mean(str(group_by), problem.fields)}", where=where, fix=fix
            )


def check_problems(loaded: LoadedRecipe, problems: Sequence[Any]) -> list[str]:
    """Try the recipe's graders on every problem's gold answer; return one line about each grader.

    Raises UserErrors with the graders that cannot be built, or the problems that cannot be graded.
    """
    return _check_graders(loaded.recipe.graders, problems, loaded.place)


@contextmanager
def _collected(errors: list[UserError]) -> Iterator[None]:
    """Add the UserErrors raised inside to `errors`, and go on after it."""
    try:
        yield
    except UserErrors as several:
        errors += several.errors
    except UserError as error:
        errors.append(error)


def _check_model(draft: Draft, place: Callable[[str], str]) -> list[str]:
    from posttrain.endpoint import parse_endpoint
    from posttrain.model.resolve import resolve_model

    settings = draft.sections.get("model")
    if settings is None:
        return []
    if draft.sections.get("stage") == "eval" and (endpoint := parse_endpoint(settings.path)):
        return [f"model: {endpoint} (endpoint)"]
    parent = resolve_model(settings, place("model.path"))
    return [f"model: {settings.path} ({parent.kind})"]


def _check_batches(draft: Draft, place: Callable[[str], str]) -> None:
    """Check the batch sizes where the number of processes is written in the recipe."""
    from posttrain.recipe.schema import Recipe
    from posttrain.stages.arguments import check_batches

    if draft.errors or draft.sections["stage"] == "eval":
        return
    recipe = Recipe.model_construct(**draft.sections)
    processes = recipe.launch.processes
    try:
        check_batches(recipe, processes if isinstance(processes, int) else 1)
    except UserError as error:
        raise UserError(error.message, where=place(error.where or "train"), fix=error.fix) from None


def _load_rows(draft: Draft, place: Callable[[str], str]) -> list[Loaded]:
    """Return the recipe's rows; raises UserErrors with the first error of every source."""
    from posttrain.data.load import load_data
    from posttrain.recipe.schema import Data

    stage, data = draft.sections.get("stage"), draft.sections.get("data")
    if stage is None or data is None:
        return []
    parts = ("dev", "unseen") if stage == "eval" else ("train", "dev", "unseen", "problems")
    seed = draft.sections.get("seed", 0)
    try:
        return [load_data(data, stage, seed=seed, parts=parts, place=place)]
    except UserError as first:
        dev = data.dev if isinstance(data.dev, list) else []
        errors: list[UserError] = []
        for part, sources in (
            ("train", data.train),
            ("dev", dev),
            ("unseen", data.unseen),
            ("problems", data.problems),
        ):
            for index, source in enumerate(sources):
                moved = _moved("data.train[0]", f"data.{part}[{index}]", place)
                with _collected(errors):
                    load_data(Data(train=[source]), "rlvr" if part == "problems" else stage, seed=seed, place=moved)
        raise UserErrors(errors or [first]) from None


def _check_shots(draft: Draft, place: Callable[[str], str]) -> None:
    """Read the examples that an eval recipe's prompts show."""
    from posttrain.evals.prompting import read_shots

    variants = draft.sections["eval"].prompts if "eval" in draft.sections else []
    for index, variant in enumerate(variants):
        read_shots(variant, f"eval.prompts[{index}]", seed=0, place=place)


def _problems(draft: Draft, rows: Loaded, *parts: str) -> list[Problem]:
    """Return the rows of `parts` that are problems, and those of `problems`; others are not even read."""
    of_stage = parts if draft.sections["stage"] in ("rlvr", "eval") else ()
    found = [row for part in (*of_stage, "problems") for row in getattr(rows, part)]
    return [row for row in found if isinstance(row, Problem)]


def _moved(key: str, to: str, place: Callable[[str], str]) -> Callable[[str], str]:
    return lambda asked: place(to + asked[len(key) :] if asked.startswith(key) else asked)


def _rows_report(rows: Loaded) -> list[str]:
    counts = {
        "train": len(rows.train),
        "dev": len(rows.dev),
        "unseen": len(rows.unseen),
        "held-out problem": len(rows.problems),
    }
    listed = ", ".join(f"{count:,} {part}" for part, count in counts.items() if count)
    return [f"data: {listed} rows", *(f"  {note}" for note in rows.notes)]


def _overlap_report(rows: Loaded, draft: Draft, path: Path) -> list[str]:
    """What training rows nearly say of held-out ones. A share of the training rows is alike by its making."""
    from posttrain.data.overlap import overlap_notes

    held_out = {"unseen": rows.unseen, "problems": rows.problems}
    if isinstance(draft.sections["data"].dev, list):
        held_out = {"dev": rows.dev, **held_out}
    command = f"posttrain data decontaminate {shlex.quote(str(path))} --same-numbers --out clean.jsonl"
    return [f"  {note}" for note in overlap_notes(rows.train, held_out, command)]


def _check_graders(
    listed: Sequence[GraderSettings], problems: Sequence[Problem], place: Callable[[str], str]
) -> list[str]:
    errors: list[UserError] = []
    report = []
    for index, settings in enumerate(listed):
        with _collected(errors):
            grader = _build(settings, place(f"graders[{index}]"))
            bad = _bad_problems(grader, problems)
            errors += bad[:_SHOWN]
            if len(bad) > _SHOWN:
                more = f"{len(bad) - _SHOWN:,} more problems cannot be graded by {grader.name}"
                errors.append(UserError(more, where=place(f"graders[{index}]")))
            with _collected(errors):
                _placed(grader.ready, place(f"graders[{index}]"))
            if problems:
                report.append(f"grader {grader.name}: tried on {len(problems):,} problems")
            if grader.caution and grader.role == "score":
                report.append(f"  warning, where it pays a reward: {grader.caution}")
    with _collected(errors):
        check_together([(settings.name or settings.type, settings.role) for settings in listed])
    if errors:
        raise UserErrors(errors)
    return report


def _build(settings: GraderSettings, where: str) -> Grader:
    return _placed(lambda: build(settings, Path.cwd()), where)  # load_recipe made its paths absolute


def _placed(work: Callable[[], T], where: str) -> T:
    """Return what `work` returns; its UserError is placed at the grader."""
    try:
        return work()
    except UserError as error:
        said = f"{error.where}: {error.message}" if error.where else error.message
        raise UserError(said, where=where, fix=error.fix) from None


def _bad_problems(grader: Grader, problems: Sequence[Problem]) -> list[UserError]:
    """Return an error for each problem that the grader refuses or whose gold answer it does not pass."""

    def tried(problem: Problem) -> UserError | None:
        try:
            check_problem([grader], problem.item)
        except BadProblem as error:
            return UserError(str(error), where=problem.place)
        return None

    with ThreadPoolExecutor(max(1, grader.parallel)) as pool:
        return [error for error in pool.map(tried, problems) if error]
