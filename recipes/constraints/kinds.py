"""Show, for each kind of constraint, how often the models of an eval follow it:

    python kinds.py data/dev.jsonl runs/constraints/eval/samples/dev-*.jsonl

Rows are kinds, columns the files of samples in their order; the shares are over all samples of a kind.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def shares(problems: Sequence[dict[str, Any]], samples: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the share of samples that pass, by family of their problem, and over all of them."""
    family = {row["prompt"]: row["family"] for row in problems}
    passed: dict[str, list[bool]] = defaultdict(list)
    for sample in samples:
        prompt = sample["prompt"][-1]["content"]
        for name in (family[prompt], "all") if prompt in family else ():
            passed[name].append(sample["passed"])
    return {name: sum(verdicts) / len(verdicts) for name, verdicts in passed.items()}


def table(columns: dict[str, dict[str, float]]) -> str:
    """Return the shares in percent as a Markdown table, the overall share last."""
    kinds = dict.fromkeys(kind for column in columns.values() for kind in column)
    order = sorted(kinds, key="all".__eq__)
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for kind in order:
        lines.append(f"| {kind} | {' | '.join(f'{100 * column[kind]:.0f}%' for column in columns.values())} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", type=Path)
    parser.add_argument("samples", type=Path, nargs="+")
    options = parser.parse_args()
    problems = read(options.problems)
    print(table({path.stem: shares(problems, read(path)) for path in options.samples}))


if __name__ == "__main__":
    main()
