"""The generators behind the built-in model."""

from __future__ import annotations

from collections import Counter
from random import Random

from posttrain.builtin.tasks import (
    SHARES,
    STORIES,
    Habits,
    Problem,
    draw_problem,
    guess,
    ramble,
    solution,
    solve,
    split_of,
    working,
)

PROBLEM = Problem("Tom had 23 nuts, got 10 more and gave away 4. How many nuts are left?", (23, 10, -4), "nuts")


def test_working_shows_both_steps():
    assert working(PROBLEM) == "23+10=33, 33-4=29"
    assert working(Problem("", (23, 10, 4), "nuts")) == "23+10=33, 33+4=37"


def test_shares_cover_everything():
    assert sum(SHARES.values()) == 100


def test_split_depends_on_the_numbers_alone():
    assert split_of((7, 20, 31)) == split_of((31, 7, -20))


def test_split_shares_are_met():
    counts = Counter(split_of((a, b, c)) for a in range(5, 60) for b in range(2, 40) for c in range(2, 30))
    total = sum(counts.values())
    assert all(abs(counts[split] / total - share / 100) < 0.02 for split, share in SHARES.items())


def test_problems_stay_within_two_digits():
    rng = Random(0)
    for _ in range(500):
        problem = draw_problem(rng, "base", STORIES)
        assert 0 < problem.answer < 100
        assert problem.numbers[0] + problem.numbers[1] < 100


def test_a_quarter_of_the_guesses_is_right():
    rng = Random(0)
    right = sum(guess(rng, PROBLEM) == 29 for _ in range(4000)) / 4000
    assert abs(right - 0.25) < 0.03


def test_good_habits_give_the_ideal_reply():
    habits = Habits(worked=1.0, line=1.0, rambling=0.0)
    text, number = solution(Random(0), PROBLEM, habits)
    assert text.endswith("23+10=33, 33-4=29.\nAnswer: 29")
    assert number == 29


def test_prose_never_has_the_asked_line():
    habits = Habits(worked=0.5, line=0.0, rambling=0.0)
    rng = Random(0)
    assert not any("Answer:" in solve(rng, PROBLEM, habits) for _ in range(200))


def test_half_of_the_rambling_gives_another_answer():
    rng = Random(0)
    texts = [ramble(rng, 29) for _ in range(2000)]
    assert not any(text.endswith("Answer: 29") for text in texts)
    assert abs(sum("Answer:" in text for text in texts) / 2000 - 0.5) < 0.05
