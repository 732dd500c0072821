"""Draw what an rlvr run learned, from its metrics.jsonl (needs matplotlib):

    python curve.py runs/constraints/rlvr curve.png

Left: pass@1 of each step's completions, its mean over ten steps, and pass@1 on the dev problems with its 95%
interval. Right: how long the completions are, and how many are cut off.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

WINDOW = 10


def read(run: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of the training steps, and of the looks at the dev problems."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [row for row in rows if "pass@1" in row and row["split"] == "train"], [
        row for row in rows if row["split"] == "dev"
    ]


def running_mean(values: list[float], window: int = WINDOW) -> list[float]:
    """Return at each place the mean of the last `window` values, or of as many as there are."""
    ends = range(1, len(values) + 1)
    return [sum(values[max(0, end - window) : end]) / min(end, window) for end in ends]


def draw(train: list[dict[str, Any]], dev: list[dict[str, Any]], path: Path) -> None:
    """Write the figure; the format is that of the name's ending."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (learned, length) = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    # Not the reward: that is near the middle by choice where problems are chosen by it.
    steps, passed = [row["step"] for row in train], [row["pass@1"] for row in train]
    learned.plot(steps, passed, color="0.8", linewidth=1, label="train, each step")
    learned.plot(steps, running_mean(passed), color="tab:blue", label=f"train, mean of {WINDOW} steps")
    learned.errorbar(
        [row["step"] for row in dev],
        [row["pass@1"] for row in dev],
        [1.96 * row.get("pass@1_stderr", 0.0) for row in dev],
        color="tab:orange",
        marker="o",
        capsize=3,
        label="dev pass@1, 95%",
    )
    learned.set(xlabel="step", title="constraints followed", ylim=(0, 1))
    length.plot(steps, [row["completions/mean_length"] for row in train], color="tab:green")
    length.set(xlabel="step", title="tokens a completion (green), cut off (red)", ylim=(0, None))
    cut = length.twinx()
    cut.plot(steps, [row["completions/clipped_ratio"] for row in train], color="tab:red", linewidth=1)
    cut.set(ylim=(0, 1))
    learned.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    draw(*read(options.run), options.picture)
    print(options.picture)


if __name__ == "__main__":
    main()
