"""What a run writes: sums done by hand, and files that a run has written."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from posttrain.errors import UserError
from posttrain.memory.disk import Written, most_written, say_disk

EACH = Written(checkpoint=100, final=40, policy=0)


def arguments(**changes) -> SimpleNamespace:
    usual = {
        "max_steps": 0,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "world_size": 1,
        "save_steps": 0.1,
        "save_strategy": "steps",
        "load_best_model_at_end": False,
    }
    return SimpleNamespace(**{**usual, **changes})


@pytest.mark.parametrize(
    ("changes", "limit", "most"),
    [
        ({}, 2, 300),  # two kept, the third being written
        ({"load_best_model_at_end": True}, 2, 400),  # and the best
        ({"load_best_model_at_end": True}, 1, 300),
        ({"max_steps": 20, "save_steps": 10}, 2, 240),  # two in all, then the finished model
        ({"save_steps": 5}, None, 440),  # 80 rows, 2 epochs, 8 a step: 20 steps, 4 saves; none is removed
        ({"save_strategy": "no"}, 2, 40),
    ],
)
def test_the_most_that_lies_there_at_a_time(changes: dict, limit: int | None, most: int) -> None:

    assert most_written(EACH, arguments(**changes), limit, rows=80) == most


def test_a_run_that_does_not_fit_is_refused(tmp_path) -> None:
    huge = Written(checkpoint=10**18, final=10**17, policy=0)
    with pytest.raises(UserError, match=r"writes about 3,000,000,000 GB") as caught:
        say_disk(huge, tmp_path, arguments(), 2, 80)
    assert caught.value.where == "out"
    assert "train.save_total_limit" in str(caught.value)
    say_disk(EACH, tmp_path, arguments(), 2, 80)
