"""Tokens, memory and time, against sums done by hand, and against one run."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from posttrain.advice.advise import take_advice
from posttrain.advice.cost import cost_of, memory_of, tokens_of
from posttrain.advice.machine import Machine, measure
from posttrain.advice.settings import train_settings
from posttrain.advice.size import Size, size_of
from posttrain.advice.tokens import Lengths, lengths
from posttrain.data.records import Chat, Preference
from posttrain.memory.forecast import forecast
from posttrain.memory.work import Longest
from posttrain.model.resolve import resolve
from posttrain.model.tokenizer import load_tokenizer
from posttrain.recipe.schema import Data, Model, Recipe

ROWS = Path(__file__).parents[2] / "recipes" / "quickstart" / "data"
SIZE = Size(1000, layers=2, hidden=10, intermediate=30, vocabulary=5, context=512)
MACHINE = Machine("a machine", memory=10**9, dtype="float32", rate=1e6, is_gpu=False)


def test_the_size_is_that_of_the_loaded_model() -> None:
    from transformers import AutoModelForCausalLM

    parent = resolve("builtin:tiny")
    model = AutoModelForCausalLM.from_pretrained(parent.path)
    size = size_of(parent)
    assert size.parameters == sum(each.numel() for each in model.parameters())
    assert (size.layers, size.hidden, size.vocabulary, size.context) == (4, 128, 797, 512)


def test_sft_by_hand() -> None:
    settings = {"num_train_epochs": 2, "per_device_train_batch_size": 4, "max_length": 128}
    cost = cost_of("sft", 50, Lengths(mean=20, p99=30), settings, SIZE, MACHINE, (1000, 200))
    assert cost.tokens == (2000, 2000)  # 2 epochs of 50 rows of 20
    assert (cost.memory_full, cost.memory_lora) == ((800, 1250), (160, 250))  # within a quarter
    # 6 FLOP a parameter and token are 12 seconds at the measured rate; 4 for frozen ones. And 5 to start.
    assert cost.hours_full == pytest.approx(((5 + 12 / 0.6) / 3600, (5 + 12 / 0.1) / 3600))
    assert cost.hours_lora == pytest.approx(((5 + 8 / 0.6) / 3600, (5 + 8 / 0.1) / 3600))


def test_memory_is_what_the_memory_command_foresees() -> None:
    settings = train_settings("sft", 1000, Lengths(mean=20, p99=30))
    full, lora = memory_of(resolve("builtin:tiny"), "sft", Lengths(mean=20, p99=30), settings, on_gpu=False)
    recipe = Recipe.model_construct(stage="sft", model=Model(), data=Data(), train=settings)
    assert full == forecast(recipe, resolve("builtin:tiny"), Longest(30), on_gpu=False).estimate.total
    assert 300e6 < lora < full


def test_a_gpu_computes_activations_twice() -> None:
    settings = {"num_train_epochs": 1, "per_device_train_batch_size": 1, "max_length": 128}
    on_cpu, on_gpu = (
        cost_of("sft", 10, Lengths(20, 30), settings, replace(SIZE, layers=40), machine, (0, 0))
        for machine in (MACHINE, replace(MACHINE, is_gpu=True))
    )
    training = [cost.hours_full[0] - 5 / 3600 for cost in (on_gpu, on_cpu)]
    assert training[0] == pytest.approx(training[1] * 8 / 6)


def test_rlvr_samples_up_to_its_longest_completion() -> None:
    settings = {
        "max_steps": 10,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 2,
        "max_completion_length": 100,
    }
    tokens, sampled = tokens_of("rlvr", 40, Lengths(mean=30, p99=40), settings)
    assert sampled == (4000, 16000)  # 160 completions of 25 to 100
    assert tokens == (4000 + 160 * 30, 16000 + 160 * 30)


def test_no_step_asks_for_more_problems_than_there_are() -> None:
    for problems in (2, 8, 9, 400):
        settings = train_settings("rlvr", problems, Lengths(20, 30))
        a_step = settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"]
        assert a_step // settings["num_generations"] <= problems


def test_tokens_are_the_tokenizer_s() -> None:
    tokenizer = load_tokenizer(resolve("builtin:tiny"), Model())
    turns = [{"role": "user", "content": "How are you?"}, {"role": "assistant", "content": "Well, thanks."}]
    own = len(tokenizer.apply_chat_template(turns, return_dict=False))
    assert lengths([Chat(turns)], "sft", tokenizer) == Lengths(own, own)
    pair = Preference(turns[:1], turns[1:], [{"role": "assistant", "content": "Well, thanks. And you?"}])
    counted = lengths([pair], "dpo", tokenizer)
    assert counted.mean == own + counted.p99 and counted.p99 > own
    assert lengths([Chat(turns)], "sft", None) == Lengths(6 + 12, 6 + 12)  # 25 characters at 4, and the template


def test_the_machine_is_measured() -> None:
    machine = measure(size_of(resolve("builtin:tiny")), 256)
    assert 1e7 < machine.rate < 1e15 and machine.memory > 1e8 and machine.name


@pytest.mark.slow
def test_one_short_run_takes_about_as_long(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join((ROWS / "sft.jsonl").read_text().splitlines(keepends=True)[:240]))
    found = take_advice([str(rows)], model="builtin:tiny", to=tmp_path / "start")
    low, high = found.costs["sft"].hours_full
    command = [
        sys.executable,
        "-m",
        "posttrain",
        "sft",
        str(tmp_path / "start" / "sft.yaml"),
        "--set",
        "eval.every=1000",
    ]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    run = json.loads((tmp_path / "runs" / "sft" / "run.json").read_text())
    assert found.tokens["sft"] == pytest.approx(run["tokens"], rel=0.1)
    seconds = math.sqrt(low * high) * 3600
    assert seconds / 4 < run["seconds"] < seconds * 4
