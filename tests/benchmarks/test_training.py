"""Both command lines train, by the scripts a user runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench import Part, chosen
from gpu import gpu_table, peak_of
from growth import Cost, all_points, fitting, growth_table
from measure.rows import Lengths, Writer, make_rows
from measure.sides import recipe, settings, trl_config
from training import model_directory

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


def ran(script: str, *options: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(HERE / script), *options]
    return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=500)


@pytest.mark.slow
def test_sft_through_both_command_lines(tmp_path: Path) -> None:
    options = ["--steps", "3", "--rounds", "1", "--batch", "4", "--without", "trl, threads", "--limit", "240"]
    done = ran("training.py", "--stages", "sft", *options, "--json", str(tmp_path / "figures.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = json.loads((tmp_path / "figures.json").read_text())
    assert found["agree"]
    assert found["apart"]["trl"]["loss"] < 1e-4
    assert [side["side"] for side in found["figures"]] == ["posttrain", "trl"]
    assert found["figures"][1]["threads"] == 1
    for side in found["figures"]:
        assert 0 < side["step_seconds"] < side["first_step_after"] < side["whole_seconds"] < 240
        assert side["memory_mb"] > 100
    assert "| SFT | posttrain |" in done.stdout


@pytest.mark.parametrize("stage", ["sft", "dpo", "kto", "rlvr"])
def test_rows_are_as_long_as_asked_and_the_same_again(stage: str) -> None:
    model = model_directory("builtin:tiny")
    rows = make_rows(stage, 4, Lengths(60, 40, 0.0), Writer(model, 1))
    assert rows == make_rows(stage, 4, Lengths(60, 40, 0.0), Writer(model, 1))
    assert rows != make_rows(stage, 4, Lengths(60, 40, 0.0), Writer(model, 2))
    tokenizer = Writer(model, 1).tokenizer
    for row in rows:
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
        assert 54 <= len(prompt) <= 61
        for name in ("completion", "chosen", "rejected"):
            if name in row:
                whole = tokenizer.apply_chat_template([*row["prompt"], *row[name]], return_dict=False)
                assert 34 <= len(whole) - len(prompt) <= 42


@pytest.mark.parametrize("stage", ["sft", "dpo", "kto", "rlvr"])
def test_both_sides_are_given_the_same_settings(stage: str, tmp_path: Path) -> None:
    from trl import DPOConfig, GRPOConfig, KTOConfig, SFTConfig

    from posttrain.recipe.load import load_recipe

    point = next(p for p in all_points(model_directory("builtin:tiny"), 2) if p.job.stage in (stage, "sft"))
    job = point.job if point.job.stage == stage else type(point.job)(stage, point.job.model, 2, 4)
    (tmp_path / "rows.jsonl").touch()
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe(job, tmp_path / "rows.jsonl")))
    ours = load_recipe(tmp_path / "recipe.yaml", stage=stage).recipe  # unknown keys would be refused
    theirs = trl_config(job, tmp_path / "rows.jsonl")
    assert ours.train == settings(job)
    assert settings(job).items() <= theirs.items()
    config = {"sft": SFTConfig, "dpo": DPOConfig, "kto": KTOConfig, "rlvr": GRPOConfig}[stage]
    of_script = {"model_name_or_path", "dtype", "datasets", "reward_funcs"}
    made = config(**{key: value for key, value in theirs.items() if key not in of_script})
    assert (made.seed, made.bf16, made.gradient_checkpointing) == (ours.seed, False, False)


def test_growth_leaves_out_what_the_context_is_too_short_for() -> None:
    points = all_points(model_directory("builtin:tiny"), 2)
    fit, left_out = fitting(points, 512)
    assert [point.size for point in fit if point.family == "rows"] == [64, 256]
    assert left_out == [f"rows {size}: the model's context is 512" for size in (1024, 2048)]
    assert {point.job.batch * point.size for point in points if point.family == "rows"} == {2048}


def test_growths_table_has_ratios_where_there_are_two_sides() -> None:
    both = Cost("rows", 64, {"posttrain": 0.5, "trl, threads": 2.0}, {"posttrain": 100.0, "trl, threads": 200.0})
    alone = Cost("processes", 2, {"posttrain": 0.25}, {"posttrain": 100.0})
    lines = growth_table([alone, both]).splitlines()
    assert lines[2] == "| rows | 64 | 0.5000 | 2.0000 | 1,000 tokens | 4.00 | 100 | 200 |"
    assert lines[3] == "| processes | 2 | 0.2500 |  | row |  | 100 |  |"


def test_parts_are_chosen_by_their_scripts(capsys) -> None:
    every = [Part("One", "training.py", ()), Part("Two", "growth.py", ("--steps", "2"))]
    assert chosen(every, None) == every
    assert [part.command for part in chosen(every, ["growth"])] == ["python tests/benchmarks/growth.py --steps 2"]
    with pytest.raises(SystemExit, match="2"):
        chosen(every, ["grwoth"])
    assert capsys.readouterr().err == "--only: no grwoth here, but training, growth\n"


def test_a_devices_peak_is_by_its_name() -> None:
    assert peak_of("NVIDIA H100 80GB HBM3") == 989e12
    assert peak_of("NVIDIA H100 PCIe") == 756e12
    assert peak_of("Some other card") is None


def test_utilisation_is_of_the_stated_peak() -> None:
    from measure.compare import summed_up
    from test_compare import JOB, MACHINE, TOKENS, run_of

    found = summed_up(JOB, [[run_of("posttrain", 2.0)]], TOKENS, MACHINE, warmup=1)
    assert "| 50% | 10.0% |" in gpu_table([found], peak=720_000.0)


@pytest.mark.slow
def test_without_a_gpu_the_gpus_script_says_so() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    done = ran("gpu.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no CUDA device" in done.stderr
