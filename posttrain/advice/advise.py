"""`posttrain advise`: look at the rows, say which methods fit, what they cost, and write recipes to start from."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.advice.cost import Cost, cost_of, memory_of, tokens_a_batch, tokens_of
from posttrain.advice.facts import Facts, held_out_by_name, look_at_source
from posttrain.advice.machine import Machine, measure
from posttrain.advice.measured import read_eval, read_signal
from posttrain.advice.methods import Advice, Situation, advise, situation
from posttrain.advice.settings import HELD_OUT, START_ROWS, train_settings
from posttrain.advice.size import Size, size_of
from posttrain.advice.starter import Starter, write_starters
from posttrain.advice.tokens import CHARACTERS_A_TOKEN, Lengths, lengths
from posttrain.errors import UserError
from posttrain.recipe.schema import Model, Source

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from posttrain.model.resolve import Parent

BARE_MODEL = "builtin:tiny"
STAGES = ("sft", "dpo", "kto", "rlvr")


@dataclass(frozen=True)
class Advised:
    """All that `advise` has to say. `costs` are by stage; `rough` that tokens were guessed from characters."""

    here: Situation
    methods: list[Advice]
    lengths: dict[str, Lengths]
    tokens: dict[str, float]
    costs: dict[str, Cost]
    model: str | None
    size: Size | None
    machine: Machine | None
    starter: Starter | None

    @property
    def document(self) -> dict[str, Any]:
        """The same as one JSON document."""
        return {
            "sources": [_source_document(facts, self.here) for facts in self.here.sources],
            "methods": [asdict(advice) for advice in self.methods],
            "measured": [
                asdict(line) for line in [*self.here.lines, *([self.here.measured] if self.here.measured else [])]
            ],
            "tokens_a_row": {stage: asdict(length) for stage, length in self.lengths.items()},
            "tokens": self.tokens,
            "cost": {stage: asdict(cost) for stage, cost in self.costs.items()},
            "model": self.model,
            "parameters": self.size.parameters if self.size else None,
            "machine": asdict(self.machine) if self.machine else None,
            "files": [str(path) for path in self.starter.files] if self.starter else [],
            "commands": [typed for typed, _ in self.starter.commands] if self.starter else [],
        }


def take_advice(
    names: Sequence[str],
    *,
    model: str | None = None,
    eval_out: Path | None = None,
    signal_out: Path | None = None,
    to: Path | None = None,
    force: bool = False,
    with_cost: bool = True,
) -> Advised:
    """Look at the sources and recipes that `names` are, and return the advice; write recipes into `to`.

    Raises UserError for a model or an out directory that is not there, where no source can be read, and as
    `write_starters` does.
    """
    signal = read_signal(signal_out) if signal_out else None
    lines = read_eval(eval_out) if eval_out else []
    sources, of_recipe = _sources(names)
    model = model or of_recipe
    parent = _parent(model) if model else None
    looked = [look_at_source(source, held_out=held_out) for source, held_out in sources]
    if all(facts.trouble for facts in looked):
        raise UserError("; ".join(dict.fromkeys(facts.trouble for facts in looked)))
    here = situation(looked, signal, lines)
    methods = advise(here)
    tokenizer = _tokenizer(parent) if parent else None
    size = _size(parent or _parent(BARE_MODEL))
    counted, settings, rows = _settings(here, tokenizer, size)
    startable = [advice.method for advice in methods if advice.startable and advice.method in counted]
    tokens = {stage: sum(tokens_of(stage, rows[stage], counted[stage], settings[stage])[0]) / 2 for stage in startable}
    machine: Machine | None = None
    costs: dict[str, Cost] = {}
    if with_cost and parent and startable and size:
        machine, costs = _costs(parent, size, startable, rows, counted, settings)
    starter = (
        write_starters(here, methods, settings, model or BARE_MODEL, to, force)
        if to and any(advice.startable for advice in methods)
        else None
    )
    return Advised(here, methods, counted, tokens, costs, model, size if model else None, machine, starter)


def _sources(names: Sequence[str]) -> tuple[list[tuple[Source, bool]], str | None]:
    """Each source, with whether it is held out; and the first recipe's model."""
    from posttrain.inspection.opened import is_recipe
    from posttrain.recipe.load import load_recipe

    found: list[tuple[Source, bool]] = []
    model = None
    for name in names:
        if not is_recipe(name):
            found.append((Source(path=name), held_out_by_name(name)))
            continue
        recipe = load_recipe(Path(name), stage=None).recipe
        model = model or recipe.model.path
        found += [(source, False) for source in recipe.data.train]
        dev = recipe.data.dev if isinstance(recipe.data.dev, list) else []
        found += [(source, True) for source in [*dev, *recipe.data.unseen, *recipe.data.problems]]
    unique = {(each.path, each.subset, each.split, each.revision): (each, held_out) for each, held_out in found}
    return list(unique.values()), model


def _parent(model: str) -> Parent:
    from posttrain.model.resolve import resolve

    return resolve(model, where="--model")


def _tokenizer(parent: Parent) -> PreTrainedTokenizerBase | None:
    from posttrain.model.tokenizer import load_tokenizer

    try:
        return load_tokenizer(parent, Model(path=parent.name))
    except UserError as error:
        print(f"tokens are guessed, {CHARACTERS_A_TOKEN} characters each: {error}", file=sys.stderr)
        return None


def _settings(
    here: Situation, tokenizer: PreTrainedTokenizerBase | None, size: Size | None
) -> tuple[dict[str, Lengths], dict[str, dict[str, Any]], dict[str, int]]:
    """The lengths of the rows, the `train:` keys and the number of training rows, by stage."""
    counted, settings, rows = {}, {}, {}
    context = size.context if size else None
    for stage in STAGES:
        sample = [record for facts in here.train[stage] for record in facts.fits[stage].sample]
        if not sample:
            continue
        counted[stage] = lengths(sample, stage, tokenizer)
        total = here.rows(stage)
        rows[stage] = START_ROWS if stage == "sft" and total > 2 * START_ROWS else total
        if stage == "rlvr":
            usable = here.gradable(here.train) or here.train[stage]
            rows[stage] = sum(facts.fits[stage].rows for facts in usable)
            left = int(rows[stage] * (1 - 2 * HELD_OUT))
            settings[stage] = train_settings(stage, left, counted[stage], here.trials.get(id(usable[0])), context)
        else:
            settings[stage] = train_settings(stage, rows[stage], counted[stage], context=context)
    return counted, settings, rows


def _size(parent: Parent) -> Size | None:
    try:
        return size_of(parent)
    except UserError as error:
        print(f"no memory and time: {error}", file=sys.stderr)
        return None


def _costs(
    parent: Parent,
    size: Size,
    stages: Sequence[str],
    rows: Mapping[str, int],
    counted: Mapping[str, Lengths],
    settings: Mapping[str, Mapping[str, Any]],
) -> tuple[Machine, dict[str, Cost]]:
    batch = max(tokens_a_batch(stage, counted[stage], settings[stage]) for stage in stages)
    machine = measure(size, batch)
    costs = {}
    for stage in stages:
        memory = memory_of(parent, stage, counted[stage], settings[stage], on_gpu=machine.is_gpu)
        costs[stage] = cost_of(stage, rows[stage], counted[stage], settings[stage], size, machine, memory)
    return machine, costs


def _source_document(facts: Facts, here: Situation) -> dict[str, Any]:
    trial = here.trials.get(id(facts))
    return {
        "path": facts.source.path,
        "held_out": facts.held_out,
        "rows": facts.rows,
        "bad": facts.bad,
        "trouble": facts.trouble,
        "stages": {
            stage: {
                "format": fit.format,
                "columns": fit.columns,
                "rows": fit.rows,
                "bad": fit.bad,
                "unusable": dict(fit.unusable),
                "with_tools": fit.tools,
            }
            for stage, fit in facts.fits.items()
        },
        "labels": {"up": facts.labels[True], "down": facts.labels[False]} if facts.labels else None,
        "grader": {**trial.options, "passed": trial.passed, "tried": trial.tried} if trial else None,
    }
