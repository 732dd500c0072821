"""The operations counted for a step, against sums done by hand and PyTorch's own counter."""

from __future__ import annotations

import pytest
from measure.work import Shape, Tokens, step_flops, tokens_of_row, total

SHAPE = Shape(layers=1000, width=10, vocabulary=50)  # a vocabulary projection of 500 weights


def test_sft_counts_six_a_weight_and_projects_only_what_is_read() -> None:
    assert step_flops("sft", Tokens(prompt=7, completion=3, read=3), SHAPE) == 6 * 1000 * 10 + 6 * 500 * 3


def test_dpo_counts_a_pairs_prompt_once() -> None:
    row = {"prompt_ids": [1] * 7, "chosen_ids": [1] * 3, "rejected_ids": [1] * 2}
    tokens = tokens_of_row("dpo", row)
    assert tokens == Tokens(7, 5, 5)
    assert step_flops("dpo", tokens, SHAPE) == 6 * 1000 * 12 + 6 * 500 * 5


def test_kto_reads_a_mismatched_completion_forward() -> None:
    tokens = tokens_of_row("kto", {"prompt_ids": [1] * 7, "completion_ids": [1] * 3})
    assert tokens == Tokens(7, 3, 3, mismatched=3)
    assert step_flops("kto", tokens, SHAPE) == 6 * 1000 * 10 + 6 * 500 * 3 + 2 * 1000 * 3 + 2 * 500 * 3


def test_rlvr_samples_forward_and_learns_three_times_that() -> None:
    tokens = Tokens(prompt=14, completion=64, read=64)
    sampled = 2 * 1000 * 78 + 2 * 500 * 64
    assert step_flops("rlvr", tokens, SHAPE) == sampled + 3 * sampled


def test_sft_rows_count_their_labels() -> None:
    assert tokens_of_row("sft", {"input_ids": [5, 6, 7, 8], "labels": [-100, -100, 7, -100]}) == Tokens(3, 1, 1)
    assert total([Tokens(3, 1, 1), Tokens(1, 2, 2, 5)]) == Tokens(4, 3, 3, 5)


def test_the_count_is_pytorchs_own_but_for_attention() -> None:
    import torch
    from measure.matmul import matrices_of
    from torch.utils.flop_counter import FlopCounterMode
    from training import model_directory
    from transformers import AutoModelForCausalLM

    path = model_directory("builtin:tiny")
    matrices, head = matrices_of(str(path))
    shape = Shape(sum(rows * columns for rows, columns in matrices), head[1], head[0])
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    with FlopCounterMode(display=False) as counter:
        model(torch.ones(2, 10, dtype=torch.long)).logits.sum().backward()
    counted = counter.get_flop_counts()["Global"]
    products = sum(
        count for operation, count in counted.items() if "mm" in str(operation) and "bmm" not in str(operation)
    )
    # The first layer's input needs a gradient too, since the embeddings are trained.
    assert products == pytest.approx(step_flops("sft", Tokens(0, 20, 20), shape), rel=1e-9)
