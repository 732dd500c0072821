"""Is there anything for RLVR to learn from? Counted from samples of the training problems, graded as in training.

GRPO's advantage of a completion is its reward less the mean of its group. A group whose rewards are all equal,
because the model always fails or always succeeds, has no advantage and teaches nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from posttrain.evals.summary import Graded
from posttrain.graders.grade import Grade

FEW = 0.1
"""Below this share of groups that teach, most of a step's work is thrown away."""


@dataclass(frozen=True)
class SignalLook:
    """What samples of the training problems say.

    `histogram[c]` is the number of problems with `c` of `samples` completions right. `never`, `between` and `always`
    are the problems at 0%, in between and at 100%; `teaching` those whose rewards differ. `zero_variance` is the
    expected share of groups of `group` completions whose rewards are all equal. `unjudged` problems have no verdict.
    """

    problems: int
    samples: int
    group: int
    histogram: list[int]
    never: int
    between: int
    always: int
    teaching: int
    unjudged: int
    zero_variance: float
    mean_reward: float
    mean_pass: float

    @property
    def nothing_to_learn(self) -> bool:
        """Whether every group would have equal rewards, as far as these samples tell."""
        return self.teaching == 0

    @property
    def advice(self) -> str:
        """What to do, in one or two sentences."""
        problems = f"{self.problems:,} problems"
        if self.nothing_to_learn and self.mean_pass == 0:
            return (
                f"none of {problems} was solved in {self.samples} attempts each, and all attempts at a problem got the "
                "same reward: RLVR has nothing to reinforce. Try a better prompt or examples in it, SFT on a few "
                "hundred solutions, easier problems, more attempts, or a grader that gives part marks"
            )
        if self.nothing_to_learn and self.mean_pass == 1:
            return (
                f"all of {problems} were solved in every one of {self.samples} attempts: there is nothing left to win "
                "here. Take harder problems"
            )
        if self.nothing_to_learn:
            return (
                "each problem is either always or never solved: no group of attempts has rewards that differ. Take "
                "problems in between, or more attempts (train.num_generations)"
            )
        if self.zero_variance > 1 - FEW:
            return (
                f"only {1 - self.zero_variance:.0%} of the groups would teach anything. Train on those problems that "
                "teach, or SFT first"
            )
        if self.mean_pass >= 0.9:
            return "nearly solved: RLVR can win little. Take harder problems, or those that still teach"
        return "fine: RLVR has something to reinforce"


def signal_of(graded: Sequence[Graded], group: int) -> SignalLook:
    """Return what the samples say about training with groups of `group` completions.

    A completion without a verdict is left out. Raises ValueError when none has one.
    """
    judged = [[grade for grade in row.grades if not grade.error] for row in graded]
    unjudged = sum(not grades for grades in judged)
    judged = [grades for grades in judged if grades]
    if not judged:
        raise ValueError("no completion has a verdict")
    samples = max(len(grades) for grades in judged)
    right = [sum(grade.passed for grade in grades) for grades in judged]
    histogram = [0] * (samples + 1)
    for count, grades in zip(right, judged, strict=True):
        histogram[round(samples * count / len(grades))] += 1
    n = len(judged)
    return SignalLook(
        problems=n,
        samples=samples,
        group=group,
        histogram=histogram,
        never=sum(count == 0 for count in right),
        between=sum(0 < count < len(grades) for count, grades in zip(right, judged, strict=True)),
        always=sum(count == len(grades) for count, grades in zip(right, judged, strict=True)),
        teaching=sum(teaches(grades) for grades in judged),
        unjudged=unjudged,
        zero_variance=math.fsum(equal_share(grades, group) for grades in judged) / n,
        mean_reward=math.fsum(math.fsum(g.score or 0.0 for g in grades) / len(grades) for grades in judged) / n,
        mean_pass=math.fsum(c / len(grades) for c, grades in zip(right, judged, strict=True)) / n,
    )


def teaches(grades: Sequence[Grade]) -> bool:
    """Return whether the rewards of a problem's completions differ; those without a verdict do not count."""
    return len({grade.score for grade in grades if not grade.error}) > 1


def equal_share(grades: Sequence[Grade], group: int) -> float:
    """Return how likely it is that `group` completions of this problem all have the same reward.

    With at least `group` samples it is the share of their subsets of that size, sum over rewards v of
    ``C(n_v, group) / C(n, group)``, which has no bias; with fewer, sum of ``(n_v / n) ** group``, which is a little
    too high.
    """
    counts, n = Counter(grade.score for grade in grades), len(grades)
    if n >= group:
        return sum(math.comb(count, group) for count in counts.values()) / math.comb(n, group)
    return math.fsum((count / n) ** group for count in counts.values())


def render(look: SignalLook) -> str:
    """Return the look as text: the histogram, the shares, the advice."""
    most = max(look.histogram)
    lines = [f"right of {look.samples}  problems"]
    for count, problems in enumerate(look.histogram):
        bar = "█" * math.ceil(40 * problems / most) if problems else ""
        lines.append(f"{count:>{len(f'right of {look.samples}')}}  {problems:>8,}  {bar}".rstrip())
    lines += [
        f"never {look.never:,}, sometimes {look.between:,}, always {look.always:,} of {look.problems:,} problems; "
        f"pass@1 {look.mean_pass:.1%}, mean reward {look.mean_reward:.3f}",
        f"groups of {look.group} with equal rewards, which teach nothing: {look.zero_variance:.0%} expected",
    ]
    if look.unjudged:
        lines.append(f"left out without a verdict: {look.unjudged:,} problems")
    return "\n".join([*lines, look.advice])
