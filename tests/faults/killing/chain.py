"""A run directory that is killed again and again and then let finish; where each start went on, and what came out."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from killing.attempts import Attempt, start
from killing.compare import checkpoints, contents, differences
from killing.job import RUN, STEPS, Job, write_recipe
from killing.moments import Moment, phase_lengths

LONGEST = 6
WITHIN = 1e-5
"""What weights and figures of several processes may differ by: they add in another order."""

WITHIN_OTHERS = 1e-4
_OF_THE_PLACE = re.compile(
    r"recipe.yaml|inputs.json|checkpoints/|run.json|.*lineage.json|metrics.jsonl\S* (?!loss:|step:)"
)
"""The same where the last start has another number of processes, and what then differs of itself: where it runs, and
figures that are means over the rows of a process."""


@dataclass
class Kill:
    """One kill: when it was meant, what it hit, what lay there afterwards, and where the next start went on.

    `whole` are the steps of the checkpoints that had all their files, `unfinished` is what else was not finished.
    `resumed_from` is None where the next start began anew or was killed before it said so; `wrong` is what may not be.
    """

    job: str
    chain: int
    moment: str
    victim: str
    after_seconds: float
    gone_seconds: float | None
    seen: str
    whole: list[int]
    unfinished: list[str]
    resumed_from: int | None = None
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        victim = (
            "" if self.victim == "the command" else f"{self.victim}, all gone after {self.gone_seconds or 0:.1f} s, "
        )
        on = "anew, or killed before it said" if self.resumed_from is None else f"from step {self.resumed_from}"
        what = f"{victim}at {self.after_seconds:.2f} s ({self.seen}); whole {self.whole or 'none'}"
        rest = f", unfinished {', '.join(self.unfinished)}" if self.unfinished else ""
        return f"{self.job} {self.chain}: {self.moment:12} {what}{rest}; went on: {on}" + "".join(
            f"\n    WRONG: {each}" for each in self.wrong
        )


@dataclass(frozen=True)
class Uninterrupted:
    """The run that nobody kills: how long its phases are, and what is in a whole checkpoint of it."""

    job: Job
    folder: Path
    seconds: float
    lengths: dict[str, float]
    contents: dict[str, int]


def uninterrupted(job: Job, folder: Path) -> Uninterrupted:
    """Run the job once; raises RuntimeError if it fails."""
    write_recipe(job, folder)
    done = start(job, folder, "start")
    if wrong := done.wrong():
        raise RuntimeError(f"{job} does not even run: {'; '.join(wrong)}")
    last = folder / RUN / "checkpoints" / f"checkpoint-{STEPS}"
    return Uninterrupted(job, folder, done.seconds, phase_lengths(done.watch, done.seconds), contents(last))


def run_chain(
    whole: Uninterrupted,
    number: int,
    moments: list[Moment],
    draw: random.Random,
    say: Callable[[object], None],
    then: tuple[str, ...] = (),
) -> tuple[list[Kill], list[str]]:
    """Kill one run directory up to LONGEST times, at moments taken from the front of `moments`, then let it finish.

    `say` is told of each kill when it is known where the run went on; `then` are options of the last start. Return
    the kills, and what is wrong with the run in the end.
    """
    job, folder = whole.job, whole.folder.with_name(f"chain-{number}")
    write_recipe(job, folder)
    kills: list[Kill] = []
    planned = draw.randint(1, LONGEST)
    while True:
        moment = moments[0] if moments and len(kills) < planned else None
        options = () if moment else then
        attempt = start(
            job, folder, f"start-{len(kills) + 1}", *options, moment=moment, lengths=whole.lengths, draw=draw
        )
        if kills:
            _went_on(kills[-1], attempt)
            say(kills[-1])
        if attempt.victim is None:
            break
        kills.append(_killed(whole, number, moments.pop(0), attempt))
    if moment and not kills:  # it was over before its moment came
        moments[0] = replace(moment, share=moment.share / 2)
    wrong = [problem for kill in kills for problem in kill.wrong] + attempt.wrong()
    if then and attempt.resumed_from is None:
        return kills, wrong  # it began anew, or had ended: other processes are then another batch, or nothing
    within = WITHIN_OTHERS if then else WITHIN if job.processes > 1 else 0.0
    apart = differences(whole.folder / RUN, folder / RUN, within)
    return kills, wrong + [each for each in apart if not (then and _OF_THE_PLACE.match(each))][:20]


def _killed(whole: Uninterrupted, chain: int, moment: Moment, attempt: Attempt) -> Kill:
    """Return what is known right after a kill."""
    steps, unfinished = checkpoints(whole.folder.with_name(f"chain-{chain}") / RUN, whole.contents)
    assert attempt.victim is not None and attempt.after is not None
    return Kill(
        job=str(whole.job),
        chain=chain,
        moment=str(moment),
        victim=attempt.victim,
        after_seconds=round(attempt.after, 3),
        gone_seconds=attempt.gone and round(attempt.gone, 2),
        seen=attempt.last_line,
        whole=steps,
        unfinished=unfinished,
        wrong=attempt.wrong(),
    )


def _went_on(kill: Kill, attempt: Attempt) -> None:
    """Add where the start after a kill went on, and whether that was the newest whole checkpoint.

    One of the very last step may be passed over: nothing is left to train from there.
    """
    kill.resumed_from = attempt.resumed_from
    may = {max(kill.whole), max((step for step in kill.whole if step < STEPS), default=None)} if kill.whole else {None}
    said = attempt.resumed_from is not None or attempt.trains
    if said and attempt.resumed_from not in may:
        kill.wrong.append(f"went on from {attempt.resumed_from}, not from the newest whole checkpoint of {kill.whole}")
