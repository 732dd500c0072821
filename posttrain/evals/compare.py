"""`posttrain eval`: several models and ways to ask, the same problems, one table with error bars and differences."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.data.load import load_data
from posttrain.data.records import Chat, Problem
from posttrain.engines.sampling import MAX_NEW_TOKENS, Sampling, sampling_of
from posttrain.errors import UserError, did_you_mean
from posttrain.evals.candidate import Candidate, candidate, check_candidate, open_candidate
from posttrain.evals.prompting import asked_as, read_shots, refuse_shown
from posttrain.evals.unseen import record_look
from posttrain.recipe.check import check_groups, check_problems
from posttrain.recipe.load import LoadedRecipe, load_recipe
from posttrain.recipe.schema import PromptVariant, Recipe
from posttrain.runs import directory

if TYPE_CHECKING:
    from posttrain.evals.summary import Graded, Look

_DOT = " · "


@dataclass(frozen=True)
class Line:
    """One line of the table: a model, asked in one way. `values` are its figures problem by problem, by key."""

    row: dict[str, Any]
    values: dict[str, dict[str, float]]
    groups: dict[str, str]


def compare_models(
    recipe_path: Path,
    models: Sequence[str],
    *,
    unseen: bool = False,
    baseline: str | None = None,
    out: str | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Score each model on the recipe's dev (or unseen) problems, in each of the recipe's ways to ask.

    Returns {"models": [a row a line], "baseline": its label, "differences": [...], "require": [...]}: the paired
    differences of every other line to the baseline (the first line unless named), and whether each line but the
    baseline reaches what the recipe requires. ``base`` names the recipe's own model. Raises UserError before any
    model is loaded when a model, a row or the recipe is not right.
    """
    from posttrain.evals.differences import check_bars, check_comparable, differences

    loaded = load_recipe(recipe_path, stage="eval", overrides=overrides, out=out, seed=seed)
    recipe = loaded.recipe
    part = "unseen" if unseen else "dev"
    candidates = [candidate(name, loaded) for name in models or ["base"]]
    problems = _problems(loaded, part)
    variants = _variants(loaded, problems)
    labels = [_label(chosen.label, variant) for chosen in candidates for variant, _ in variants]
    baseline = _check_labels(labels, baseline)
    check_comparable(recipe.eval.require, labels, loaded.place)
    check_problems(loaded, problems)
    sampling = sampling_of(recipe, max_new_tokens=MAX_NEW_TOKENS, seed=recipe.seed)
    for chosen in candidates:
        check_candidate(chosen, recipe, sampling)
    lines = [line for chosen in candidates for line in _lines(chosen, recipe, sampling, problems, variants, part)]
    if unseen:
        _record(recipe, [chosen for chosen in candidates for _ in variants], lines)
    first = next(line for line in lines if line.row["label"] == baseline)
    document: dict[str, Any] = {"models": [line.row for line in lines], "baseline": first.row["label"]}
    document["differences"] = differences(lines, first)
    document["require"] = check_bars(recipe.eval.require, lines, first, document["differences"])
    return document


def _problems(loaded: LoadedRecipe, part: str) -> list[Problem]:
    recipe = loaded.recipe
    rows = load_data(recipe.data, "eval", seed=recipe.seed, parts=(part,), place=loaded.place)
    problems: list[Problem] = list(getattr(rows, part))[: recipe.eval.limit]
    if not problems:
        other = "" if part == "unseen" or not recipe.data.unseen else ", or score the unseen ones with --unseen"
        raise UserError(
            f"the recipe lists no {part} problems", where=loaded.place("data"), fix=f"add data.{part}{other}"
        )
    check_groups(recipe.eval.group_by, problems, loaded.place("eval.group_by"))
    for note in rows.notes:
        print(note, file=sys.stderr)
    return problems


Variant = tuple[PromptVariant | None, list[Chat]]
"""A way to ask, with the examples it shows; None: as the problem stands."""


def _variants(loaded: LoadedRecipe, problems: Sequence[Problem]) -> list[Variant]:
    """Return the recipe's ways to ask; without any, the problems as they are."""
    found: list[Variant] = []
    for index, variant in enumerate(loaded.recipe.eval.prompts):
        key = f"eval.prompts[{index}]"
        shots = read_shots(variant, key, seed=loaded.recipe.seed, place=loaded.place)
        refuse_shown(shots, problems, loaded.place(f"{key}.shots"))
        found.append((variant, shots))
    return found or [(None, [])]


def _label(model: str, variant: PromptVariant | None) -> str:
    return f"{model}{_DOT}{variant.name}" if variant else model


def _check_labels(labels: Sequence[str], baseline: str | None) -> str:
    """Return the baseline's label: the first, or the one that `baseline` is, or is the model or the prompt of alone."""
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise UserError(f"{twice} is named twice", where="--model")
    if baseline is None or baseline in labels:
        return baseline or labels[0]
    found = [label for label in labels if baseline in label.split(_DOT)]
    if len(found) != 1:
        fix = f"the lines of the table: {', '.join(labels)}"
        raise UserError(f"no line is called {baseline!r}.{did_you_mean(baseline, labels)}", where="--baseline", fix=fix)
    return found[0]


def _lines(
    chosen: Candidate,
    recipe: Recipe,
    sampling: Sampling,
    problems: Sequence[Problem],
    variants: Sequence[Variant],
    part: str,
) -> list[Line]:
    """Load one model, take a look in each way, and return the table's lines."""
    from posttrain.evals.look import draws_digest, file_name, graders_digest, take_look
    from posttrain.evals.summary import summarize
    from posttrain.graders import build_all, part_names

    graders = build_all(recipe.graders, Path.cwd())
    graded_by = graders_digest(recipe)
    lines = []
    with open_candidate(chosen, recipe) as opened:
        for variant, shots in variants:
            label = _label(chosen.label, variant)
            started = time.monotonic()
            asked = [asked_as(variant, shots, problem) for problem in problems] if variant else list(problems)
            name = f"{part}-{file_name(label)}"
            drawn = draws_digest(chosen, recipe, sampling)
            samples = Path(recipe.out or "") / directory.SAMPLES / f"{name}-{drawn}.jsonl"
            graded = take_look(
                opened,
                asked,
                graders,
                sampling,
                label=f"eval {label}",
                keep=samples if recipe.out else None,
                graded_by=graded_by,
                max_errors=recipe.rollout.max_grader_errors,
            )
            look = summarize(graded, recipe.eval.k, parts=part_names(graders), group_by=recipe.eval.group_by)
            row = {
                "label": label,
                "model": chosen.label,
                "prompt": variant.name if variant else "",
                "path": chosen.path,
                "digest": chosen.digest,
                "part": part,
                "left_out": len(problems) - len(graded),
                "seconds": round(time.monotonic() - started, 1),
                **_figures(look),
            }
            if recipe.out:
                row["samples_file"] = str(samples)
                directory.write_json(Path(recipe.out) / f"{name}.json", row)
            lines.append(_line(row, look, graded, list(problems), asked))
    return lines


def _figures(look: Look) -> dict[str, Any]:
    """Return a look's figures, standard errors and 95% intervals, and its counts."""
    from posttrain.evals.statistics import interval, rate_interval

    intervals = {}
    for name, found in look.figures.items():
        within = all(value is None or 0 <= value <= 1 for value in look.values[name])
        bounds = rate_interval(found) if within else interval(found)
        if bounds is not None:
            intervals[f"{name}_ci95"] = list(bounds)
    return {
        "problems": look.problems,
        "samples": look.samples,
        "truncated": look.truncated,
        "unanswered": look.unanswered,
        "errors": look.errors,
        **look.metrics(),
        **intervals,
    }


def _line(
    row: dict[str, Any], look: Look, graded: Sequence[Graded], problems: list[Problem], asked: list[Problem]
) -> Line:
    """Return the line with its values by problem, whichever way the problem was asked."""
    from posttrain.evals.kept import problem_key

    original = {id(one): problem_key(problem) for one, problem in zip(asked, problems, strict=True)}
    keys = [original[id(one.problem)] for one in graded]
    values = {
        name: {key: value for key, value in zip(keys, each, strict=True) if value is not None}
        for name, each in look.values.items()
    }
    return Line(row, values, dict(zip(keys, look.groups, strict=True)) if look.groups else {})


def _record(recipe: Recipe, candidates: Sequence[Candidate], lines: Sequence[Line]) -> None:
    """Write the look at the unseen problems into the runs that were scored, and say how many there have been."""
    for chosen, line in zip(candidates, lines, strict=True):
        places = [place for place in (chosen.run, Path(recipe.out) if recipe.out else None) if place]
        looks = [record_look(place, line.row) for place in places]
        if looks and looks[0] > 1:
            print(
                f"{line.row['label']}: look {looks[0]} at unseen problems; the more looks decide something, the less "
                "unseen they are",
                file=sys.stderr,
            )
