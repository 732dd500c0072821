"""What choosing problems by their rewards is worth: held-out pass@1 against processor time, on the quickstart.

    python tests/benchmarks/rlvr_samples.py --steps 40 --seeds 7 8

32 problems of 4 samples a step, of which many are all right or all wrong. Each way trains from the same model on the
same problems. Processor time is that of the steps alone, drawing and grading included, the looks left out. It prints
one line a look and, for each way, what it took to come to each level of pass@1.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart"
REFILL, RETIRE = "rollout.dynamic_sampling=true", "rollout.retire={looks: 2, steps: 10}"
WAYS: dict[str, tuple[str, ...]] = {
    "all rows": (),
    "skipped": (),
    "skipped, refilled": (REFILL,),
    "skipped, retired": (RETIRE,),
    "skipped, refilled, retired": (REFILL, RETIRE),
}
LEVELS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9)


def run(model: str, out: Path, overrides: list[str], *, skip: bool) -> list[dict[str, Any]]:
    """Train once; return for each look the step, processor seconds, completions drawn and pass@1 so far."""
    from transformers import TrainerCallback

    from posttrain.data.load import load_data
    from posttrain.model.resolve import resolve
    from posttrain.recipe.load import dump_recipe, load_recipe
    from posttrain.runs import directory
    from posttrain.stages import rlvr, terminal, train

    recipe = load_recipe(QUICKSTART / "rlvr.yaml", stage="rlvr", model=model, out=str(out), overrides=overrides).recipe
    rows = load_data(recipe.data, "rlvr", seed=recipe.seed)
    directory.open_run(out, dump_recipe(recipe), data_digest=rows.digest, parent_digest="", fresh=True)
    terminal.quiet()
    trainer = rlvr.make_trainer(train.prepare(recipe, out, resolve(model), rows))
    if not skip:
        trainer._moving = lambda batch: (batch, 1.0)
    looks: list[dict[str, Any]] = []

    class Clock(TrainerCallback):
        seconds = samples = 0.0

        def on_step_begin(self, args, state, control, **_: Any):
            self.started = time.process_time()

        def on_step_end(self, args, state, control, **_: Any):
            self.seconds += time.process_time() - self.started

        def on_log(self, args, state, control, logs=None, **_: Any):
            self.samples += (logs or {}).get("rollout/samples", 0)

        def on_evaluate(self, args, state, control, metrics=None, **_: Any):
            found = metrics["eval_pass@1"], metrics["eval_pass@1_stderr"]
            looks.append({"step": state.global_step, "seconds": self.seconds, "samples": self.samples, "pass@1": found})

    trainer.add_callback(Clock())
    trainer.train()
    return looks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="builtin:tiny")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--every", type=int, default=5, help="steps between two looks")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--set", nargs="*", default=[], help="further overrides of the recipe")
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        for way in arguments.ways:
            overrides = [
                f"seed={seed}", f"train.max_steps={arguments.steps}", f"eval.every={arguments.every}",
                "train.num_generations=4", "eval.samples=4", "eval.k=[1]",
                "eval.limit=100", "signal.problems=0", "train.save_strategy=no", *WAYS[way], *arguments.set,
            ]  # fmt: skip
            with tempfile.TemporaryDirectory() as out:
                looks = run(arguments.model, Path(out) / "run", overrides, skip=way != "all rows")
            for look in looks:
                print(json.dumps({"seed": seed, "way": way, **look}), flush=True)
            for level in LEVELS:
                there = next((look for look in looks if look["pass@1"][0] >= level), None)
                told = (
                    f"{there['seconds']:.0f} s, step {there['step']}, {there['samples']:.0f} samples" if there else "-"
                )
                print(f"seed {seed}  {way:<26} pass@1 {level:.2f}: {told}", flush=True)


if __name__ == "__main__":
    main()
