"""Recipes to start from, for the methods that fit these rows: commented, and passing `posttrain check`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from posttrain.advice.asking import variants
from posttrain.advice.facts import Facts
from posttrain.advice.holding import parts_named, write_parts
from posttrain.advice.methods import Advice, Situation
from posttrain.advice.settings import HELD_OUT, START_ROWS
from posttrain.data.files import is_hub_id
from posttrain.data.remote import is_remote
from posttrain.errors import UserError
from posttrain.recipe.yaml_lines import dump_yaml

SEED = 42
_LIMIT = 200  # problems of a look
_FEW_PROBLEMS = 100  # of which a larger share is held out
_COLUMN = 40  # where comments begin

_TITLES = {
    "sft": "Imitate: {rows} rows with answers.",
    "dpo": "Prefer: {rows} pairs of a better and a worse answer.",
    "kto": "Prefer, from thumbs: {rows} answers marked good or bad.",
    "rlvr": "Find out: {rows} problems and a grader.",
    "eval": "Know: how often is each model, asked in each way, right?",
}
_PURPOSES = {
    "eval": "row 0: each way to ask, before any training",
    "sft": "imitate",
    "dpo": "prefer",
    "kto": "prefer, from thumbs: beside dpo or in its place",
    "signal": "is there anything to learn?",
    "rlvr": "find out",
}
_RATES = {"sft": 1e-5, "dpo": 5e-7, "kto": 1e-6, "rlvr": 1e-6}
_COMMENTS = {
    "out": "the run directory, relative to where the command runs",
    "seed": "of shuffling, splitting and sampling",
    "path": "the parent: anything --model takes",
    "columns": "our name: the row's column",
    "train.limit": "to begin with; more while held-out figures still gain",
    "eval.limit": "held-out problems of each look",
    "fraction": "held out of training, looked at while it runs",
    "unseen": "scored only by `eval --unseen`",
    "type": "what a completion is worth; posttrain grade tries it",
    "num_train_epochs": "times that every row is seen",
    "per_device_train_batch_size": "rows (rlvr: completions) of a forward pass",
    "gradient_accumulation_steps": "passes before the weights move",
    "learning_rate": "of full fine-tuning; LoRA wants ten times it",
    "max_length": "tokens; 99 of 100 rows are not longer",
    "max_steps": "each samples, grades and learns",
    "num_generations": "completions of a problem, compared with each other",
    "max_completion_length": "tokens; longer is cut off, and fails",
    "max_new_tokens": "longer is cut off, and fails",
    "beta": "how strongly the model is held near its reference",
    "samples": "completions of each problem",
    "prompts": "ways to ask, each a line of the table: row 0",
}


@dataclass(frozen=True)
class Starter:
    """The files that were written, in order, and the commands to type, each with what it is for."""

    files: list[Path]
    commands: list[tuple[str, str]]


def write_starters(
    here: Situation,
    found: Sequence[Advice],
    settings: Mapping[str, Mapping[str, Any]],
    model: str,
    to: Path,
    force: bool,
) -> Starter:
    """Write a recipe for each method that can be started, problems held back, and ``chain.sh``.

    `settings` are the `train:` keys by stage. Raises UserError, before anything is written, where a file is there
    already and `force` is not given.
    """
    startable = [advice.method for advice in found if advice.startable]
    names = ["eval" if method == "prompt" else method for method in startable]
    problems = _problem_sources(here)
    parts = parts_named(problems.split, to)
    targets = [*chain.from_iterable(parts.values()), *(to / f"{name}.yaml" for name in names), to / "chain.sh"]
    _refuse_overwriting(targets, here, force)
    to.mkdir(parents=True, exist_ok=True)
    for facts in problems.split:
        _split(facts, *parts[id(facts)])
    commands = _commands(names, bool(problems.unseen), to)
    for name in names:
        recipe = {"stage": name, "out": f"runs/{name}", "seed": SEED, "model": {"path": model}}
        recipe |= _body(here, problems, name, settings, to, parts)
        of_problems = sum(facts.fits["rlvr"].rows for facts in problems.train)
        rows = of_problems if name in ("rlvr", "eval") else here.rows(name)
        title = _TITLES[name].format(rows=f"{rows:,}") + _left_out(problems, name)
        command = next(typed for typed, _ in commands if typed.startswith(f"posttrain {name} "))
        _write(to / f"{name}.yaml", f"# {title}\n#   {command}\n{_commented(recipe)}")
    script = "".join(f"# {purpose}\n{typed}\n" for typed, purpose in commands)
    _write(to / "chain.sh", f"set -e  # a step that fails stops the chain\n{script}")
    return Starter(targets, commands)


class _Problems(NamedTuple):
    """Problems to train on, by one grader; held-out ones for dev and for unseen; those to hold some back from."""

    train: list[Facts]
    dev: list[Facts]
    unseen: list[Facts]
    split: list[Facts]
    others: list[Facts]


def _left_out(problems: _Problems, name: str) -> str:
    """What a recipe's title says of problems that another grader judges."""
    if name not in ("rlvr", "eval") or not problems.others:
        return ""
    names = ", ".join(facts.name for facts in problems.others)
    return f"\n# {names}: judged by another grader, so not in here; give it a recipe of its own."


def _problem_sources(here: Situation) -> _Problems:
    train = sorted(here.gradable(here.train), key=lambda facts: -facts.fits["rlvr"].rows)
    if not train:
        return _Problems([], [], [], [], [])
    options = here.trials[id(train[0])].options
    others = [facts for facts in train if here.trials[id(facts)].options != options]
    train, held = (
        [facts for facts in part if here.trials[id(facts)].options == options]
        for part in (train, here.gradable(here.held_out))
    )
    unseen = [facts for facts in held if any(word in facts.name.lower() for word in ("test", "unseen", "held"))]
    dev = [facts for facts in held if facts not in unseen]
    return _Problems(train, dev, unseen, [] if dev else train, others)


def _body(
    here: Situation,
    problems: _Problems,
    name: str,
    settings: Mapping[str, Mapping[str, Any]],
    to: Path,
    parts: Mapping[int, tuple[Path, Path]],
) -> dict[str, Any]:
    """The sections of one recipe that are its own."""
    moved = {of: train for of, (train, _) in parts.items()}
    held = [_source(facts, "rlvr", to) for facts in problems.dev]
    held += [_source(facts, "rlvr", to, parts[id(facts)][1]) for facts in problems.split]
    if name in ("sft", "dpo", "kto"):
        train = {**settings[name], "learning_rate": _RATES[name]} | ({"beta": 0.1} if name != "sft" else {})
        return {"data": _imitated_or_preferred(here, name, to, moved), "train": train}
    graders = [here.trials[id(problems.train[0])].options]
    if name == "rlvr":
        listed = [_source(facts, "rlvr", to, moved.get(id(facts))) for facts in problems.train]
        train = {**settings[name], "learning_rate": _RATES[name]}
        look = {"samples": 8, "k": [1, 8], "limit": 50}
        return {"data": {"train": listed, "dev": held}, "graders": graders, "train": train, "eval": look}
    unseen = [_source(facts, "rlvr", to) for facts in problems.unseen]
    shown = [_source(facts, "sft", to, moved.get(id(facts))) for facts in here.train["sft"] if not facts.held_out]
    prompts = variants(problems.train[0], graders[0], shown[:1])
    return {
        "data": {"dev": held} | ({"unseen": unseen} if unseen else {}),
        "graders": graders,
        "rollout": {"temperature": 1.0, "max_new_tokens": settings["rlvr"]["max_completion_length"]},
        "eval": {"samples": 8, "k": [1, 8], "limit": _LIMIT, "prompts": prompts},
    }


def _split(facts: Facts, train: Path, dev: Path) -> None:
    fraction = 0.2 if facts.fits["rlvr"].rows < _FEW_PROBLEMS else HELD_OUT
    try:
        with _aside(train).open("w", encoding="utf-8") as kept, _aside(dev).open("w", encoding="utf-8") as held:
            write_parts(facts, kept, held, fraction=fraction, seed=SEED)
        for path in (train, dev):
            os.replace(_aside(path), path)
    finally:
        for path in (train, dev):
            _aside(path).unlink(missing_ok=True)


def _imitated_or_preferred(here: Situation, stage: str, to: Path, moved: Mapping[int, Path]) -> dict[str, Any]:
    train, total = [], here.rows(stage)
    for facts in here.train[stage]:
        source = _source(facts, stage, to, moved.get(id(facts)))
        if stage == "sft" and total > 2 * START_ROWS:
            source["limit"] = max(1, round(START_ROWS * facts.fits[stage].rows / total))
        train.append(source)
    data: dict[str, Any] = {"train": train}
    held = [facts for facts in here.held_out[stage] if "rlvr" not in facts.fits]  # problems are for evals
    if held:
        data["dev"] = [_source(facts, stage, to) for facts in held]
    elif total >= 20:
        data["dev"] = {"fraction": 0.05}
    if any(facts.bad or facts.fits[stage].bad for facts in here.train[stage]):
        data["bad_rows"] = "skip"
    return data


def _source(facts: Facts, stage: str, to: Path, moved: Path | None = None) -> dict[str, Any]:
    """The source as the recipe in `to` names it."""
    source, fit = facts.source, facts.fits[stage]
    path = str(moved or source.path)
    if moved is not None or not (is_remote(path) or is_hub_id(path)):
        path = os.path.relpath(os.path.abspath(path), os.path.abspath(to))
    written: dict[str, Any] = {"path": path}
    if moved is None:
        written |= {key: value for key in ("subset", "revision") if (value := getattr(source, key)) is not None}
        written |= {"split": source.split} if source.split != "train" else {}
    return written | ({"columns": fit.columns} if fit.columns else {}) | {"format": fit.format}


def _commands(names: Sequence[str], unseen: bool, to: Path) -> list[tuple[str, str]]:
    """What to type, in order, each with what it is for."""

    def recipe(name: str) -> str:
        return shlex.quote(str(to / f"{name}.yaml"))

    commands: list[tuple[str, str]] = []
    sft, parent, trained = "", "", ""
    for name in names:
        if name == "eval":
            commands.append((f"posttrain eval {recipe(name)}", _PURPOSES[name]))
            continue
        if name == "rlvr":
            commands.append((f"posttrain signal {recipe(name)}{parent}", _PURPOSES["signal"]))
        start = sft if name == "kto" else parent
        commands.append((f"posttrain {name} {recipe(name)}{start}", _PURPOSES[name]))
        made = f" --model runs/{name}"
        sft = made if name == "sft" else sft
        parent = parent if name == "kto" and "dpo" in names else made
        trained += made
    if "eval" in names and trained:
        look = " --unseen" if unseen else ""
        commands.append((f"posttrain eval {recipe('eval')}{look} --model base{trained}", "is it better than row 0?"))
    return commands


def _commented(recipe: Mapping[str, Any]) -> str:
    lines, said, section = [], set(), ""
    for line in dump_yaml(dict(recipe)).splitlines():
        section = line.partition(":")[0] if line[:1].isalpha() else section
        key = line.strip().removeprefix("- ").partition(":")[0]
        key = key if key != "limit" else "eval.limit" if section == "eval" else "train.limit"
        if key in _COMMENTS and key not in said:
            said.add(key)
            line = f"{line:{_COLUMN}}  # {_COMMENTS[key]}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _refuse_overwriting(targets: Sequence[Path], here: Situation, force: bool) -> None:
    sources = {Path(facts.source.path).absolute() for facts in here.sources}
    if clash := next((path for path in targets if path.absolute() in sources), None):
        raise UserError("is one of the files that are advised on", where=str(clash), fix="--to another directory")
    there = next((path for path in targets if path.exists()), None)
    if there is not None and not force:
        raise UserError("is there already", where=str(there), fix="--force writes over it.")


def _write(path: Path, text: str) -> None:
    _aside(path).write_text(text, encoding="utf-8")
    os.replace(_aside(path), path)


def _aside(path: Path) -> Path:
    return path.with_name(path.name + ".partial")
