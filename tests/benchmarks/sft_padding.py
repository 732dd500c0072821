"""SFT over the same rows as they come, sorted by length, and packed: tokens a second, and the share of padding.

    python tests/benchmarks/sft_padding.py --rows recipes/quickstart/data/sft.jsonl --length 256 --batch 16
    python tests/benchmarks/sft_padding.py --model DIR --rows rows.jsonl.gz --limit 64 --length 512

Each way goes once over the rows, forward, backward and optimizer, in the trainer that `posttrain sft` makes, in turns,
`--rounds` times; the model is loaded anew each time, and loading is not timed. A step has about as many rows in each:
`--batch` of them, or packs that hold as many. Tokens are those of the rows, not padding. Of the rounds the shortest
time counts: what else a machine does can only add. Exits with 1 if the better of sorted and packed is below
`--at-least` times as fast as rows as they come.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml


def main() -> int:
    arguments = parse()
    size = arguments.length
    ways: dict[str, dict[str, Any]] = {
        "as they come": {"per_device_train_batch_size": arguments.batch},
        "sorted by length": {
            "per_device_train_batch_size": arguments.batch,
            "train_sampling_strategy": "group_by_length",
        },
        "packed": {"per_device_train_batch_size": 1, "packing": True},
    }
    best: dict[str, dict[str, float]] = {}
    for number in range(arguments.rounds):
        for name, settings in ways.items():
            if name == "packed":
                rows_a_pack = max(1, round(size / best["as they come"]["tokens_a_row"]))
                settings["per_device_train_batch_size"] = max(1, round(arguments.batch / rows_a_pack))
            with tempfile.TemporaryDirectory() as folder:
                found = measured(arguments, {**settings, "max_length": size}, Path(folder))
            print(f"round {number + 1}: {name}: {line(found)}", flush=True)
            if name not in best or found["speed"] > best[name]["speed"]:
                best[name] = found
    plain = best.pop("as they come")
    print(f"\nas they come: {line(plain)}")
    ratios = {name: found["speed"] / plain["speed"] for name, found in best.items()}
    for name, found in best.items():
        print(f"{name}: {line(found)}; {ratios[name]:.2f} times as fast", end=", ")
        print(f"{plain['work'] / found['work']:.2f} by processor")
    return 0 if max(ratios.values()) >= arguments.at_least else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin:tiny")
    parser.add_argument("--rows", required=True, help="rows for sft")
    parser.add_argument("--limit", type=int, help="so many of the rows, drawn at random")
    parser.add_argument("--length", type=int, default=512, help="max_length, and the length of a pack")
    parser.add_argument("--batch", type=int, default=8, help="rows a step")
    parser.add_argument("--attention", default="auto")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--padding-alone", action="store_true", help="make the batches, and train on none")
    parser.add_argument("--at-least", type=float, default=0.0, help="the ratio to reach")
    return parser.parse_args()


def measured(arguments: argparse.Namespace, train: dict[str, Any], folder: Path) -> dict[str, float]:
    """Train once over the rows; return tokens a second, the share of padding and the tokens a row."""
    from transformers.trainer_callback import PrinterCallback

    from posttrain.data.load import load_data
    from posttrain.data.packing import row_lengths
    from posttrain.model.resolve import resolve
    from posttrain.recipe.load import load_recipe
    from posttrain.stages.sft import make_trainer
    from posttrain.stages.terminal import quiet
    from posttrain.stages.train import prepare

    source = {"path": str(Path(arguments.rows).resolve()), **({"limit": arguments.limit} if arguments.limit else {})}
    document = {
        "stage": "sft",
        "out": str(folder / "run"),
        "model": {"path": arguments.model, "attention": arguments.attention, "dtype": arguments.dtype},
        "data": {"train": [source]},
        "train": {"num_train_epochs": 1, "gradient_accumulation_steps": 1, "save_strategy": "no", **train},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    recipe = load_recipe(folder / "recipe.yaml", stage="sft").recipe
    quiet()
    rows = load_data(recipe.data, "sft", seed=recipe.seed)
    job = prepare(recipe, folder / "run", resolve(recipe.model.path), rows)
    trainer = make_trainer(job)
    trainer.remove_callback(PrinterCallback)
    places = tokens = 0
    collate = trainer.data_collator

    def counted(examples: list[dict[str, Any]]) -> Any:
        nonlocal places, tokens
        batch = collate(examples)
        places += batch["input_ids"].numel()
        tokens += sum(len(example["input_ids"]) for example in examples)
        return batch

    trainer.data_collator = counted
    start, processor = time.perf_counter(), time.process_time()
    if arguments.padding_alone:
        for _ in trainer.get_train_dataloader():
            pass
    else:
        trainer.train()
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    average = float(row_lengths(job.train_dataset).mean())
    return {
        "speed": tokens / seconds,
        "work": processor / tokens,
        "padding": 1 - tokens / places,
        "tokens_a_row": average,
        "seconds": seconds,
    }


def line(found: dict[str, float]) -> str:
    work = f"{1e3 * found['work']:.2f} ms of processor a token"
    return f"{found['speed']:,.0f} tokens/s, {work}, {found['padding']:.0%} padding, {found['seconds']:.1f} s"


if __name__ == "__main__":
    sys.exit(main())
