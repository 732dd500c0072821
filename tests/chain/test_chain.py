"""Stages chained as a user chains them: pipes, run directories, adapters."""

from __future__ import annotations

import json
import math
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.chain.conftest import COMMAND, environment

pytestmark = pytest.mark.slow


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which `posttrain` is this checkout's."""
    script = f'set -o pipefail; posttrain() {{ {shlex.join(COMMAND)} "$@"; }}; {line}'
    return subprocess.run(
        ["bash", "-c", script], cwd=cwd, env=environment(), capture_output=True, text=True, timeout=600
    )


def rows(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_pipe_of_three_stages(posttrain, recipe, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    a, b, c = recipe("sft"), recipe("dpo"), recipe("rlvr")
    line = f"posttrain sft {a} | posttrain dpo {b} --model - | posttrain rlvr {c} --model -"
    done = shell(line, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "runs/rlvr/final\n"
    final = tmp_path / "runs/rlvr/final"
    AutoModelForCausalLM.from_pretrained(final)
    assert AutoTokenizer.from_pretrained(final).chat_template
    assert {path.suffix for path in final.iterdir()} <= {".json", ".safetensors", ".jinja"}

    listed = json.loads(posttrain("runs", "--json").stdout)
    assert [(run["stage"], run["state"]) for run in listed] == [(s, "finished") for s in ("sft", "dpo", "rlvr")]
    document = json.loads((tmp_path / "runs/rlvr/run.json").read_text())
    assert document["train"]["learning_rate"] == 1e-6  # what the recipe did not say, too
    lineage = json.loads((final / "lineage.json").read_text())
    assert [generation["stage"] for generation in lineage] == ["sft", "dpo", "rlvr"]
    assert {generation["base_model"] for generation in lineage} == {"builtin:tiny"}

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again = shell(line, tmp_path)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert {path for path in before if before[path] != after[path] and path.name != "lock"} == set()


def test_a_broken_first_stage_breaks_the_pipe_with_one_error(recipe, tmp_path: Path) -> None:
    a, b, c = recipe("sft", train={"learning_rat": 1}), recipe("dpo"), recipe("rlvr")
    done = shell(f"posttrain sft {a} | posttrain dpo {b} --model - | posttrain rlvr {c} --model -", tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("error:") == 1
    assert "learning_rat" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


LORA = {"lora": {"r": 4, "alpha": 8}}


def test_lora_stages_chain_and_each_reference_is_its_parent(posttrain, recipe, tmp_path: Path) -> None:
    """SFT, DPO, KTO and RLVR with LoRA: DPO starts at ln 2, and every final/ is a plain model that differs from
    its parent only by its own adapter."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    parent = "builtin:tiny"
    for stage in ("sft", "dpo", "rlvr"):
        done = posttrain(stage, str(recipe(stage, model=LORA)), "--model", parent)
        assert done.returncode == 0, done.stderr
        parent = f"runs/{stage}"
    start = next(row for row in rows(tmp_path / "runs/dpo") if row["split"] == "train")
    assert start["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert start["rewards/margins"] == pytest.approx(0, abs=1e-6)

    def load(run: str):
        return AutoModelForCausalLM.from_pretrained(tmp_path / "runs" / run / "final").eval()

    ids = torch.arange(3, 40)[None]
    for child, of in (("dpo", "sft"), ("rlvr", "dpo")):
        assert not (tmp_path / "runs" / child / "final" / "adapter_config.json").exists()
        with torch.no_grad():
            adapted = PeftModel.from_pretrained(load(of), tmp_path / "runs" / child / "adapter").eval()(ids).logits
            torch.testing.assert_close(load(child)(ids).logits, adapted, rtol=1e-4, atol=1e-4)
            assert (load(child)(ids).logits - load(of)(ids).logits).abs().max() > 1e-6

    kto = posttrain("kto", str(recipe("kto", model={**LORA, "save": "adapter"})), "--model", "runs/sft")
    assert kto.returncode == 0, kto.stderr
    adapter = tmp_path / "runs/kto/final"
    assert (adapter / "adapter_config.json").exists()
    AutoModelForCausalLM.from_pretrained(adapter)  # transformers finds the base through the adapter's own config
    child = posttrain("dpo", str(recipe("dpo", "after_kto")), "--model", "runs/kto")
    assert child.returncode == 0, child.stderr


def test_eval_prints_one_table(posttrain, recipe, tmp_path: Path) -> None:
    import yaml

    source = recipe("rlvr")
    document = yaml.safe_load(source.read_text())
    problems = document["data"]["train"]
    document |= {"stage": "eval", "data": {"dev": problems}, "eval": {"samples": 4, "k": [1, 4], "limit": 8}}
    document |= {"out": "runs/eval", "rollout": {"max_new_tokens": 24}}
    del document["train"]
    path = tmp_path / "eval.yaml"
    path.write_text(yaml.safe_dump(document))
    done = posttrain("eval", str(path), "--model", "base", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["models"]
    assert row["problems"] == 8
    assert row["samples"] == 32
    kept = [json.loads(line) for line in (tmp_path / row["samples_file"]).read_text().splitlines()]
    rates = [sum(kept[i + j]["passed"] for j in range(4)) / 4 for i in range(0, 32, 4)]
    assert row["pass@1"] == pytest.approx(sum(rates) / 8)
    assert row["pass@4"] == pytest.approx(sum(rate > 0 for rate in rates) / 8)
    table = posttrain("eval", str(path)).stdout.splitlines()
    assert table[0].split() == [
        *("model", "problems", "pass@1", "pass@4", "maj@4", "pass^4"),
        *("tokens", "truncated", "unanswered", "errors"),
    ]
    assert table[1].startswith("base")
    assert "±" in table[1]
