"""A fine-tuning job of OpenAI's as a recipe: `posttrain recipe from-openai JOB.json`."""

from __future__ import annotations

import json
import os.path
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from posttrain.errors import UserError, UserErrors
from posttrain.recipe.explain import explain
from posttrain.recipe.openai_job import Hyperparameters, Job
from posttrain.recipe.yaml_lines import Loc, dotted, dump_yaml, read_json

_STAGE = {"supervised": "sft", "dpo": "dpo", "reinforcement": "rlvr"}
_GENERATIONS = 8
_LARGEST_BATCH = 8  # rows of one forward pass
_WIDTH = 36
_NO_COUNTERPART = {
    "learning_rate_multiplier": "it multiplies a rate that OpenAI does not tell; set train.learning_rate",
    "compute_multiplier": "it multiplies an amount that OpenAI does not tell; the completions of a problem are "
    "train.num_generations",
    "reasoning_effort": "how long a model thinks is its own; the room it has is train.max_completion_length",
}


class Converted(NamedTuple):
    """A recipe as text, its stage, and what of the job is not in it, one line each."""

    stage: str
    text: str
    left_out: list[str]


def convert_job(
    job_file: Path, *, to: Path, train: Path | None = None, dev: Path | None = None, model: str | None = None
) -> Converted:
    """Return the job as a recipe that will stand in the directory `to`.

    `train` and `dev` are the rows where the job has only ids at OpenAI; `model` is what to train. Raises UserErrors
    with every mistake of the job, and UserError where rows are not given.
    """
    job, raw = read_job(job_file)
    kind = job.method.type if job.method else "supervised"
    stage = _STAGE[kind]
    left_out = [f"model: {job.model} cannot be had; model.path is {model or 'builtin:tiny, only to try the chain'}"]
    parts = getattr(job.method, kind) if job.method else None
    settings = (parts.hyperparameters if parts else None) or job.hyperparameters or Hyperparameters()
    keys, look = _train_keys(stage, settings, left_out), _look(settings)
    sources = _sources(job, train, dev, job_file, to)
    left_out += _rest(job, parts)
    judges = list(dict.fromkeys(_judges(raw["method"]["reinforcement"]["grader"]))) if kind == "reinforcement" else []
    left_out += [f"judge: {judge} is asked where the grader's base_url says, or OPENAI_BASE_URL" for judge in judges]
    name = re.sub(r"[^\w.-]+", "-", job.suffix or job.user_provided_suffix or stage).strip("-") or stage
    sections = [
        _line("stage", stage, f"{kind}, at OpenAI")
        + _line("out", f"runs/{name}", "the run directory")
        + (_line("seed", job.seed, "of everything random") if job.seed is not None else ""),
        "model:\n" + _line("path", model or "builtin:tiny", _model_comment(model, job.model), indent=2),
        "data:\n" + _data(sources),
        _section("train", keys),
        _graders(raw) if kind == "reinforcement" else "",
        _section("eval", look),
    ]
    header = [
        f"# {kind.capitalize()} fine-tuning of {job.model}, from the job in {job_file.name}.",
        f"#   posttrain check {stage}.yaml && posttrain {stage} {stage}.yaml",
        "#",
        "# Not carried over:",
        *(f"#   {line}" for line in left_out),
    ]
    header = [" ".join(line.splitlines()) for line in header]  # a model's name is text that others wrote
    body = "\n".join(section for section in sections if section)
    return Converted(stage, "\n".join(header) + "\n" + body, left_out)


def write_recipe(converted: Converted, to: Path) -> Path:
    """Write the recipe as STAGE.yaml into the directory; raises UserError where one is there."""
    path = to / f"{converted.stage}.yaml"
    if path.exists():
        raise UserError("already there; nothing is overwritten", where=str(path), fix="name another directory")
    to.mkdir(parents=True, exist_ok=True)
    path.write_text(converted.text, encoding="utf-8")
    return path


def read_job(path: Path) -> tuple[Job, dict[str, Any]]:
    """Return the job in a JSON file, checked and as written; raises UserErrors with every mistake in it."""
    try:
        document = read_json(path.read_text(encoding="utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read the job: {reason}", where=str(path)) from None
    if not isinstance(document.data, dict):
        raise UserError("not a fine-tuning job: no JSON object", where=str(path))

    def place(loc: Loc) -> str:
        line = next((document.lines[loc[:n]] for n in range(len(loc), 0, -1) if loc[:n] in document.lines), 1)
        return f"{path}:{line} {dotted(loc)}".rstrip()

    if document.duplicates:
        raise UserErrors([UserError("duplicate key", where=place(loc)) for loc, _, _ in document.duplicates])
    try:
        return Job.model_validate_json(json.dumps(document.data), strict=True), document.data
    except ValidationError as error:
        raise UserErrors(explain(error.errors(), document.data, Job, place)) from None


class _Key(NamedTuple):
    name: str
    value: Any
    comment: str


def _train_keys(stage: str, settings: Hyperparameters, left_out: list[str]) -> list[_Key]:
    """Return the keys of `train:` that the job's hyperparameters mean; adds those that mean none to `left_out`."""
    keys = []
    given = {name: value for name, value in settings.model_dump().items() if value is not None}
    for name, value in given.items():
        if value in ("auto", "default"):
            left_out.append(f"{name}: {value}; posttrain's own default stands instead")
        elif name in _NO_COUNTERPART:
            left_out.append(f"{name}: {value}; {_NO_COUNTERPART[name]}")
        elif name == "n_epochs":
            keys.append(_Key("num_train_epochs", value, "n_epochs"))
        elif name == "batch_size":
            keys += _batch(stage, value)
        elif name == "beta":
            keys.append(_Key("beta", value, "how strongly the model is held near its reference"))
    return keys


def _batch(stage: str, size: int) -> list[_Key]:
    """Return the keys that make a step of `size` rows, or problems of 8 completions each, on one device."""
    if stage == "rlvr":
        return [
            _Key("num_generations", _GENERATIONS, "completions of each problem; OpenAI does not tell its own"),
            _Key("per_device_train_batch_size", _GENERATIONS, "completions of one forward pass"),
            _Key("gradient_accumulation_steps", size, f"batch_size: {size} problems a step, on one device"),
        ]
    rows = max(rows for rows in range(1, _LARGEST_BATCH + 1) if size % rows == 0)
    return [
        _Key("per_device_train_batch_size", rows, "rows of one forward pass"),
        _Key("gradient_accumulation_steps", size // rows, f"batch_size: {size} rows a step, on one device"),
    ]


def _look(settings: Hyperparameters) -> list[_Key]:
    keys = []
    every, samples = getattr(settings, "eval_interval", None), getattr(settings, "eval_samples", None)
    if isinstance(every, int):
        keys.append(_Key("every", every, "eval_interval: steps between two looks"))
    if isinstance(samples, int):
        keys.append(_Key("samples", samples, "eval_samples: completions of each held-out problem"))
        keys.append(_Key("k", sorted({1, samples}), "the k of pass@k"))
    return keys


def _rest(job: Job, parts: Any) -> list[str]:
    """Return what else of the job has no place in a recipe."""
    said = {
        "integrations": "see `train.report_to` and `train.run_name`, TRL's own",
        "metadata": "a recipe has comments",
        "trainingType": "where it runs is `launch`",
        "tools": "rlvr samples without tools",
        "max_episode_steps": "a completion is one turn",
    }
    lines = []
    for name, why in said.items():
        if (value := getattr(job, name, None) or getattr(parts, name, None)) is not None:
            shown = f": {value}" if isinstance(value, str | int) else ""
            lines.append(f"{name}{shown}; {why}")
    return lines


def _sources(job: Job, train: Path | None, dev: Path | None, job_file: Path, to: Path) -> dict[str, str]:
    """Return the rows of `train` and `dev`, relative to the recipe: those given, else those of the job."""
    sources, missing = {}, []
    for part, key, given in (("train", "training_file", train), ("dev", "validation_file", dev)):
        named = getattr(job, key)
        if given is None and named is not None and re.fullmatch(r"file[-_]\w+", named):
            fix = f"give your copy of it: --{part} FILE.jsonl"
            missing.append(UserError(f"{named} is a file at OpenAI", where=f"{job_file} {key}", fix=fix))
        elif given is not None or named is not None:
            path, base = (given, Path()) if given is not None else (Path(named), job_file.parent)
            sources[part] = str(path) if path.is_absolute() else os.path.relpath(base / path, to)
    if missing:
        raise UserErrors(missing)
    return sources


def _model_comment(model: str | None, hosted: str) -> str:
    return f"in place of {hosted}" if model else f"only to try the chain: name a model in place of {hosted}"


def _data(sources: dict[str, str]) -> str:
    comments = {"train": "training_file", "dev": "validation_file"}
    return "".join(f"  {part}:\n" + _line("- path", path, comments[part], indent=4) for part, path in sources.items())


def _graders(raw: dict[str, Any]) -> str:
    """Return the section with the job's grader as it is written, and a gate for the format that it demanded."""
    given = raw["method"]["reinforcement"]
    graders = [given["grader"]]
    comment = "# The job's grader, as it was."
    schema = given.get("response_format")
    if schema and schema.get("type") != "text":
        gate = {"type": "json", "name": "response_format", "role": "gate", "fields": {}, "schema": schema}
        graders.append(gate)
        comment += (
            "\n# OpenAI's service let the model write nothing but its response_format; here a completion that breaks"
            "\n# it is paid 0, which the gate sees to."
        )
    return f"{comment}\n{dump_yaml({'graders': graders})}"


def _judges(grader: Any) -> Iterator[str]:
    """Yield the models that the grader asks, and those inside it."""
    if isinstance(grader, dict) and grader.get("type") in ("score_model", "label_model"):
        yield str(grader.get("model"))
    for inner in grader.values() if isinstance(grader, dict) else grader if isinstance(grader, list) else ():
        yield from _judges(inner)


def _section(name: str, keys: list[_Key]) -> str:
    lines = "".join(_line(key.name, key.value, key.comment, indent=2) for key in keys)
    return f"{name}:\n{lines}" if lines else ""


def _line(key: str, value: Any, comment: str, *, indent: int = 0) -> str:
    written = dump_yaml([value]).removeprefix("- ").rstrip("\n") if not isinstance(value, list) else str(value)
    if "\n" in written:  # folded: JSON's text is YAML too, and stays on its line
        written = json.dumps(value, ensure_ascii=False)
    return f"{' ' * indent}{key}: {written}".ljust(_WIDTH) + f"  # {' '.join(comment.splitlines())}\n"
