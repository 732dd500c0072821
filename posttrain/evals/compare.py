"""`posttrain eval`: several models, the same problems, one table with error bars."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from posttrain.data.load import load_data
from posttrain.data.records import Problem
from posttrain.errors import UserError
from posttrain.model.resolve import Parent, resolve
from posttrain.recipe.check import check_problems
from posttrain.recipe.load import LoadedRecipe, load_recipe
from posttrain.recipe.schema import Model, Recipe
from posttrain.runs import directory
from posttrain.runs.listing import render_columns

MAX_NEW_TOKENS = 512


def compare_models(
    recipe_path: Path,
    models: Sequence[str],
    *,
    unseen: bool,
    out: str | None,
    seed: int | None,
    overrides: Sequence[str],
) -> list[dict[str, Any]]:
    """Score each model on the recipe's dev (or unseen) problems; return one row a model, in the order named.

    ``base`` names the recipe's own model. Raises UserError before any model is loaded when a model, a row or
    the recipe is not right.
    """
    loaded = load_recipe(recipe_path, stage="eval", overrides=overrides, out=out, seed=seed)
    recipe = loaded.recipe
    part = "unseen" if unseen else "dev"
    parents = [_parent(name, loaded) for name in models or ["base"]]
    rows = load_data(recipe.data, "eval", seed=recipe.seed, parts=(part,), place=loaded.place)
    problems: list[Problem] = list(getattr(rows, part))[: recipe.eval.limit]
    if not problems:
        other = "" if unseen or not recipe.data.unseen else ", or score the unseen ones with --unseen"
        raise UserError(
            f"the recipe lists no {part} problems", where=loaded.place("data"), fix=f"add data.{part}{other}"
        )
    check_problems(loaded, problems)
    for note in rows.notes:
        print(note, file=sys.stderr)
    return [_score(parent, recipe, problems, part) for parent in parents]


def _parent(name: str, loaded: LoadedRecipe) -> tuple[str, Parent]:
    """Return (label, parent) of a model named on the command line."""
    settings = loaded.recipe.model
    if name == "base":
        return name, resolve(settings.path, revision=settings.revision, where=loaded.place("model.path"))
    return name, resolve(name, where="--model")


def _score(named: tuple[str, Parent], recipe: Recipe, problems: list[Problem], part: str) -> dict[str, Any]:
    """Load one model, look at the problems, keep the completions, and return its row."""
    from posttrain.data.tokenize import tokenize_problems
    from posttrain.engines.sampling import sampling_of
    from posttrain.engines.transformers import engine
    from posttrain.evals.held_out import in_order, prompts_of, sample_and_grade, summarize, write_samples
    from posttrain.graders import build_all
    from posttrain.model.tokenizer import load_tokenizer
    from posttrain.stages.terminal import quiet

    quiet()
    name, parent = named
    started = time.monotonic()
    tokenizer = load_tokenizer(parent, recipe.model)
    model = _load_for_sampling(parent, recipe.model, tokenizer)
    tokenized = tokenize_problems(problems, tokenizer, max_prompt_tokens=recipe.rollout.max_prompt_tokens)
    kept = [problems[row["index"]] for row in tokenized.rows]
    sampling = sampling_of(recipe, max_new_tokens=MAX_NEW_TOKENS, seed=recipe.seed)
    graders = build_all(recipe.graders, Path.cwd())
    with _progress(name, len(kept) * sampling.samples) as advance:
        prompts = prompts_of(kept, [row["prompt_ids"] for row in tokenized.rows])
        graded = in_order(sample_and_grade(engine(model, tokenizer), kept, prompts, graders, sampling), advance)
    look = summarize(graded, recipe.eval.k, graders)
    row = {
        "model": name,
        "path": parent.path,
        "digest": parent.digest,
        "part": part,
        "problems": look.problems,
        "left_out": len(problems) - len(kept),
        "samples": look.samples,
        "truncated": look.truncated,
        "seconds": round(time.monotonic() - started, 1),
        **look.metrics(),
    }
    if recipe.out:
        keep = Path(recipe.out) / directory.SAMPLES / f"{part}-{_file_name(name)}.jsonl"
        write_samples(keep, graded)
        directory.write_json(Path(recipe.out) / f"{part}-{_file_name(name)}.json", row)
    return row


def _load_for_sampling(parent: Parent, settings: Model, tokenizer: Any) -> Any:
    """Return the model in the dtype it computes in, on the GPU where there is one: nothing is trained here."""
    import torch

    from posttrain.model.load import compute_dtype, load_model

    dtype = str(compute_dtype(settings)).removeprefix("torch.")
    to_sample = settings.model_copy(update={"dtype": dtype, "lora": None, "save": "merged"})
    model: Any = load_model(parent, to_sample, tokenizer)
    return model.to("cuda") if torch.cuda.is_available() and not settings.load_in_4bit else model


def _progress(label: str, total: int):
    """Return a context that gives a function to call with the number of completions just finished."""
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    @contextmanager
    def shown():
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task(f"eval {label}", total=total)
            yield lambda completions: progress.advance(task, completions)
        print(f"eval {label}: {total:,} completions", file=sys.stderr)

    return shown()


def _file_name(name: str) -> str:
    """Return the model's name as part of a file name."""
    return "".join(c if c.isalnum() or c in "-._" else "-" for c in name).strip("-.") or "model"


def render_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table: one line a model, each figure with its standard error over problems, in percent."""
    k = [key for key in rows[0] if key.startswith("pass@") and not key.endswith("_stderr")]
    heading = ["model", "problems", *k, "tokens", "truncated", "errors"]
    cells = [
        [
            row["model"],
            str(row["problems"]),
            *(_percent(row, key) for key in k),
            f"{row['completions/mean_length']:.0f}",
            f"{100 * row['truncated'] / row['samples']:.0f}%",
            str(row["grader_errors"]),
        ]
        for row in rows
    ]
    samples = rows[0]["samples"] // rows[0]["problems"]
    note = f"pass@k in % ± standard error over problems; {rows[0]['part']}, {samples} samples a problem"
    return render_columns([heading, *cells]) + "\n" + note


def _percent(row: dict[str, Any], key: str) -> str:
    value, error = row.get(key), row.get(f"{key}_stderr")
    if value is None:
        return "-"
    return f"{100 * value:.1f}" + (f" ± {100 * error:.1f}" if error is not None else "")
