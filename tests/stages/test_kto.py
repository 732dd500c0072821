"""KTO's weights, order and mismatched pairs, by hand and against TRL's own pairing."""

from __future__ import annotations

import pyarrow as pa
import pytest

from posttrain.data.balance import label_weights
from posttrain.errors import UserError
from posttrain.stages.kto import add_kl_completions, spread_labels


@pytest.mark.parametrize(
    ("up", "down", "weights"),
    [
        (100, 100, (1.0, 1.0)),
        (50, 200, (4.0, 1.0)),
        (300, 100, (1.0, 3.0)),
        (10, 0, (1.0, 1.0)),
        (0, 10, (1.0, 1.0)),
    ],
)
def test_both_labels_weigh_the_same(up: int, down: int, weights: tuple[float, float]) -> None:
    assert label_weights(up, down) == weights
    if up and down:
        assert weights[0] * up == weights[1] * down


def rows(labels: str) -> pa.Table:
    return pa.Table.from_pylist(
        [{"label": label == "+", "completion_ids": [i], "prompt_ids": [0]} for i, label in enumerate(labels)]
    )


def test_labels_are_spread_evenly_and_keep_their_order() -> None:
    spread = spread_labels(rows("++++++--")).to_pylist()
    assert "".join("+" if row["label"] else "-" for row in spread) == "++-+++-+"
    halves = [sum(not row["label"] for row in spread[i : i + 4]) for i in (0, 4)]
    assert halves == [1, 1]
    assert [row["completion_ids"][0] for row in spread if row["label"]] == [0, 1, 2, 3, 4, 5]
    assert [row["completion_ids"][0] for row in spread if not row["label"]] == [6, 7]


def test_each_prompt_meets_the_completion_of_the_row_before_in_its_batch() -> None:
    paired = add_kl_completions(rows("+-+-+"), 2)
    assert paired["KL_completion_ids"].to_pylist() == [
        [1],
        [0],
        [3],
        [2],
    ]  # the last batch of one is left out


@pytest.mark.parametrize(("labels", "batch_size"), [("+", 4), ("+-+", 1)])
def test_a_row_without_a_neighbour_is_refused(labels: str, batch_size: int) -> None:
    with pytest.raises(UserError, match="at least 2 rows"):
        add_kl_completions(rows(labels), batch_size)


@pytest.mark.parametrize("labels", ["+++", "---"])
def test_one_label_alone_keeps_its_order(labels: str) -> None:
    assert spread_labels(rows(labels)) == rows(labels)


def test_a_short_last_batch_is_paired_within_itself() -> None:
    paired = add_kl_completions(rows("+-+-++"), 4)
    assert paired["KL_completion_ids"].to_pylist() == [[3], [0], [1], [2], [5], [4]]


def test_pairs_are_trls() -> None:
    """The rotation TRL's KTOTrainer makes within each batch: the last completion first."""
    batch = rows("+-+-")
    ids = batch["completion_ids"].to_pylist()
    assert add_kl_completions(batch, 4)["KL_completion_ids"].to_pylist() == [ids[-1], *ids[:-1]]
