"""Results come in order, from one process or several, and errors at their turn."""

from __future__ import annotations

import os

import pytest

from posttrain.data import workers
from posttrain.data.workers import in_order
from posttrain.errors import UserError

_state = {"added": 0}


def use(added: int) -> None:
    _state["added"] = added


def work(task: int) -> tuple[int, int]:
    if task == 13:
        raise UserError("thirteen", where="rows.jsonl:13", fix="Leave it out.")
    return task + _state["added"], os.getpid()


def test_few_tasks_are_done_here() -> None:
    done = list(in_order(work, range(4), alone=4, prepare=use, given=(10,)))
    assert done == [(10 + task, os.getpid()) for task in range(4)]


def test_many_tasks_are_shared_out_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "cores", lambda: 2)
    done = list(in_order(work, (task for task in range(100, 140)), alone=4, prepare=use, given=(5,)))
    assert [result for result, _ in done] == [task + 5 for task in range(100, 140)]
    assert os.getpid() not in {process for _, process in done}


def test_an_error_comes_at_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "cores", lambda: 2)
    results = in_order(work, range(10, 60), alone=4, prepare=use, given=(0,))
    assert [next(results)[0] for _ in range(3)] == [10, 11, 12]
    with pytest.raises(UserError, match="thirteen") as raised:
        next(results)
    assert (raised.value.where, raised.value.fix) == ("rows.jsonl:13", "Leave it out.")


def test_tasks_are_drawn_as_they_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source larger than memory is never read ahead of the work by more than a few chunks."""
    monkeypatch.setattr(workers, "cores", lambda: 2)
    drawn = 0

    def tasks():
        nonlocal drawn
        for task in range(100, 200):
            drawn += 1
            yield task

    results = in_order(work, tasks(), alone=1, prepare=use, given=(0,))
    next(results)
    assert drawn <= 8
    results.close()
