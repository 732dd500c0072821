"""Everything that a report shows, as plain data: what the page embeds, and what Markdown and pictures are made of."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

from posttrain import __version__
from posttrain.errors import UserError
from posttrain.progress import progress
from posttrain.report.evals import Eval, read_evals, scored, sources_of_eval, tables
from posttrain.report.panels import panels_of
from posttrain.report.recipes import changes
from posttrain.report.runs import Run, ancestors, is_run, read_run
from posttrain.report.samples import gather, sources_of_run
from posttrain.report.series import columns, metric_names
from posttrain.visible import visible

MOST_SAMPLES = 10_000

# What a stage is judged by on held-out rows, best first.
_HEADLINES = ("pass@1", "reward", "rewards/accuracies", "rewards/margins", "mean_token_accuracy", "loss")


def collect(places: Sequence[Path], *, most_samples: int = MOST_SAMPLES, quiet: bool = False) -> dict[str, Any]:
    """Return the document of a report on runs, and evals, with the runs that they come from.

    ``{"written", "version", "runs": [...], "chains": [[...]], "evals": [...], "samples": {...}}``. Evals beside
    the runs and scored one of them are taken in. Raises UserError where a place holds neither.
    """
    runs, asked, evals, chains = _opened(places)
    sources = [source for run in runs for source in sources_of_run(run.name, run.path)]
    sources += [source for each in evals for source in sources_of_eval(each)]
    total = len(runs) + len(evals) + len(sources)
    with nullcontext(lambda: None) if quiet else progress("report", total) as advance:
        described = []
        for run in runs:
            described.append(_described(run, asked=run.path.resolve() in asked))
            advance()
        shown_evals = []
        for each in evals:
            shown_evals.append(tables(each))
            advance()
        samples = gather(sources, most_samples, advance)
    return plain(
        {
            "written": datetime.now().astimezone().isoformat(timespec="seconds"),
            "version": __version__,
            "runs": described,
            "chains": chains,
            "evals": shown_evals,
            "samples": vars(samples),
        }
    )


def plain(value: Any) -> Any:
    """Return a document whose texts can be shown: what would not show in them is written out."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(str(key)): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value


def _opened(places: Sequence[Path]) -> tuple[list[Run], set[Path], list[Eval], list[list[dict[str, Any]]]]:
    """Return every run to show, parents before children; which of them were asked for; evals; and the chains."""
    runs: dict[Path, Run] = {}
    asked: set[Path] = set()
    evals: dict[Path, list[Eval]] = {}
    chains = []
    for place in places:
        if not is_run(place) and (found := read_evals(place)):
            evals[place.resolve()] = found
            continue
        run = read_run(place)
        behind, generations = ancestors(run)
        for one in (*behind, run):
            runs.setdefault(one.path.resolve(), one)
        asked.add(run.path.resolve())
        chains.append(_chain(run, behind, generations))
    if not runs and not evals:
        raise UserError("name a run", where="RUN")
    for beside in dict.fromkeys(path.parent for path in runs):
        for place in sorted(path for path in beside.iterdir() if path.is_dir()):
            if place not in evals and place not in runs and (found := read_evals(place)):
                related = [each for each in found if scored(each, runs)]
                if related:
                    evals[place] = related
    for path, run in runs.items():
        own = read_evals(path)
        if own:
            evals[run.path] = own
    return list(runs.values()), asked, [_near(each) for found in evals.values() for each in found], chains


def _near(found: Eval) -> Eval:
    """Return the eval under its path from here, where it lies below."""
    try:
        return Eval(found.path.resolve().relative_to(Path.cwd()), found.part, found.lines)
    except ValueError:
        return found


def _chain(run: Run, behind: Sequence[Run], generations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the generations from the base to `run`: ``{"name", "run": a shown run's name, "stage", "metrics"}``."""
    first = behind[0] if behind else run
    base = first.document.get("base_model") or (generations[0]["base_model"] if generations else "")
    chain: list[dict[str, Any]] = [
        {"name": base or first.recipe["model"]["path"], "run": None, "stage": "base", "metrics": {}}
    ]
    gone = generations[: max(0, len(generations) - len(behind))]
    for entry in gone:
        metrics = entry.get("metrics") or {}
        chain.append({"name": entry["run"], "run": None, "stage": entry["stage"], "metrics": metrics})
    chain += [{"name": one.name, "run": one.name, "stage": one.stage, "metrics": {}} for one in (*behind, run)]
    return chain


def _described(run: Run, *, asked: bool) -> dict[str, Any]:
    behind, _ = ancestors(run)
    names = metric_names(run.rows)
    document = run.document
    return {
        "name": run.name,
        "asked": asked,
        "stage": run.stage,
        "finished": run.finished,
        "when": document.get("finished"),
        "steps": run.steps,
        "all_steps": _all_steps(run),
        "seconds": run.seconds,
        "tokens": run.tokens,
        "parent": behind[-1].name
        if behind
        else (document.get("parent") or {}).get("name") or run.recipe["model"]["path"],
        "headline": headline(run),
        "before": run.before,
        "after": run.after,
        "problems": run.problems,
        "alarms": run.alarms,
        "panels": panels_of(run.stage, names),
        "train": columns(run.train),
        "dev": columns(run.dev, problems=run.problems),
        "recipe": run.recipe_text,
        "changes": changes(behind[-1].recipe if behind else None, run.recipe),
        "sources": _data(run.recipe),
        "rows": document.get("rows") or {},
        "digests": {
            "data": document.get("data_digest") or run.inputs.get("data"),
            "recipe": document.get("recipe_digest") or run.inputs.get("recipe"),
            "parent": (document.get("parent") or {}).get("digest") or run.inputs.get("parent"),
        },
        "hardware": document.get("hardware") or run.inputs.get("ranks") or {},
        "versions": document.get("versions") or {},
        "unseen_looks": _unseen_looks(run.path),
    }


def headline(run: Run) -> str:
    """Return the metric that the run is judged by: the first of its stage's that its looks have."""
    return next((name for name in _HEADLINES if isinstance(run.after.get(name), int | float)), "")


def _all_steps(run: Run) -> int | None:
    return None if run.finished else run.recipe.get("train", {}).get("max_steps")


def _data(recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the sources of rows that a recipe names: ``{"part", "path", "how"}``."""
    found = []
    for part in ("train", "dev", "problems", "unseen"):
        said = recipe.get("data", {}).get(part)
        if isinstance(said, dict):
            found.append({"part": part, "path": "", "how": ", ".join(f"{k}: {v}" for k, v in said.items() if v)})
        for source in said if isinstance(said, list) else []:
            how = {k: v for k, v in source.items() if v not in (None, {}, "auto", "") and k != "path"}
            how = {k: v for k, v in how.items() if (k, v) != ("split", "train")}
            found.append({"part": part, "path": source["path"], "how": ", ".join(f"{k}: {v}" for k, v in how.items())})
    return found


def _unseen_looks(run: Path) -> int:
    from posttrain.evals.unseen import LOOKS
    from posttrain.runs.metrics import read_rows

    return len(read_rows(run / LOOKS))
