"""The reference's log-probabilities of every answer: worked out once, for all epochs, looks and later runs.

The sum of log p(token) over an answer depends on the reference and on the tokens alone. So it is kept under the digest
of the tokens, in a folder of the reference: other learning rates, seeds, batch sizes and held-out parts find it there,
rows that are added are all that is computed, and an interrupted pass goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from posttrain.data import known
from posttrain.data.cache import cached, file_digest
from posttrain.data.length import kept_part
from posttrain.data.packing import row_lengths
from posttrain.progress import progress
from posttrain.stages.arguments import reads_reference_beforehand, rows_read, train_settings
from posttrain.stages.job import Job
from posttrain.stages.terminal import say

ANSWERS = {
    "dpo": {"chosen_ids": "ref_chosen_logps", "rejected_ids": "ref_rejected_logps"},
    "kto": {"completion_ids": "ref_logps", "KL_completion_ids": "ref_KL_logps"},
}
"""By stage: the columns of answers, and where TRL looks for the reference's log-probabilities of each."""

FORWARD = Path(__file__).parents[1] / "forward"
"""What computes them."""

_ROUNDS = 20  # a pass is gathered and kept in so many parts
_ROOM = 4  # times the tokens of a training batch: nothing is kept for gradients
_TOKENS_ON_CPU = 2048  # a processor gains nothing from larger batches


class Beforehand:
    """A mixin for TRL's trainers, whose own pass comes before the trainer is whole and keeps what it finds in a file
    that one process sees, under a name that is another in each run."""

    def _precompute_ref_logps(self, dataset, name, batch_size):
        return dataset


def is_computed_beforehand(job: Job) -> bool:
    """Whether the reference reads all rows before the first step.

    It then reads them in large batches of one length, once for all epochs and looks. A run that ends before it has
    seen its rows would pay for those that it never sees.
    """
    settings, ranks, rows = train_settings(job.recipe), job.arguments.world_size, len(job.train_dataset)
    read = rows_read(settings, rows, ranks)
    if settings.get("precompute_ref_log_probs") is None and read < rows:
        say(f"reference: asked at each step, since the run reads {read:,} of {rows:,} rows")
    return reads_reference_beforehand(settings, rows, ranks)


def add_reference(trainer: Any, job: Job) -> None:
    """Give the trainer's rows, held-out ones too, the reference's log-probabilities. Every rank calls this, before
    training: the model is the parent still."""
    trainer.train_dataset = _with_reference(trainer, job, trainer.train_dataset, "train")
    if trainer.eval_dataset is not None:
        trainer.eval_dataset = _with_reference(trainer, job, trainer.eval_dataset, "dev")


def _with_reference(trainer: Any, job: Job, dataset: Any, name: str) -> Any:
    answers = {ids: out for ids, out in ANSWERS[job.recipe.stage].items() if ids in dataset.column_names}
    keys = answer_keys(dataset, list(answers), job.arguments)
    with ExitStack() as held:
        values, folder = _found(trainer, job, keys, held)
        missing = np.flatnonzero(np.isnan(values).any(axis=1))
        if not len(missing):
            say(f"reference: the log-probabilities of {len(keys):,} {name} rows are known from an earlier run")
        else:
            say(f"reference: computing the log-probabilities of {len(missing):,} of {len(keys):,} {name} rows, once")
            whole = np.ascontiguousarray(keys[missing]).view(f"V{keys.itemsize * len(answers)}")[:, 0]
            _, first, copy_of = np.unique(whole, return_index=True, return_inverse=True)
            values[missing] = _computed(trainer, dataset, missing[first], keys, folder, name)[copy_of]
    return _with_columns(dataset, dict(zip(answers.values(), values.T, strict=True)))


def answer_keys(dataset: Any, answers: list[str], arguments: Any) -> known.Keys:
    """Return the digest of each answer: rows down, answers across. It is over the tokens that the trainer's collator
    leaves of prompt and answer, how many are the answer's and, where the sum depends on it (``ld_alpha``), how many
    those of a pair have in common."""
    part = kept_part(arguments.max_length, getattr(arguments, "truncation_mode", "keep_start"))
    in_common = getattr(arguments, "ld_alpha", None) is not None
    found: list[bytes] = []
    for batch in dataset.data.table.select(["prompt_ids", *answers]).to_batches():
        columns = [_lists(column) for column in batch.columns]
        for row in range(batch.num_rows):
            prompt, *rest = (ids[offsets[row] : offsets[row + 1]] for ids, offsets in columns)
            rows = [np.concatenate([prompt, answer]) for answer in rest]
            bounds = [part.indices(len(ids))[:2] for ids in rows]
            own = [stop - max(start, len(prompt)) for start, stop in bounds]
            common = min(own) if in_common else 0
            for ids, count in zip(rows, own, strict=True):
                head = np.array([count, common], np.int64)
                found.append(hashlib.blake2b(head.tobytes() + ids[part].tobytes(), digest_size=16).digest())
    keys = np.array(found, known.KEY).reshape(-1, len(answers))
    return keys if dataset._indices is None else keys[dataset._indices.column(0).to_numpy()]


def _lists(column: Any) -> tuple[Any, Any]:
    """Return the tokens of a column of lists behind each other, and where each list begins and ends."""
    return column.values.to_numpy().astype(np.int32, copy=False), column.offsets.to_numpy()


def _found(trainer: Any, job: Job, keys: known.Keys, held: ExitStack) -> tuple[known.Values, Path | None]:
    """Return what the first rank's cache knows, NaN elsewhere, and in that rank the folder that it was found in. Where
    something is missing, the folder is `held` by this run: another that asks the same waits for its answers."""
    from accelerate.utils import broadcast_object_list

    values, folder = None, None
    if trainer.is_world_process_zero():
        key = reference_key(trainer, job)
        folder = cached("reference", key, lambda into: _describe(into, key), code=False)
        values = known.look_up(folder, keys)
        if np.isnan(values).any():
            held.enter_context(known.turn(folder))
            values = known.look_up(folder, keys)
    return broadcast_object_list([values])[0], folder


def _describe(folder: Path, key: Mapping[str, Any]) -> None:
    (folder / "about.json").write_text(json.dumps(key, indent=1), encoding="utf-8")


def reference_key(trainer: Any, job: Job) -> dict[str, Any]:
    """Return all that decides what the reference says of given tokens, rounding included."""
    model = job.model
    return {
        "parent": job.parent.digest,
        "weights": str(model.dtype),
        "zero": job.recipe.launch.zero > 0,
        "load_in_4bit": job.recipe.model.load_in_4bit,
        "autocast": str(trainer.accelerator.mixed_precision),
        "device": trainer.accelerator.device.type,
        "attention": model.config._attn_implementation,
        "ld_alpha": getattr(job.arguments, "ld_alpha", None),
        "code": [
            file_digest(__file__),
            *map(file_digest, sorted(FORWARD.glob("*.py"))),
            *(f"{name}={version(name)}" for name in ("torch", "transformers", "trl")),
        ],
    }


def _computed(trainer: Any, dataset: Any, rows: Any, keys: known.Keys, folder: Path | None, name: str) -> known.Values:
    """Return the log-probabilities of the answers of `rows`. The ranks share them out, and the first keeps them."""
    from accelerate.utils import gather_object

    state = trainer.accelerator
    lengths = row_lengths(dataset)[rows]
    batches = _batches(lengths, trainer.args, on_cpu=state.device.type == "cpu")
    turns = -(-len(batches) // state.num_processes)  # as many in each rank: under ZeRO-3 all of them compute at once
    values = np.full((len(rows), keys.shape[1]), np.nan, np.float32)
    with _ready(trainer) as model, progress(f"reference, {name}: tokens", int(lengths.sum())) as advance:
        for turn_numbers in np.array_split(np.arange(turns), min(_ROUNDS, turns)):
            mine = [(turn * state.num_processes + state.process_index) % len(batches) for turn in turn_numbers]
            done = []
            for number in mine:
                batch = batches[number]
                done.append((batch, _answer_logps(trainer, model, dataset, rows[batch])))
                advance(int(lengths[batch].sum()) * state.num_processes)
            done = gather_object(done) if state.num_processes > 1 else done
            for batch, found in done:
                values[batch] = found
            if folder is not None:
                fresh = np.concatenate([batch for batch, _ in done])
                _keep(folder, keys[rows[fresh]], values[fresh])
    return values


def _batches(lengths: Any, arguments: Any, *, on_cpu: bool) -> list[Any]:
    """Return the positions of rows in batches of about one length, the longest first: what does not fit into memory
    shows at once."""
    order = np.argsort(-lengths, kind="stable")
    if size := arguments.precompute_ref_batch_size:
        return np.split(order, range(size, len(order), size))
    room = _ROOM * arguments.per_device_train_batch_size * int(lengths.max())
    if on_cpu:
        room = min(room, _TOKENS_ON_CPU)
    batches, at = [], 0
    while at < len(order):
        count = max(1, room // int(lengths[order[at]]))
        batches.append(order[at : at + count])
        at += count
    return batches


@contextmanager
def _ready(trainer: Any) -> Iterator[Any]:
    """Give the reference, without dropout. Training has not wrapped the model yet, and under DeepSpeed something must
    place and gather its weights: an engine whose hooks are gone again when training makes its own."""
    from trl.models.utils import prepare_deepspeed

    model, was_training = trainer.model, trainer.model.training
    engine = prepare_deepspeed(model, trainer.accelerator) if trainer.is_deepspeed_enabled else None
    model.eval()
    try:
        yield engine or model
    finally:
        if engine is not None:
            engine.destroy()
        model.train(was_training)


def _answer_logps(trainer: Any, model: Any, dataset: Any, rows: Any) -> known.Values:
    import torch

    columns = dataset[rows]
    examples = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    logps = trainer.compute_ref_log_probs(model, trainer._prepare_inputs(trainer.data_collator(examples)))
    return torch.stack([each for each in logps if each is not None], 1).float().cpu().numpy()


def _with_columns(dataset: Any, columns: Mapping[str, known.Values]) -> Any:
    """Return the rows with these columns of numbers beside theirs, which are not copied."""
    import pyarrow
    from datasets import Dataset

    table, order = dataset.data.table.replace_schema_metadata(None), dataset._indices
    rows = np.arange(len(table)) if order is None else order.column(0).to_numpy()
    for name, values in columns.items():
        whole = np.full(len(table), np.nan, np.float32)
        whole[rows] = values
        table = table.append_column(name, pyarrow.array(whole))
    return Dataset(table, indices_table=order, fingerprint=f"{dataset._fingerprint}-reference")


def _keep(folder: Path, keys: known.Keys, values: known.Values) -> None:
    try:
        known.add(folder, keys, values)
    except OSError as error:
        say(f"the reference's log-probabilities cannot be kept for later runs: {error}")
