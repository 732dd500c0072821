"""Attempts at the training problems of an rlvr recipe, as training would draw them: for `signal` and `sample`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from posttrain.data.formats.problem import problem_row
from posttrain.data.load import load_data
from posttrain.data.records import Problem
from posttrain.engines.sampling import not_sampled, training_sampling
from posttrain.evals.candidate import candidate, check_candidate, open_candidate
from posttrain.evals.look import draws_digest, file_name, graders_digest, take_look
from posttrain.evals.selection import feedback_rows, imitation_rows, preference_rows
from posttrain.evals.signal import SignalLook, render, signal_of, teaches
from posttrain.evals.summary import Graded, summarize
from posttrain.graders import build_all
from posttrain.recipe.check import check_problems
from posttrain.recipe.load import load_recipe
from posttrain.runs import directory


class Attempts(NamedTuple):
    """Problems with graded completions, the number of completions that training compares, and where they are kept."""

    graded: list[Graded]
    group: int
    out: Path
    model: str


def attempt(
    recipe_path: Path,
    *,
    model: str | None,
    samples: int | None,
    limit: int | None,
    out: str | None,
    seed: int | None,
    overrides: Sequence[str],
    suffix: str,
) -> Attempts:
    """Sample the training problems of the recipe, `samples` times each (else as often as training would), and grade.

    Everything is kept below `out`, by default the recipe's run directory with `suffix`, and a look that was
    interrupted goes on. Raises UserError before a model is loaded when a row or the recipe is not right.
    """
    from posttrain.stages.arguments import train_settings

    loaded = load_recipe(recipe_path, stage="rlvr", overrides=overrides, model=model, seed=seed)
    recipe = loaded.recipe
    chosen = candidate("base", loaded)
    rows = load_data(recipe.data, "rlvr", seed=recipe.seed, parts=("train",), place=loaded.place)
    problems = [row for row in rows.train if isinstance(row, Problem)][:limit]
    check_problems(loaded, problems)
    for note in rows.notes:
        print(note, file=sys.stderr)
    settings = train_settings(recipe)
    sampling = training_sampling(recipe, settings, samples=samples or settings["num_generations"], seed=recipe.seed)
    check_candidate(chosen, recipe, sampling)
    for note in not_sampled(settings):
        print(note, file=sys.stderr)
    folder = Path(out or f"{recipe.out}-{suffix}")
    name = f"{file_name(recipe.model.path)}-{draws_digest(chosen, recipe, sampling)}"
    with open_candidate(chosen, recipe) as opened:
        graded = take_look(
            opened,
            problems,
            build_all(recipe.graders, Path.cwd()),
            sampling,
            label=suffix,
            keep=folder / directory.SAMPLES / f"{name}.jsonl",
            graded_by=graders_digest(recipe),
            max_errors=recipe.rollout.max_grader_errors,
        )
    summarize(graded, [1])  # refuses a look without any verdict
    return Attempts(graded, settings["num_generations"], folder, recipe.model.path)


def signal(attempts: Attempts) -> tuple[SignalLook, dict[str, Any]]:
    """Write the problems that teach to OUT/problems.jsonl and the counts to OUT/signal.json; return both."""
    look = signal_of(attempts.graded, attempts.group)
    kept = [problem_row(row.problem) for row in attempts.graded if teaches(row.grades)]
    path = attempts.out / "problems.jsonl"
    _write(path, kept)
    document = {
        **asdict(look),
        "nothing_to_learn": look.nothing_to_learn,
        "advice": look.advice,
        "kept": len(kept),
        "problems_file": str(path),
    }
    directory.write_json(attempts.out / "signal.json", document)
    return look, document


def render_signal(look: SignalLook, document: Mapping[str, Any]) -> str:
    """Return the signal for people."""
    return f"{render(look)}\n{document['kept']:,} problems that teach -> {document['problems_file']}"


def harvest(attempts: Attempts, *, best: int) -> dict[str, Any]:
    """Write what the attempts are good for to OUT/sft.jsonl, OUT/dpo.jsonl and OUT/kto.jsonl; return the counts."""
    document: dict[str, Any] = {
        "problems": len(attempts.graded),
        "completions": sum(len(row.completions) for row in attempts.graded),
        "passed": sum(grade.passed for row in attempts.graded for grade in row.grades),
        "solved": sum(any(grade.passed for grade in row.grades) for row in attempts.graded),
        "errors": sum(bool(grade.error) for row in attempts.graded for grade in row.grades),
        "files": {},
    }
    makers = {"sft": imitation_rows, "dpo": preference_rows, "kto": feedback_rows}
    for stage, rows_of in makers.items():
        rows = [made for row in attempts.graded for made in rows_of(row, best)]
        path = attempts.out / f"{stage}.jsonl"
        _write(path, rows)
        document["files"][stage] = {"path": str(path), "rows": len(rows)}
    return document


def render_harvest(document: Mapping[str, Any]) -> str:
    """Return the counts for people."""
    lines = [
        f"{document['passed']:,} of {document['completions']:,} completions passed; {document['solved']:,} of "
        f"{document['problems']:,} problems solved at least once; {document['errors']:,} without a verdict"
    ]
    says = {"sft": "best completions", "dpo": "pairs, a right and a wrong completion", "kto": "labelled completions"}
    width = max(len(file["path"]) for file in document["files"].values())
    lines += [f"{file['path']:{width}}  {file['rows']:>6,} {says[stage]}" for stage, file in document["files"].items()]
    return "\n".join(lines)


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows whole or not at all."""
    aside = path.with_name(path.name + ".partial")
    aside.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    aside.replace(path)
