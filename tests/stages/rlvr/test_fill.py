"""Which groups a step ends up with, drawn by a rule instead of a model."""

from __future__ import annotations

from collections.abc import Mapping

from posttrain.recipe.schema import Retire
from posttrain.stages.rlvr.fill import Ask, fill
from posttrain.stages.rlvr.problems import Look, Problems


def drawer(varied: set[int], rounds: list[list[int]]):
    """Draw so that the groups of the problems in `varied` differ in reward; `rounds` gets what each round drew."""

    def draw(asked: Mapping[int, Ask]) -> dict[int, Look]:
        rounds.append([ask.index for ask in asked.values()])
        return {
            place: Look(1, ask.index, "", 4, 0, 1.0, 1.0, varied=ask.index in varied, queue=ask.queue)
            for place, ask in sorted(asked.items())
        }

    return draw


def test_groups_with_equal_rewards_are_replaced_until_none_is_left() -> None:
    rounds: list[list[int]] = []
    filled = fill(Problems(6, 1, None), 1, [0, 1, 2], drawer({0, 3, 4}, rounds), refills=9)
    assert rounds[0] == [0, 1, 2] and len(rounds) <= 3
    assert filled.final[0].index == 0
    assert {look.index for look in filled.final} == {0, 3, 4}
    assert filled.replaced == 2
    drawn = [index for one in rounds for index in one]
    assert len(set(drawn)) == len(drawn) == len(filled.looks)
    assert {look.index for look in filled.looks if look.trained} == {0, 3, 4}


def test_the_number_of_rounds_is_bounded_and_the_first_groups_are_kept_then() -> None:
    rounds: list[list[int]] = []
    filled = fill(Problems(20, 1, None), 1, [0, 1], drawer(set(), rounds), refills=2)
    assert [len(one) for one in rounds] == [2, 2, 2]
    assert [look.index for look in filled.final] == [0, 1]
    assert filled.replaced == 0
    assert fill(Problems(20, 1, None), 1, [0, 1], drawer(set(), rounds), refills=0).looks == filled.final


def test_there_may_be_no_others() -> None:
    rounds: list[list[int]] = []
    filled = fill(Problems(3, 1, None), 1, [0, 1], drawer({0}, rounds), refills=5)
    assert rounds == [[0, 1], [2]]
    assert [look.index for look in filled.final] == [0, 1]


def test_problems_that_rest_are_left_out_before_anything_is_drawn() -> None:
    problems = Problems(4, 1, Retire(looks=1, steps=3))
    for index in (1, 3):
        problems.add(Look(1, index, "", 4, 0, 1.0, 1.0, varied=False))
    rounds: list[list[int]] = []
    filled = fill(problems, 2, [0, 1, 3], drawer({0, 2}, rounds), refills=0)
    assert rounds == [[0, 2, 3]]  # 2 is the only other one; 3 is drawn all the same
    assert filled.rested == 1
    assert filled.replaced == 0
