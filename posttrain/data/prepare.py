"""Records to the token rows of a trainer, once: by all cores, into an Arrow file that every rank maps.

Rows are tokenized in the order of their files and kept; the order of training is a list of row numbers on top, so
another seed, or another share held out, finds them tokenized.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from posttrain.data.cache import cached, file_digest
from posttrain.data.tokenize import OF_STAGE, Tokenized
from posttrain.data.view import Order, Records, read_batch
from posttrain.data.workers import in_order
from posttrain.errors import UserError
from posttrain.progress import progress

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

ROWS = "rows.arrow"
ABOUT = "about.json"

_BATCHES_ALONE = 2  # with fewer, starting other processes takes longer than the work
_IDS = pa.list_(pa.int32())
_COLUMNS: dict[str, dict[str, pa.DataType]] = {
    "sft": {"input_ids": _IDS, "labels": _IDS},
    "dpo": {"prompt_ids": _IDS, "chosen_ids": _IDS, "rejected_ids": _IDS},
    "kto": {"prompt_ids": _IDS, "completion_ids": _IDS, "label": pa.bool_()},
    "rlvr": {"prompt_ids": _IDS},
}


@dataclass(frozen=True)
class Prepared:
    """A trainer's rows in the order of the records, and for each the position of its record.

    `summary` says how many records were kept, and why not the others.
    """

    dataset: Dataset
    record_of: Order
    summary: str


def prepare_rows(
    records: Records, stage: str, tokenizer: PreTrainedTokenizerBase, settings: dict[str, Any]
) -> Prepared:
    """Return the token rows of the records as `tokenize` makes them with `settings`, made now or found.

    Raises UserError for a record that the template cannot write, and when no record is left to train on.
    """
    from datasets import Dataset

    numbers, rank = np.unique(records.order, return_inverse=True)
    key = {
        "stage": stage,
        "settings": settings,
        "tokenizer": tokenizer_digest(tokenizer),
        "records": hashlib.sha256(records.at(numbers).digests("content").tobytes()).hexdigest(),
    }
    entry = cached("tokens", key, lambda into: _tokenize(records, stage, tokenizer, settings, into))
    about = json.loads((entry / ABOUT).read_text(encoding="utf-8"))
    summary = about["summary"]
    if len(rank) != len(numbers):
        summary += f"; with copies, {len(rank):,} of {len(numbers):,} different rows"
    if not about["kept"]:
        raise UserError(f"no row is left to train on: {summary}", fix="Raise the length limit.")
    rows = Dataset.from_file(str(entry / ROWS))
    made_of = rows.data.column("index").to_numpy()
    starts = np.searchsorted(made_of, np.arange(len(numbers) + 1))
    first, count = starts[rank], np.diff(starts)[rank]
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    order = np.repeat(first, count) + within
    dataset = rows.remove_columns("index").select(order, keep_in_memory=True)
    return Prepared(dataset, np.repeat(np.arange(len(rank)), count), summary)


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 over all that the tokenizer would save: vocabulary, special tokens, chat template."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        said = [f"{path.relative_to(folder)} {file_digest(path)}" for path in files]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


def _tokenize(records: Records, stage: str, tokenizer: Any, settings: dict[str, Any], into: Path) -> None:
    """Write the token rows of each record once, in the order of the files, and what became of the records."""
    schema = pa.schema({"index": pa.int64(), **_COLUMNS[stage]})
    done = Tokenized([], 0)
    with (
        pa.OSFile(str(into / ROWS), "wb") as sink,
        pa.ipc.new_stream(sink, schema) as writer,
        progress("tokenizing rows", len(np.unique(records.order))) as advance,
    ):
        batches = in_order(
            _tokenize_batch,
            _tasks(records, schema),
            alone=_BATCHES_ALONE,
            prepare=_use,
            given=(tokenizer, stage, settings),
        )
        for batch, counted in batches:
            writer.write_batch(batch)
            done = done.with_counts_of(counted)
            advance(counted.total)
    (into / ABOUT).write_text(json.dumps({"kept": done.kept, "summary": done.summary}), encoding="utf-8")


def _tasks(records: Records, schema: pa.Schema) -> Iterator[tuple[Any, ...]]:
    first = 0
    for stored, batch, rows in records.batches():
        yield records.record_type, stored.path, stored.names, batch, rows, first, schema
        first += len(rows)


_with: dict[str, Any] = {}


def _use(tokenizer: Any, stage: str, settings: dict[str, Any]) -> None:
    """Say once in each process what its batches are tokenized with: it is large, and they are many."""
    _with.update(tokenizer=tokenizer, stage=stage, settings=settings)


def _tokenize_batch(task: tuple[Any, ...]) -> tuple[pa.RecordBatch, Tokenized]:
    record_type, path, names, batch, rows, first, schema = task
    records = read_batch(record_type, path, names, batch, rows)
    done = OF_STAGE[_with["stage"]](records, _with["tokenizer"], **_with["settings"])
    columns = {name: [row[name] for row in done.rows] for name in schema.names}
    columns["index"] = [first + index for index in columns["index"]]
    done.rows.clear()
    return pa.record_batch(columns, schema=schema), done
