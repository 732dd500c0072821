"""From the command to the end of a run of one step, `posttrain sft` against `trl sft`: what starting costs.

    python tests/benchmarks/start.py
    python tests/benchmarks/start.py --model DIR --rounds 5

Both train one step on the same four rows of the quickstart in float32 and save the model. They run in turns,
`--rounds` times, with as many threads; the medians count. posttrain runs with an empty cache and again with what that
run left in it. Seconds of the clock and of all processes' processor time. Exits with 1 if TRL takes less than
`--at-least` times posttrain's processor time with an empty cache.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[2]
ROWS = 4


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(REPOSITORY / "posttrain" / "builtin" / "tiny"), help="a model's folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-least", type=float, default=0.0)
    arguments = parser.parse_args()
    took: dict[str, list[tuple[float, float]]] = {}
    for number in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name, command in commands(Path(folder), arguments.model).items():
                took.setdefault(name, []).append(timed(command, Path(folder)))
                print(f"round {number + 1}: {name}: {line(took[name][-1])}", flush=True)
    medians = {
        name: (statistics.median(wall for wall, _ in each), statistics.median(work for _, work in each))
        for name, each in took.items()
    }
    theirs = medians.pop("trl sft")
    print(f"\ntrl sft: {line(theirs)}")
    ratios = {name: (theirs[0] / wall, theirs[1] / work) for name, (wall, work) in medians.items()}
    for name, (wall, work) in ratios.items():
        print(f"{name}: {line(medians[name])}; {wall:.2f} times as fast, {work:.2f} by processor")
    return 0 if ratios["posttrain sft"][1] >= arguments.at_least else 1


def commands(folder: Path, model: str) -> dict[str, list[str]]:
    """Return each way's command line, and write what it reads into the folder."""
    lines = (REPOSITORY / "recipes" / "quickstart" / "data" / "sft.jsonl").read_text(encoding="utf-8").splitlines()
    rows = folder / "rows"
    rows.mkdir()
    messages = [json.dumps({"messages": json.loads(row)["messages"]}) for row in lines[:ROWS]]
    (rows / "train.jsonl").write_text("\n".join(messages) + "\n", encoding="utf-8")
    train = {"max_steps": 1, "per_device_train_batch_size": ROWS, "gradient_accumulation_steps": 1}
    recipe = {
        "stage": "sft",
        "out": "run",
        "model": {"path": model, "dtype": "float32"},
        "data": {"train": [{"path": "rows/train.jsonl"}]},
        "train": {**train, "save_strategy": "no"},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    ours = [sys.executable, "-m", "posttrain", "sft", "recipe.yaml", "--fresh"]
    theirs = [str(Path(sys.executable).with_name("trl")), "sft", "--model_name_or_path", model]
    theirs += ["--dataset_name", "rows", "--output_dir", "trl", "--report_to", "none", "--save_strategy", "no"]
    theirs += ["--bf16", "false", "--gradient_checkpointing", "false", "--use_cpu", "true", "--dtype", "float32"]
    theirs += [word for key, value in train.items() for word in (f"--{key}", str(value))]
    return {"posttrain sft": ours, "trl sft": theirs, "posttrain sft, again": ours}


def timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Return the seconds that a command took, of the clock and of the processor."""
    environ = os.environ | {"POSTTRAIN_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    environ["HF_DATASETS_CACHE"] = str(folder / "datasets")
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def line(took: tuple[float, float]) -> str:
    return f"{took[0]:.1f} s, {took[1]:.1f} s of processor"


if __name__ == "__main__":
    sys.exit(main())
