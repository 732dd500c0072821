"""From recipes to estimates: sums by hand, DeepSpeed's own, changes that make a run fit, devices and their limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig

from posttrain.errors import UserError
from posttrain.memory.attempt import anonymous_memory
from posttrain.memory.before import say_memory
from posttrain.memory.blueprint import draw_up
from posttrain.memory.command import show
from posttrain.memory.device import Device
from posttrain.memory.estimate import States, states_of
from posttrain.memory.forecast import forecast, parse_size, with_keys
from posttrain.memory.largest import Tried, search
from posttrain.memory.remedies import divisors, remedies
from posttrain.memory.work import Longest, Work, work_of
from posttrain.model.resolve import resolve
from posttrain.recipe.schema import Data, Recipe

TINY = resolve("builtin:tiny")
GB = 10**9


def recipe_of(stage: str, *keys: str) -> Recipe:
    graders: Any = [{"type": "number"}] if stage in ("rlvr", "eval") else []
    sources: Any = {"dev": [{"path": "rows.jsonl"}]} if stage == "eval" else {"train": [{"path": "rows.jsonl"}]}
    recipe = Recipe(stage=stage, out="runs/x", data=Data(**sources), graders=graders)  # type: ignore[arg-type]
    return with_keys(recipe, keys)


def work(*keys: str, stage: str = "sft", ranks: int = 1, on_gpu: bool = True) -> Work:
    return work_of(recipe_of(stage, *keys), Longest(100, 50, 40), on_gpu=on_gpu, ranks=ranks)


def states(*keys: str, ranks: int = 1, stage: str = "sft") -> States:
    return states_of(work(*keys, stage=stage, ranks=ranks), BLUEPRINT)


BLUEPRINT = draw_up(
    LlamaConfig(
        vocab_size=1000,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
    ),
    torch.bfloat16,
)
P = BLUEPRINT.parameters


@pytest.mark.parametrize("ranks", [2, 8])
def test_zero_2_and_3_are_nearly_deepspeed_s_own_figures(ranks: int) -> None:
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs

    two, three = states("launch.zero=2", ranks=ranks), states("launch.zero=3", ranks=ranks)
    _, theirs = estimate_zero2_model_states_mem_needs(P, num_gpus_per_node=ranks, cpu_offload=False)
    assert two.weights + two.gradients + two.optimizer + two.step == pytest.approx(theirs, abs=8)
    theirs = estimate_zero3_model_states_mem_needs(P, 0, num_gpus_per_node=ranks, cpu_offload=False)[1]
    gathered = 2 * P  # so small a model stays gathered; DeepSpeed's figure has one layer's instead
    theirs += 2 * P // ranks  # and leaves out the gradients in bfloat16, which its figure of ZeRO-2 has
    assert three.weights - gathered + three.gradients + three.optimizer + three.step == pytest.approx(theirs, abs=8)


def test_offload_moves_states_to_main_memory() -> None:
    optimizer = states("launch.zero=2", "launch.offload=[optimizer]")
    assert (optimizer.optimizer, optimizer.gradients, optimizer.step) == (0, 0, 0)
    assert optimizer.host == {"optimizer and gradients": 16 * P}
    both = states("launch.zero=3", "launch.offload=[optimizer,parameters]")
    assert both.host == {"optimizer and gradients": 16 * P, "weights": 2 * P}


def test_data_parallel_buckets_and_references() -> None:
    assert (states().buckets, states(ranks=2).buckets) == (0, 2 * P)
    assert states(stage="dpo").reference == 0  # computed beforehand
    assert states("train.sync_ref_model=true", stage="dpo", ranks=2).reference == 2 * P
    early = work_of(recipe_of("dpo", "train.max_steps=1"), Longest(100, rows=1000), on_gpu=False)
    assert early.copied_reference  # it ends before it has read its rows
    assert not work_of(recipe_of("dpo", "train.max_steps=1"), Longest(100, rows=8), on_gpu=False).copied_reference
    assert states("train.precompute_ref_log_probs=false", stage="kto").reference == 2 * P
    assert states("model.lora={}", "train.precompute_ref_log_probs=false", stage="dpo").reference == 0
    assert (states(stage="rlvr").reference, states("train.beta=0.04", stage="rlvr").reference) == (0, 2 * P)


def test_work_is_the_recipe_s() -> None:
    pairs = work("train.per_device_train_batch_size=3", stage="dpo", on_gpu=False)
    assert (pairs.rows, pairs.width, pairs.checkpointing, pairs.accumulates) == (6, 100, False, True)
    full, lora = work(), work("model.lora={}")
    assert (full.weights, full.autocast) == (torch.float32, torch.bfloat16)
    assert (lora.weights, work("launch.zero=2").autocast) == (torch.bfloat16, None)
    rollouts = work("train.max_completion_length=60", stage="rlvr")
    assert (rollouts.width, rollouts.sampled, rollouts.sampled_width) == (160, 128, 160)
    assert work("train.packing=true", "train.max_length=512").width == 512
    looks = work(stage="eval")
    assert (looks.rows, looks.sampled, looks.sampled_width) == (0, 128, 50 + 512)


def test_checkpointing_keeps_inputs_alone_and_batches_grow() -> None:
    def total(*keys: str) -> int:
        return forecast(recipe_of("sft", *keys), TINY, Longest(256), on_gpu=False).estimate.total - 300_000_000

    rows = "train.per_device_train_batch_size="
    assert total(rows + "8", "train.gradient_checkpointing=true") < 0.8 * total(rows + "8")
    assert total(rows + "16") > 1.4 * total(rows + "8")
    assert total(rows + "8", "model.lora={}") < total(rows + "8")


@pytest.mark.slow
def test_what_to_change_is_tried_and_the_best_comes_first() -> None:
    recipe = recipe_of("sft", "train.per_device_train_batch_size=16", "train.gradient_accumulation_steps=2")
    found = forecast(recipe, TINY, Longest(512), on_gpu=False)
    device = Device("small", int(0.75 * found.estimate.total), 4 * GB, 4 * GB, is_gpu=False)
    cures = remedies(found, TINY, Longest(512), device)
    totals = [cure.estimate.total for cure in cures]
    assert totals == sorted(totals) and any(cure.fits for cure in cures)
    batch = next(cure for cure in cures if cure.sets[0].startswith("train.per_device_train_batch_size"))
    size, rounds = (int(key.partition("=")[2]) for key in batch.sets)
    assert size * rounds == 32 and batch.fits
    hopeless = Device("tiny", 1000, 1000, 1000, is_gpu=False)
    assert len(remedies(found, TINY, Longest(512), hopeless)[-1].sets) > 2  # several together


@pytest.mark.slow
def test_the_line_before_a_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    say_memory(recipe_of("sft"), TINY, Longest(64))
    assert capsys.readouterr().err.startswith("memory: about 0.3 of ")
    small = Device("small", 340_000_000, 4 * GB, 4 * GB, is_gpu=False)
    monkeypatch.setattr("posttrain.memory.before.this_device", lambda ranks: small)
    say_memory(recipe_of("sft"), TINY, Longest(512))
    said = capsys.readouterr().err
    assert "does not fit" in said and "--set train.gradient_checkpointing=true" in said
    nothing = Device("none", 1000, 4 * GB, 4 * GB, is_gpu=False)
    monkeypatch.setattr("posttrain.memory.before.this_device", lambda ranks: nothing)
    with pytest.raises(UserError, match="the weights alone take"):
        say_memory(recipe_of("sft"), TINY, Longest(64))


def test_the_command_counts_the_recipe_s_rows(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello. " * n}]}
        for n in (1, 9)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recipe = tmp_path / "sft.yaml"
    recipe.write_text(f"stage: sft\nout: {tmp_path}/run\ndata: {{train: [{{path: {tmp_path}/rows.jsonl}}]}}\n")
    lines, document = show(recipe, [], None, device="24GB", length=None)
    assert 20 < document["tokens_a_row"] < 60 and document["fits"] and document["device"]["free"] == 24 * GB
    assert lines[-1] == "memory: about 0.5 of 24.0 GB (a GPU of 24GB)"
    assert document["total"] == sum(document["moments"]["training"].values())
    assert show(recipe, [], None, device="24GB", length=77)[1]["tokens_a_row"] == 77


@pytest.mark.parametrize(
    ("text", "size"), [("24GB", 24 * GB), ("24", 24 * GB), ("1.5 GiB", 3 * 2**29), ("80g", 80 * GB)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["GB", "-1GB", "24TBB", ""])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UserError, match="no amount of memory"):
        parse_size(text)


@pytest.mark.parametrize(("largest", "tried"), [(64, [1, 2, 4, 8, 16, 32, 64]), (5, [1, 2, 4, 8]), (0, [1])])
def test_sizes_are_doubled_until_one_fails(largest: int, tried: list[int]) -> None:
    found = search([1, 2, 4, 8, 16, 32, 64], lambda rows: Tried(rows, 1, rows <= largest, 0), 1.0)
    assert [one.rows for one in found] == tried


def test_between_the_two_it_goes_by_halves() -> None:
    found = search(divisors(48), lambda rows: Tried(rows, 1, rows <= 13, 0), 1.0)
    assert [one.rows for one in found] == [1, 2, 4, 8, 16, 12]


def test_what_would_take_too_much_is_not_tried() -> None:
    asked: list[int] = []

    def attempt(rows: int) -> Tried:
        asked.append(rows)
        return Tried(rows, 1, True, 100 * rows)

    found = search([1, 2, 4, 8, 16], attempt, 500.0)
    assert asked == [1, 2, 4] and [(one.rows, one.fits) for one in found][-1] == (8, False)


def test_the_memory_of_a_process() -> None:
    import os

    before = anonymous_memory(os.getpid())
    block = bytearray(b"x" * 50_000_000)
    assert anonymous_memory(os.getpid()) - before == pytest.approx(len(block), rel=0.2)
    assert anonymous_memory(2**22 + 1) == 0
