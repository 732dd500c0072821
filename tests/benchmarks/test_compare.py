"""Figures from runs whose times are known: medians over rounds, ratios within a round, shares, and agreement."""

from __future__ import annotations

from pathlib import Path

import pytest
from measure.compare import Machine, Run, differences, summed_up, within
from measure.marks import Marks
from measure.processes import Usage
from measure.report import agreement, training_table
from measure.sides import Job
from measure.work import Shape, Tokens

JOB = Job(stage="sft", model=Path("model"), steps=3, batch=2)
TOKENS = [Tokens(6, 4, 4), Tokens(6, 4, 4)] * 3  # 20 tokens a step, 8 of them read
MACHINE = Machine(Shape(layers=1000, width=10, vocabulary=50), rate=144_000.0)


def run_of(side, seconds: float, losses=(3.0, 2.0, 1.0), norm: float = 4.0) -> Run:
    """A run whose steps take so long, but for the first, which takes 100 seconds."""
    logs = [{"loss": loss, "grad_norm": norm} for loss in losses]
    marks = Marks(1010.0, [100.0, seconds, seconds], [9.0, seconds / 2, seconds / 2], logs, threads=2, cuda_bytes=0)
    return Run(side, Usage(started=1000.0, seconds=120 + 2 * seconds, processor=50.0, memory=10_000_000), marks)


def test_medians_over_rounds_and_ratios_within_them() -> None:
    ours, theirs = [1.0, 2.0, 9.0], [3.0, 2.0, 90.0]
    runs = [[run_of("posttrain", a), run_of("trl", b)] for a, b in zip(ours, theirs, strict=True)]
    found = summed_up(JOB, runs, TOKENS, MACHINE, warmup=1)
    mine, other = found.figures
    assert (mine.step_seconds, other.step_seconds) == (2.0, 3.0)
    assert mine.ratio == 1
    assert other.ratio == 3.0  # the median of 3, 1 and 10, and not 3 / 2
    assert other.processor_ratio == 3.0
    assert other.whole_ratio == pytest.approx(126 / 122)
    assert (mine.whole_seconds, mine.first_step_after, mine.memory_mb) == (124.0, 10.0, 10.0)
    assert (mine.rows_a_second, mine.tokens_a_second) == (1.0, 10.0)
    # 6 x 1000 x 20 + 6 x 500 x 8 = 144,000 operations in 2 s, of 144,000 a second
    assert mine.share == pytest.approx(0.5)
    assert found.tokens_a_step == 20


def test_rlvr_counts_the_completions_that_were_sampled() -> None:
    job = Job(stage="rlvr", model=Path("model"), steps=2, batch=2, samples=4)
    logs = [{"completions/mean_length": 16.0, "reward": 0.25}] * 2
    run = Run("posttrain", Usage(0.0, 9.0, 9.0, 1), Marks(1.0, [5.0, 2.0], [5.0, 2.0], logs, 2, 0))
    found = summed_up(job, [[run]], [Tokens(10, 0, 0)] * 4, MACHINE, warmup=1)
    mine = found.figures[0]
    sampled = 2 * 4 * 16
    assert mine.rows_a_second == 8 / 2
    assert mine.tokens_a_second == (20 + sampled) / 2
    assert mine.share == pytest.approx(4 * (2 * 1000 * (20 + sampled) + 2 * 500 * sampled) / 2 / 144_000)


@pytest.mark.parametrize(("last", "agree"), [(1.0009, True), (1.0011, False), (float("nan"), False)])
def test_losses_must_agree_at_every_step(last: float, agree: bool) -> None:
    runs = [[run_of("posttrain", 1.0), run_of("trl", 2.0, losses=(3.0, last + 1, 1.0))]]
    found = summed_up(JOB, runs, TOKENS, MACHINE, warmup=1)
    assert found.agree is agree
    assert ("DO NOT AGREE" in agreement(found)) is not agree


@pytest.mark.parametrize(("norm", "agree"), [(4.04, True), (4.4, False), (3.6, False)])
def test_gradients_must_agree_as_well(norm: float, agree: bool) -> None:
    runs = [[run_of("posttrain", 1.0, norm=norm), run_of("trl", 2.0)]]
    found = summed_up(JOB, runs, TOKENS, MACHINE, warmup=1)
    assert found.apart["trl"] == pytest.approx({"loss": 0.0, "gradient": abs(norm / 4 - 1)})
    assert found.agree is agree


def test_a_comparison_cut_short_says_so() -> None:
    runs = [[run_of("posttrain", 1.0), run_of("trl", 2.0)]]
    found = summed_up(JOB, runs, TOKENS, MACHINE, 1, "round 2: took longer than 9 s\nits log")
    assert found.rounds == 1
    assert agreement(found).endswith("; cut short in round 2: took longer than 9 s")


def test_rlvr_must_agree_in_length_and_reward() -> None:
    def marks(length: float, reward: float) -> Marks:
        return Marks(0.0, [1.0], [1.0], [{"completions/mean_length": length, "reward": reward}], 2, 0)

    found = differences("rlvr", marks(30.0, 0.2), marks(32.0, 0.21))
    assert found == pytest.approx({"length": 2 / 32, "reward": 0.01})
    assert within("rlvr", found)
    assert not within("rlvr", differences("rlvr", marks(20.0, 0.2), marks(32.0, 0.2)))
    assert not within("rlvr", differences("rlvr", marks(32.0, 0.2), marks(32.0, 0.3)))


def test_the_table_has_a_line_a_side() -> None:
    found = summed_up(JOB, [[run_of("posttrain", 1.0), run_of("trl", 4.0)]], TOKENS, MACHINE, warmup=1)
    head, _, ours, theirs = training_table([found]).splitlines()
    assert ours.startswith("| SFT | posttrain | 2 | 1.000 | 0.500 | 2.0 | 20 | 100% | 122.0 | 10.0 | 10 | 1 | 1 |")
    assert "**4.00** (4.00 by processor)" in theirs
    assert head.count("|") == ours.count("|") == theirs.count("|")
