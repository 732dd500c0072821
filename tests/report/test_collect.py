"""What a report knows of run directories, against what lies in them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.report.collect import collect
from posttrain.report.recipes import changes


def by_name(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {run["name"]: run for run in document["runs"]}


def test_the_curves_are_those_of_metrics_jsonl(chain: Path) -> None:
    run = by_name(collect([chain]))["runs/rlvr"]
    logged = [json.loads(line) for line in (chain / "metrics.jsonl").read_text().splitlines()]
    for split in ("train", "dev"):
        rows = [row for row in logged if row["split"] == split]
        assert run[split]["steps"] == [row["step"] for row in rows]
        for name, values in run[split]["values"].items():
            assert values == pytest.approx([row[name] for row in rows], rel=1e-5)
    assert run["headline"] == "pass@1" and run["before"]["pass@1"] == 0.25 and run["after"]["pass@1"] == 0.75
    assert [panel["title"] for panel in run["panels"]][:3] == ["Reward", "Problems solved", "Groups that teach nothing"]
    assert run["alarms"][0]["alarm"] == "entropy"


def test_the_lineage_goes_back_to_the_base(chain: Path) -> None:
    document = collect([chain])
    assert [step["name"] for step in document["chains"][0]] == ["builtin:tiny", "runs/sft", "runs/rlvr"]
    runs = by_name(document)
    assert [run["asked"] for run in document["runs"]] == [False, True]
    assert ["train.learning_rate", "0.001", "1e-05"] in runs["runs/rlvr"]["changes"]


def test_a_parent_that_is_gone_or_is_another_run_now(chain: Path, write_run: Callable[..., Path]) -> None:
    shutil.rmtree("runs/sft")
    document = collect([chain])
    assert [(step["name"], step["run"]) for step in document["chains"][0]] == [
        ("builtin:tiny", None),
        ("runs/sft", None),
        ("runs/rlvr", "runs/rlvr"),
    ]
    other = write_run("runs/sft", "sft", [{"step": 1, "split": "train", "loss": 1.0}])
    said = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps({**said, "recipe_digest": "another"}))
    assert list(by_name(collect([chain]))) == ["runs/rlvr"]


def test_an_unfinished_run_and_a_moved_one(chain: Path, write_run: Callable[..., Path], made: Any) -> None:
    run = write_run(
        "runs/next", "rlvr", made.rlvr_rows(10)[:4], parent="runs/rlvr", finished=False, train={"max_steps": 9}
    )
    found = by_name(collect([run]))
    assert list(found) == ["runs/sft", "runs/rlvr", "runs/next"]
    assert not found["runs/next"]["finished"] and found["runs/next"]["all_steps"] == 9
    Path("runs").rename("moved")
    assert list(by_name(collect([Path("moved/rlvr")]))) == ["moved/sft", "moved/rlvr"]


def test_samples_say_where_they_are_from_and_share_prompts(chain: Path) -> None:
    samples = collect([chain])["samples"]
    assert [source["label"] for source in samples["sources"]] == [
        "runs/rlvr · held-out · step 0",
        "runs/rlvr · held-out · step 10",
    ]
    assert len(samples["prompts"]) == 4 and samples["kept"] == samples["seen"] == len(samples["rows"]) == 16
    assert samples["rows"][0][:6] == [0, 0, 0, "0, guessed 0", 1.0, True]


def test_of_too_many_samples_the_first_and_last_look_stay_and_the_rest_is_counted(
    write_run: Callable[..., Path], made: Any
) -> None:
    look = [made.sample(p, n, True, "x") for p in range(5) for n in range(2)]
    steps = {f"train-{step:06d}-rank0.jsonl": look for step in range(1, 5)}
    run = write_run(
        "runs/r", "rlvr", made.rlvr_rows(4), looks={"dev-000000.jsonl": look, "dev-000004.jsonl": look, **steps}
    )
    samples = collect([run], most_samples=36)["samples"]
    kept = {source["label"]: source["of"] for source in samples["sources"]}
    assert list(kept)[:2] == ["runs/r · held-out · step 0", "runs/r · held-out · step 4"]
    counts = [sum(row[0] == index for row in samples["rows"]) for index in range(len(kept))]
    assert counts == [10, 10, 4, 4, 4, 4] and samples["seen"] == 60 and samples["kept"] == 36


def test_evals_beside_a_run_are_found_and_compared_problem_by_problem(chain: Path, made: Any) -> None:
    """Base solves 1, 0, 0, 0 of two samples each, rlvr 2, 2, 1, 0: differences .5, 1, .5, 0, mean .5; the interval is
    Bonett and Price's with 1 and -1 added: 1/3 ± 1.96 * sqrt(var / 6)."""
    passed = {"base": [1, 0, 0, 0], "runs/rlvr": [2, 2, 1, 0]}
    for label, right in passed.items():
        file = f"unseen-{label.replace('/', '-')}"
        rows = [made.sample(p, n, n < right[p], "x") for p in range(4) for n in range(2)]
        made.lines(Path(f"runs/eval/samples/{file}-0.jsonl"), rows)
        path = str(Path("runs/rlvr/final").resolve()) if label != "base" else "builtin"
        row = {
            "label": label,
            "model": label,
            "path": path,
            "part": "unseen",
            "digest": "x",
            "problems": 4,
            "samples": 8,
        }
        row |= {"pass@1": sum(right) / 8, "pass@1_ci95": [0, 1], "samples_file": f"runs/eval/samples/{file}-0.jsonl"}
        Path(f"runs/eval/{file}.json").write_text(json.dumps(row))
    document = collect([chain])
    (found,) = document["evals"]
    assert found["name"] == "runs/eval · unseen" and [line["label"] for line in found["lines"]] == ["base", "runs/rlvr"]
    gain = next(d for d in found["differences"] if d["label"] == "runs/rlvr")
    values = [0.5, 1, 0.5, 0, 1, -1]
    mean = sum(values) / 6
    stderr = (sum((value - mean) ** 2 for value in values) / 5 / 6) ** 0.5
    assert gain["figure"] == "pass@1" and gain["baseline"] == "base" and gain["difference"] == 0.5
    assert gain["ci95"] == pytest.approx([mean - 1.959964 * stderr, mean + 1.959964 * stderr], abs=1e-6)
    assert [run["name"] for run in collect([Path("runs/eval")])["runs"]] == []


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run"):
        collect([tmp_path])


def test_changes_between_recipes() -> None:
    before = {"train": {"beta": 0.1, "steps": 4}, "graders": [{"type": "number"}], "k": [1, 8], "gone": True}
    after = {"train": {"beta": 0.2, "steps": 4}, "graders": [{"type": "math"}], "k": [1, 4], "empty": None}
    assert changes(before, after) == [
        ["train.beta", "0.1", "0.2"],
        ["graders[0].type", "number", "math"],
        ["k", "[1, 8]", "[1, 4]"],
        ["gone", "true", ""],
    ]
