"""Memory that has run out: what counts as that, what is said, and the next smaller batch."""

from __future__ import annotations

import pytest
import torch

from posttrain.errors import OutOfMemory
from posttrain.memory.shortage import explained, is_shortage, smaller_batch
from posttrain.memory.work import Longest
from posttrain.model.resolve import resolve
from posttrain.recipe.schema import Recipe


def recipe(stage: str, launch=None, **train) -> Recipe:
    return Recipe.model_validate(
        {
            "stage": stage,
            "out": "runs/x",
            "model": {"path": "builtin:tiny", "dtype": "float32"},
            "data": {"train": [{"path": "rows.jsonl"}]},
            "train": train,
            "graders": [{"type": "number"}] if stage == "rlvr" else [],
            "launch": launch or {},
        }
    )


def too_much() -> torch.Tensor:
    return torch.empty(1 << 50)


def test_what_torch_and_python_raise_counts() -> None:
    with pytest.raises(RuntimeError) as of_torch:
        too_much()
    with pytest.raises(MemoryError) as of_python:
        bytearray(1 << 60)
    assert is_shortage(of_torch.value)
    assert is_shortage(of_python.value)
    assert is_shortage(torch.OutOfMemoryError("CUDA out of memory."))
    assert not is_shortage(RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"))


def test_it_says_what_the_step_held_and_what_to_change() -> None:
    asked = recipe("sft", per_device_train_batch_size=8, gradient_accumulation_steps=2)
    with pytest.raises(OutOfMemory) as raised, explained(asked, resolve("builtin:tiny")) as moment:
        moment.longest = Longest(row=700, rows=100)
        too_much()
    error = raised.value
    assert error.exit_code == 2
    assert error.where == "train.per_device_train_batch_size"
    assert error.message.startswith(
        "out of memory before the first step: 8 rows at a time, the longest of 700 tokens (foreseen: "
    )
    assert "--set train.per_device_train_batch_size=4 --set train.gradient_accumulation_steps=4" in (error.fix or "")
    assert "launch.on_out_of_memory=smaller" in (error.fix or "")


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), explained(recipe("sft"), resolve("builtin:tiny")):
        raise RuntimeError("shapes")


@pytest.mark.parametrize(
    ("stage", "train", "expected"),
    [
        ("sft", {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}, {"each": 4, "rounds": 4}),
        # 6 rows a step: half of 3 is no whole number, and 1 divides them.
        ("sft", {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2}, {"each": 1, "rounds": 6}),
        ("sft", {"per_device_train_batch_size": 1}, None),
        ("kto", {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}, {"each": 2, "rounds": 2}),
        ("kto", {"per_device_train_batch_size": 2}, None),  # its KL term needs another row
    ],
)
def test_the_next_smaller_batch_has_the_rows_of_a_step(stage, train, expected) -> None:
    sets = dict(key.removeprefix("train.").split("=") for key in smaller_batch(recipe(stage, **train)))
    found = {
        "each": int(sets["per_device_train_batch_size"]),
        "rounds": int(sets["gradient_accumulation_steps"]),
    } if sets else None  # fmt: skip
    assert found == expected


def test_drawing_counts_micro_batches() -> None:
    asked = recipe(
        "rlvr", per_device_train_batch_size=16, gradient_accumulation_steps=2, steps_per_generation=4, num_generations=8
    )
    assert smaller_batch(asked) == (
        "train.per_device_train_batch_size=8",
        "train.gradient_accumulation_steps=4",
        "train.steps_per_generation=8",
    )
