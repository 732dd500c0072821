"""Real ranks: started by torchrun, and sharded by DeepSpeed on CPU to the same losses as one process."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from posttrain.launch.plan import make_plan
from posttrain.launch.supervise import run_plan
from posttrain.recipe.schema import Launch

SCRIPT = Path(__file__).with_name("zero_losses.py")

UNDER_TORCHRUN = """
import os, sys
from pathlib import Path
from posttrain.errors import UserError
from posttrain.launch.plan import make_plan
from posttrain.launch.worker import from_first_rank, join_ranks, leave_ranks
from posttrain.recipe.schema import Launch

plan = make_plan(Launch(zero=2), Path("run"), environ=os.environ)
os.environ.update(plan.environ)
join_ranks()
said = from_first_rank(lambda: f"said by {os.environ['RANK']}")
def refuse():
    raise UserError("no", where="out")
try:
    from_first_rank(refuse)
except UserError as error:
    said += f", refused at {error.where}"
leave_ranks()
Path(sys.argv[1], os.environ["RANK"]).write_text(f"{plan.world_size} {plan.is_main} {said}")
"""


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


@pytest.mark.slow
def test_under_torchrun(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(UNDER_TORCHRUN)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*launcher, str(script), str(tmp_path)], check=True, timeout=300)
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == [
        "2 True said by 0, refused at out",
        "2 False said by 0, refused at out",
    ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random Llama with tied embeddings, and its tokenizer, in ``model``."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=128,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    tokenizer = Tokenizer(models.WordLevel({str(number): number for number in range(128)}))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="0", eos_token="1").save_pretrained(folder / "model")
    return folder


def losses(runs: Path, processes: int, zero: int) -> dict[str, list[float]]:
    """Train with so many processes and return the losses of each stage."""
    run = runs / f"{processes}-zero-{zero}"
    run.mkdir()
    plan = make_plan(Launch(processes=processes, zero=zero), run, environ={}, gpus=0)
    if plan.processes:
        argv = (sys.executable, str(SCRIPT), str(run), str(zero))
        run_plan(replace(plan, processes=tuple(replace(process, argv=argv) for process in plan.processes)))
    else:
        subprocess.run([sys.executable, str(SCRIPT), str(run), str(zero)], check=True)
    return {stage: json.loads((run / f"{stage}.json").read_text()) for stage in ("sft", "dpo")}


@pytest.mark.slow
def test_every_way_to_shard_computes_the_same(runs: Path) -> None:
    from safetensors.torch import load_file

    expected = losses(runs, processes=1, zero=0)
    assert expected["dpo"][0] == pytest.approx(0.693147, abs=1e-6)  # ln 2: policy and reference are equal
    weights = {stage: load_file(runs / f"1-zero-0/{stage}/final/model.safetensors") for stage in expected}
    for zero in (0, 2, 3):
        found = losses(runs, processes=2, zero=zero)
        for stage in ("sft", "dpo"):
            assert found[stage] == pytest.approx(expected[stage], abs=1e-4), (stage, zero)
            saved = load_file(runs / f"2-zero-{zero}/{stage}/final/model.safetensors")
            assert saved.keys() == weights[stage].keys()
            for name, tensor in saved.items():
                assert tensor.sub(weights[stage][name]).abs().max() < 1e-4, (stage, zero, name)
