"""Which problems to draw: what was seen of each, which of them rest, and which come next in place of others.

RUN/looks.jsonl has one line a look at a problem, in the order of the looks. It is all that there is to remember: a
resumed run reads it back up to its checkpoint, and goes on as if it had not stopped.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from posttrain.evals.summary import Graded
from posttrain.recipe.schema import Retire
from posttrain.runs.directory import LOOKS
from posttrain.runs.metrics import read_rows
from posttrain.runs.whole import write_text

_LONGEST = 32
"""A rest is at most so many times as long as the first."""


@dataclass(frozen=True)
class Look:
    """One group of completions of the problem with this `index` among the training rows.

    `reward` and `passed` are means over those with a verdict, None without any. `varied`: some reward differs, so that
    the group teaches something. `queue`: its place in the queue, for a problem that came in place of another.
    `trained`: it is in the step's batch.
    """

    step: int
    index: int
    place: str
    samples: int
    errors: int
    reward: float | None
    passed: float | None
    varied: bool
    queue: int | None = None
    trained: bool = True


def look_at(step: int, index: int, group: Graded, *, queue: int | None = None, mask_truncated: bool = False) -> Look:
    """Return what a group says of its problem. With `mask_truncated` no completion that was cut off is trained on
    (``mask_truncated_completions``), and a group of none but these teaches nothing."""
    judged = [grade for grade in group.grades if not grade.error]
    scores = [grade.score or 0.0 for grade in judged]
    taught = not (mask_truncated and all(completion.truncated for completion in group.completions))
    return Look(
        step=step,
        index=index,
        place=group.problem.place,
        samples=len(group.grades),
        errors=len(group.grades) - len(judged),
        reward=sum(scores) / len(scores) if scores else None,
        passed=sum(grade.passed for grade in judged) / len(judged) if judged else None,
        varied=rewards_differ(group) and taught,
        queue=queue,
    )


def rewards_differ(group: Graded) -> bool:
    """Whether two completions of a group have verdicts with different scores."""
    return len({grade.score for grade in group.grades if not grade.error}) > 1


@dataclass
class _Record:
    solved: bool = False
    streak: int = 0
    rests_until: int = 0


class Problems:
    """All training problems by their index: the looks at each so far, and a queue of them in an order of its own."""

    def __init__(self, count: int, seed: int, retire: Retire | None) -> None:
        self._records = [_Record() for _ in range(count)]
        self._seed, self._retire = seed, retire
        self._position = 0
        self._lap: tuple[int, list[int]] = (-1, [])

    def add(self, look: Look) -> None:
        """Take a look in. A problem that all completions of `retire.looks` looks in a row passed, or none, rests: for
        `retire.steps` steps, and twice as long for each further such look."""
        record, retire = self._records[look.index], self._retire
        if look.queue is not None:
            self._position = max(self._position, look.queue + 1)
        settled = not look.varied and look.passed in (0.0, 1.0)
        solved = look.passed == 1.0
        record.streak = (record.streak + 1 if solved == record.solved else 1) if settled else 0
        record.solved = solved
        if retire and record.streak >= retire.looks:
            record.rests_until = look.step + retire.steps * min(2 ** (record.streak - retire.looks), _LONGEST)

    def rests(self, index: int, step: int) -> bool:
        """Whether the problem is left out of this step."""
        return step <= self._records[index].rests_until

    def resting(self, step: int) -> tuple[int, int]:
        """Return how many problems rest at this step as solved, and how many as not solved."""
        rest = [record.solved for record in self._records if step <= record.rests_until]
        return sum(rest), len(rest) - sum(rest)

    def next(self, step: int, taken: set[int]) -> tuple[int, int] | None:
        """Return (index, place in the queue) of the next problem that does not rest and is not `taken`, and take it;
        None when there is none."""
        for position in range(self._position, self._position + len(self._records)):
            index = self._at(position)
            if index not in taken and not self.rests(index, step):
                self._position = position + 1
                taken.add(index)
                return index, position
        return None

    def _at(self, position: int) -> int:
        """Return the problem at a place of the queue, which goes over all of them again and again, each time in another
        order that only the seed decides."""
        lap, place = divmod(position, len(self._records))
        if self._lap[0] != lap:
            order = list(range(len(self._records)))
            random.Random(f"{self._seed} {lap}").shuffle(order)
            self._lap = (lap, order)
        return self._lap[1][place]


def read_looks(run: Path, until: int) -> list[Look]:
    """Return the looks that a run has kept, up to the step `until`."""
    return [Look(**row) for row in read_rows(run / LOOKS) if row["step"] <= until]


def write_looks(run: Path, looks: Sequence[Look]) -> None:
    """Write the file anew, whole or not at all."""
    write_text(run / LOOKS, "".join(_lines(looks)))


def append_looks(run: Path, looks: Sequence[Look]) -> None:
    """Add looks to the file."""
    with (run / LOOKS).open("a", encoding="utf-8") as file:
        file.writelines(_lines(looks))


def _lines(looks: Sequence[Look]) -> Iterable[str]:
    return (json.dumps(asdict(look), ensure_ascii=False) + "\n" for look in looks)
