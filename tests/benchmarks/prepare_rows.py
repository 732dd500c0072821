"""Getting a large chat set ready for SFT: posttrain against TRL's own preparation, on the same rows and cores.

    python tests/benchmarks/prepare_rows.py --rows 1000000

Makes the rows (about 1.1 KB each), a byte-level BPE vocabulary trained on them, and takes Qwen 2.5's chat template,
for which TRL has a training template of its own. Each side runs in a fresh process: `SFTTrainer` with
assistant_only_loss on a model of one tiny layer, its `datasets.map` by as many processes as there are cores (TRL's
own default is one: `--processes 1`); posttrain as its stages do it, first with an empty cache and then again. Times
are from the file to rows that a trainer can read, without the imports. Memory is the highest sum over the process and
its children, shared pages counted once (PSS), that a look every two seconds saw. The first rows of both sides are
compared.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

from measure.processes import pss, tree

COMPARED = 1000
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="of TRL's map")
    parser.add_argument("--folder", type=Path, help="where the rows are made and kept; a temporary one when left out")
    parser.add_argument("--side", choices=["posttrain", "trl"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        found = posttrain_side(arguments) if arguments.side == "posttrain" else trl_side(arguments)
        print("RESULT " + json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as temporary:
        arguments.folder = arguments.folder or Path(temporary)
        compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "rows.jsonl").exists():
        make_rows(folder / "rows.jsonl", arguments.rows)
        make_tokenizer(folder)
    size = (folder / "rows.jsonl").stat().st_size
    print(f"{arguments.rows:,} rows, {size / 1e6:,.0f} MB, {len(os.sched_getaffinity(0))} cores")
    for kept in ("cache", "hf"):
        shutil.rmtree(folder / kept, ignore_errors=True)
    theirs = side("trl", arguments)
    report(f"TRL, {arguments.processes} processes", theirs, theirs)
    report("TRL, again", side("trl", arguments), theirs)
    for name in ("posttrain", "posttrain, again"):
        ours = side("posttrain", arguments)
        report(name, ours, theirs)
        assert (ours["kept"], ours["tokens"]) == (theirs["kept"], theirs["tokens"])
        check_same(ours["head"], theirs["head"])


def report(name: str, found: dict[str, Any], first: dict[str, Any]) -> None:
    rate = found["tokens"] / found["seconds"]
    faster, cheaper = first["seconds"] / found["seconds"], first["processor"] / found["processor"]
    print(
        f"{name:18} {found['seconds']:8.1f} s {rate:13,.0f} tokens/s {found['memory']:6,.0f} MB  "
        f"{faster:7.2f} times as fast, {cheaper:6.2f} by processor time "
        f"({found['processor'] / found['kept'] * 1e6:,.0f} µs a row)",
        flush=True,
    )


def check_same(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """The same tokens; of them trained the same, but that TRL's template also trains the line break before a turn."""
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["input_ids"] == other["input_ids"]
        labels = mine["labels"]
        turns = [at for at in range(1, len(labels)) if labels[at - 1] == -100 != labels[at]]
        more = [at for at, (a, b) in enumerate(zip(labels, other["labels"], strict=True)) if a != b]
        assert more == [at - 1 for at in turns]


def make_rows(path: Path, count: int) -> None:
    """One to three exchanges a row, some with a system turn, of words as frequent as Zipf's law has it."""
    rng = random.Random(SEED)
    letters = "etaoinshrdlucmfwygpbvk"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(20_000)]
    weights = [1 / (rank + 10) for rank in range(len(words))]
    drawn = rng.choices(words, weights, k=1 << 20)

    def text(least: int, most: int) -> str:
        start = rng.randrange(len(drawn) - most)
        return " ".join(drawn[start : start + rng.randint(least, most)]).capitalize() + "."

    with path.open("w") as file:
        for index in range(count):
            turns = [{"role": "system", "content": text(8, 16)}] if rng.random() < 0.3 else []
            for _ in range(rng.choice((1, 1, 2, 3))):
                turns.append({"role": "user", "content": text(8, 50)})
                turns.append({"role": "assistant", "content": text(20, 110)})
            file.write(json.dumps({"messages": turns, "id": index}) + "\n")


def make_tokenizer(folder: Path) -> None:
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    def texts():
        with (folder / "rows.jsonl").open() as file:
            for line, _ in zip(file, range(5000), strict=False):
                yield from (turn["content"] for turn in json.loads(line)["messages"])

    trained = ByteLevelBPETokenizer(trim_offsets=False)
    trained.train_from_iterator(texts(), vocab_size=16_000, special_tokens=["<|endoftext|>"], show_progress=False)
    made = PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    made.chat_template = (files("trl") / "chat_templates" / "qwen2_5.jinja").read_text(encoding="utf-8")
    made.save_pretrained(folder / "tokenizer")


def side(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one side in a process of its own; return what it found, with its highest memory in MB."""
    environ = os.environ | {
        "POSTTRAIN_CACHE": str(arguments.folder / "cache"),
        "HF_DATASETS_CACHE": str(arguments.folder / "hf"),
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, __file__, "--side", name, "--folder", str(arguments.folder)]
    command += ["--processes", str(arguments.processes)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)
    highest, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(2):
            highest[0] = max(highest[0], sum(map(pss, tree(process.pid))))

    threading.Thread(target=watch, daemon=True).start()
    assert process.stdout is not None
    printed = process.stdout.read()
    done.set()
    if process.wait():
        raise SystemExit(f"{name} failed")
    result = next(line for line in printed.splitlines() if line.startswith("RESULT "))
    return json.loads(result.removeprefix("RESULT ")) | {"memory": highest[0] / 1e6}


def trl_side(arguments: argparse.Namespace) -> dict[str, Any]:
    import datasets
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(arguments.folder / "tokenizer")
    shape = dict.fromkeys(("hidden_size", "intermediate_size"), 16) | {"num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=1, **shape))
    config = SFTConfig(
        output_dir=str(arguments.folder / "out"),
        assistant_only_loss=True,
        max_length=2048,
        dataset_num_proc=arguments.processes if arguments.processes > 1 else None,
        use_cpu=True,
        bf16=False,
        report_to="none",
    )
    started = clocks()
    rows = datasets.load_dataset("json", data_files=str(arguments.folder / "rows.jsonl"), split="train")
    trainer = SFTTrainer(model, args=config, train_dataset=rows.select_columns("messages"), processing_class=tokenizer)
    return summary(trainer.train_dataset, started, range(COMPARED))


def posttrain_side(arguments: argparse.Namespace) -> dict[str, Any]:
    import numpy as np
    from transformers import AutoTokenizer

    from posttrain.data.load import load_data
    from posttrain.data.prepare import prepare_rows
    from posttrain.recipe.schema import Data

    tokenizer = AutoTokenizer.from_pretrained(arguments.folder / "tokenizer")
    started = clocks()
    loaded = load_data(Data(train=[{"path": str(arguments.folder / "rows.jsonl")}]), "sft", seed=SEED)
    prepared = prepare_rows(loaded.train, "sft", tokenizer, {"max_length": 2048})  # type: ignore[arg-type]
    in_file_order = np.argsort(loaded.train.order)[:COMPARED]  # type: ignore[attr-defined]
    return summary(prepared.dataset, started, in_file_order)


def clocks() -> tuple[float, float]:
    """The clock's seconds, and the processor's of this process and its finished children."""
    return time.monotonic(), sum(os.times()[:4])


def summary(dataset: Any, started: tuple[float, float], head: Any) -> dict[str, Any]:
    seconds, processor = (now - then for now, then in zip(clocks(), started, strict=True))
    import pyarrow.compute as pc

    lengths = pc.list_value_length(dataset.data.column("input_ids"))
    first = [{name: list(row[name]) for name in ("input_ids", "labels")} for row in dataset.select(head)]
    return {
        "seconds": seconds,
        "processor": processor,
        "kept": len(dataset),
        "tokens": pc.sum(lengths).as_py(),
        "head": first,
    }


if __name__ == "__main__":
    main()
