"""Run directories as the stages leave them, written by hand: small, or as large and as hostile as a test wants."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

EVIL = "</script><script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\"><!--"


def lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def sample(problem: int, number: int, passed: bool, text: str, **more: Any) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": f"What is {problem} + {problem}?"}],
        "completion": text,
        "score": float(passed),
        "passed": passed,
        "answer": None,
        "note": "",
        "error": "",
        "parts": [],
        "tokens": 3,
        "truncated": False,
        "place": f"dev.jsonl:{problem + 1}",
        "key": f"{problem:016x}",
        "sample": number,
        "engine_error": "",
        "graded_by": "",
        **more,
    }


def rlvr_rows(steps: int, looks: Sequence[int] = (0, 5, 10)) -> list[dict[str, Any]]:
    """Rewards that rise in waves, with looks on the way."""
    found: list[dict[str, Any]] = []
    for step in range(steps + 1):
        if step:
            reward = 0.5 + 0.4 * math.sin(step / 7) * step / steps
            row = {"step": step, "split": "train", "epoch": 1.0, "loss": 1 / step, "reward": reward, "pass@1": reward}
            found.append(
                row | {"rollout/equal_rewards": 0.25, "entropy": 0.3, "num_tokens": 10.0 * step, "seconds": step}
            )
        if step in looks:
            solved = 0.25 + 0.5 * step / steps
            row = {"step": step, "split": "dev", "epoch": 1.0, "reward": solved, "pass@1": solved, "pass@2": 0.75}
            found.append(row | {"reward_stderr": 0.1, "pass@1_stderr": 0.1, "pass@2_stderr": 0.05, "seconds": step})
    return found


@pytest.fixture
def made() -> SimpleNamespace:
    """What the tests make rows with."""
    return SimpleNamespace(lines=lines, sample=sample, rlvr_rows=rlvr_rows, EVIL=EVIL)


@pytest.fixture
def write_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A function that writes a run's directory below the working directory and returns its path."""
    monkeypatch.chdir(tmp_path)

    def write(
        name: str,
        stage: str,
        rows: list[dict[str, Any]],
        *,
        parent: str | None = None,
        finished: bool = True,
        train: dict[str, Any] | None = None,
        looks: dict[str, list[dict[str, Any]]] | None = None,
    ) -> Path:
        run = Path(name)
        lines(run / "metrics.jsonl", rows)
        model = parent or "builtin:tiny"
        recipe = {"stage": stage, "out": name, "model": {"path": model}, "data": {"train": [{"path": "rows.jsonl"}]}}
        (run / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "train": train or {}}), encoding="utf-8")
        digest = f"{name}-digest"
        (run / "inputs.json").write_text(json.dumps({"recipe": digest, "data": "d", "parent": "p", "ranks": {}}))
        for file, kept in (looks or {}).items():
            lines(run / "samples" / file, kept)
        if not finished:
            return run
        dev = [row for row in rows if row["split"] == "dev"]
        document = {
            "stage": stage,
            "run": name,
            "base_model": "builtin:tiny",
            "parent": {"name": model, "path": model, "run": parent, "digest": "p"},
            "recipe_digest": digest,
            "data_digest": "d",
            "finished": f"2026-01-0{len(name) % 9 + 1}T00:00:00+00:00",
            "steps": rows[-1]["step"],
            "tokens": 1000,
            "seconds": 50.0,
            "rows": {"train": 8, "dev": 0, "problems": 4},
            "versions": {"posttrain": "0.1.0"},
            "hardware": {"processes": 1},
            "metrics": {"dev_before": dev[0] if dev else None, "dev_after": dev[-1] if dev else None},
        }
        behind = json.loads((Path(parent) / "final/lineage.json").read_text()) if parent else []
        (run / "run.json").write_text(json.dumps(document))
        (run / "final").mkdir()
        kept = {key: document[key] for key in ("stage", "run", "base_model", "parent", "recipe_digest", "finished")}
        (run / "final/lineage.json").write_text(json.dumps([*behind, {**kept, "metrics": document["metrics"]}]))
        return run

    return write


@pytest.fixture
def chain(write_run: Callable[..., Path]) -> Path:
    """runs/rlvr, which started from runs/sft, with looks at four problems of two samples, and an alarm."""
    sft = [
        {"step": step, "split": "train", "epoch": 1.0, "loss": 2 / (step + 1), "seconds": step} for step in range(1, 9)
    ]
    write_run("runs/sft", "sft", sft, train={"learning_rate": 0.001})
    start = [sample(p, n, p == 0, f"{p}, guessed {n}") for p in range(4) for n in range(2)]
    end = [sample(p, n, p < 3, f"{p} and {p} is {2 * p} {n}") for p in range(4) for n in range(2)]
    end[-1] |= {"completion": EVIL, "note": EVIL, "parts": [{"name": EVIL, "score": 0.0, "passed": False, "note": ""}]}
    looks = {"dev-000000.jsonl": start, "dev-000010.jsonl": end}
    run = write_run("runs/rlvr", "rlvr", rlvr_rows(10), parent="runs/sft", train={"learning_rate": 1e-5}, looks=looks)
    ring = {
        "step": 7,
        "alarm": "entropy",
        "figure": 0.01,
        "threshold": 0.05,
        "says": "low",
        "fix": "less",
        "stops": False,
    }
    lines(run / "alarms.jsonl", [ring])
    return run
