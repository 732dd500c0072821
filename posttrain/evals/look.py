"""One look of an opened model at some problems, kept in a file so that it can be gone on with."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from posttrain.data.records import Problem
from posttrain.engines.sampling import Sampling
from posttrain.errors import Stopped
from posttrain.evals.candidate import Candidate, Opened
from posttrain.evals.held_out import sample_and_grade
from posttrain.evals.kept import look_again
from posttrain.evals.summary import Graded
from posttrain.graders.grade import Grader
from posttrain.progress import progress
from posttrain.recipe.schema import Recipe
from posttrain.runs import directory

_NOT_LOADED = ("path", "revision", "lora", "save", "chat_template")


def take_look(
    opened: Opened,
    problems: Sequence[Problem],
    graders: Sequence[Grader],
    sampling: Sampling,
    *,
    label: str,
    keep: Path | None,
    graded_by: str,
    max_errors: float,
) -> list[Graded]:
    """Return the problems that the model can take, sampled and graded, with progress on stderr.

    Completions are kept in the file `keep`, and not drawn again when it has them.
    """
    kept, prompts = opened.prompts(problems)
    asked = [problems[i] for i in kept]

    def draw(indices: Sequence[int]) -> Iterator[tuple[int, Graded]]:
        some, their = [asked[i] for i in indices], [prompts[i] for i in indices]
        drawn = sample_and_grade(opened.engine, some, their, graders, sampling, max_errors=max_errors)
        for number, row in drawn if indices else ():
            yield indices[number], row

    started, total = time.monotonic(), len(asked) * sampling.samples
    with TemporaryDirectory() as nowhere, progress(label, total) as advance:
        path = keep or Path(nowhere) / "samples.jsonl"
        try:
            graded = look_again(path, asked, sampling.samples, graders, graded_by, draw, advance, max_errors=max_errors)
        except Stopped as stop:
            stop.kept = _kept(keep)
            raise
    print(f"{label}: {total:,} completions in {time.monotonic() - started:,.0f} s", file=sys.stderr)
    return graded


def _kept(keep: Path | None) -> str:
    """Return what a stopped look goes on from."""
    if keep is None:
        return "nothing is kept without a directory; with --out the same command would go on"
    return f"what was drawn is kept in {keep}; run the same command again to go on"


def graders_digest(recipe: Recipe) -> str:
    """Return what tells the recipe's graders from others: their settings, and the files that they are made of."""
    dumped = recipe.model_dump(mode="json")
    files = {key: digest for key, digest in directory.file_digests(dumped).items() if key.startswith("graders")}
    return short_digest({"graders": dumped["graders"], "files": files})


def draws_digest(chosen: Candidate, recipe: Recipe, sampling: Sampling) -> str:
    """Return what tells these draws from others: the model, how it is loaded, its chat template, the sampling. The
    batch size does not count, and nor do the problems: each has its own rows in a file of samples."""
    dumped = recipe.model_dump(mode="json")
    load = {key: value for key, value in dumped["model"].items() if key not in _NOT_LOADED}
    template = directory.file_digests(dumped).get("model.chat_template")
    how = {key: value for key, value in vars(sampling).items() if key != "batch_size"}
    drawn = {"model": chosen.digest, "load": load, "template": template, "sampling": how}
    if recipe.rollout.engine == "vllm":
        drawn["engine"] = "vllm"  # whose draws are others
    return short_digest(drawn)


def short_digest(document: Mapping[str, Any]) -> str:
    """Return eight hexadecimal digits that change when the document does, for names of files."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()[:8]


def file_name(name: str) -> str:
    """Return a model's name as part of a file name."""
    return re.sub(r"[^\w.]+", "-", name).strip("-.") or "model"
